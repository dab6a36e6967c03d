"""The README: every block of it is executed, in order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.control_plane.client import eventually
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
    without_our_kind(control_plane)
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
        if "/models/cat" in block.text and block.language == "bash":
            assert best_class(json.loads(reader.printed)) == "tiger cat"


def best_class(answer: dict[str, Any]) -> str:
    """Of a V1 or a V2 answer."""
    if "predictions" in answer:
        return answer["predictions"][0]["predictions"][0]["class_name"]
    return {output["name"]: output["data"] for output in answer["outputs"]}["class_name"][0]


def without_our_kind(cluster: Cluster) -> None:
    cluster.kubectl_run("delete", "--ignore-not-found", f"--filename={ROOT / 'crds'}")


def test_one_apply_of_everything_leaves_the_model_out_until_the_kind_is_known(
    control_plane: Cluster, tmp_path: Path
) -> None:
    """Why the README takes three commands where one would be nicer."""
    without_our_kind(control_plane)
    files = [f"--filename={ROOT / path}" for path in ("crds", "manifests/install.yaml", "manifests/samples/cat.yaml")]
    files.append(f"--cache-dir={tmp_path}")  # as on a machine that has never seen the kind
    with pytest.raises(AssertionError, match="ensure CRDs are installed first"):
        control_plane.kubectl_run("apply", *files)
    eventually(lambda: "modeldeployment.moorage.dev/cat created" in control_plane.kubectl_run("apply", *files))
    control_plane.kubectl_run("delete", "mdep", "cat")


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
