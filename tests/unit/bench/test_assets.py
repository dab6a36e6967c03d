"""Photos and weights are taken as they lie there only if nothing about them has changed."""

import json
from pathlib import Path

import pytest
from bench.predictor import assets


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "000.jpg").write_bytes(b"a photo")
    manifest = {"recipe": assets.recipe(), "files": assets.hashes(tmp_path)}
    (tmp_path / assets.MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


def test_files_as_they_were_made_are_whole(made: Path) -> None:
    assert assets.is_whole(made)


def test_nothing_is_not_whole(tmp_path: Path) -> None:
    assert not assets.is_whole(tmp_path)


def test_a_changed_file_is_made_anew(made: Path) -> None:
    (made / "photos" / "000.jpg").write_bytes(b"another")
    assert not assets.is_whole(made)


def test_a_file_too_many_is_made_anew(made: Path) -> None:
    (made / "photos" / "001.jpg").write_bytes(b"a photo")
    assert not assets.is_whole(made)


def test_another_recipe_makes_everything_anew(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "RECIPE", assets.RECIPE[1:])
    assert not assets.is_whole(made)
