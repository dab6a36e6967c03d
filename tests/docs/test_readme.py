"""The README: every block of it is executed, in order."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.control_plane.plane import Cluster
from tests.docs.blocks import ROOT, blocks
from tests.docs.conftest import Server, environment
from tests.docs.reader import Reader

from moorage.render import CHILD_KINDS

README = ROOT / "README.md"


@pytest.mark.usefixtures("kserve")
def test_every_block_of_the_readme_does_what_it_says(
    folder: Path,
    make_run: Server,
    serve: Callable[[list[str]], Server],
    control_plane: Cluster,
    controller: Callable[[], None],
) -> None:
    reader = Reader(
        folder,
        environment,
        make_run=lambda: make_run,
        serve=serve,
        cluster=control_plane,
        start_controller=controller,
    )
    for block in blocks(README):
        reader.read(block)


def test_the_yaml_is_the_sample_and_has_twelve_lines() -> None:
    [shown] = [block.text for block in blocks(README) if block.language == "yaml"]
    assert shown == (ROOT / "manifests" / "samples" / "cat.yaml").read_text()
    assert len(shown.splitlines()) == 12


def test_the_two_commands_are_there() -> None:
    commands = [block.text for block in blocks(README) if block.language == "bash"]
    assert "make run\n" in commands
    assert "make test\n" in commands


def test_the_picture_names_every_kind_that_the_operator_makes() -> None:
    picture = blocks(README)[0].text
    assert [kind for _, kind in CHILD_KINDS if kind not in picture] == []


def test_ctrl_c_ends_what_make_run_started(serve: Callable[[list[str]], Server]) -> None:
    server = serve(["make", "--directory", str(ROOT), "run"])
    assert "\ndraining\nstopped\n" in server.stop()
