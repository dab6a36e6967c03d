"""`moor install` prints what kubectl applies, and refuses names that no namespace can have."""

import sys
from typing import Any

import pytest
import yaml

from moorage.cli.main import main
from moorage.controller.install import manifests


def moor_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[Any, str, str]:
    monkeypatch.setattr(sys, "argv", ["moor", "install", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_without_options_it_prints_the_committed_manifests(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = moor_install(monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert list(yaml.safe_load_all(out)) == manifests()


def test_a_namespace_that_is_named_twice_gets_one_role(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = moor_install(monkeypatch, capsys, "--namespace=a", "--namespace=a", "--system-namespace=ops")
    roles = [each["metadata"]["namespace"] for each in yaml.safe_load_all(out) if each["kind"] == "Role"]
    assert sorted(roles) == ["a", "ops"]


@pytest.mark.parametrize(
    "word", ["--namespace=A", "--namespace=a/b", "--system-namespace=-a", f"--namespace={'a' * 64}"]
)
def test_what_is_no_name_of_a_namespace_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    code, out, err = moor_install(monkeypatch, capsys, word)
    option, _, name = word.partition("=")
    assert (code, out) == (2, "")
    assert f"{option}: expected the name of a namespace" in err
    assert repr(name) in err
