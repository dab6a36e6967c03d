"""What a file is, whatever it is called; and what must not be opened."""

import gzip
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular import formats

from .conftest import CANCER, load

KINDS = {
    "pipeline": "skops",
    "xgboost-json": "xgboost",
    "xgboost-ubj": "xgboost",
    "lightgbm": "lightgbm",
    "onnx": "onnx",
    "exported": "exported",
    "script": "script",
    "weights": "weights",
}


class Canary:
    """Opening its pickle makes a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self._file,)


def pickles(canary: Canary, folder: Path) -> dict[str, bytes]:
    """The same object in every way that people save models in."""
    made = {f"pickle {number}": pickle.dumps(canary, protocol=number) for number in range(6)}
    for level in (0, 1, 9):
        joblib.dump(canary, folder / "made", compress=("zlib", level) if level else 0)
        made[f"joblib zlib {level}"] = (folder / "made").read_bytes()
    for method in ("gzip", "bz2", "xz"):
        joblib.dump(canary, folder / "made", compress=(method, 3))
        made[f"joblib {method}"] = (folder / "made").read_bytes()
    torch.save({"model": canary}, folder / "made")
    made["torch"] = (folder / "made").read_bytes()
    torch.save(canary, folder / "made", _use_new_zipfile_serialization=False)
    made["torch, old"] = (folder / "made").read_bytes()
    (folder / "made").unlink()
    return made


@pytest.mark.parametrize("name", KINDS)
def test_a_format_is_told_by_its_bytes_whatever_the_file_is_called(name: str, models: Path, tmp_path: Path) -> None:
    file, kind = formats.find_model(models / name)
    for disguise in ("model.pkl", "model", "model.json", "model.h5"):
        shutil.copy(file, tmp_path / disguise)
        assert formats.format_of(tmp_path / disguise) == kind == KINDS[name]


@pytest.mark.parametrize("name", ["model.skops", "model.json", "model.onnx", "model.pt2", "model.pkl", "model.txt"])
def test_a_pickle_is_refused_under_every_name_and_never_opened(name: str, tmp_path: Path) -> None:
    alarm = tmp_path / "canary"
    for number, (how, content) in enumerate(pickles(Canary(alarm), tmp_path).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(content)
        with pytest.raises(LoadFailed) as refused:
            load(folder)
        assert not alarm.exists(), how
        assert str(folder / name) in str(refused.value) or "expected a model in one of the formats" in str(
            refused.value
        ), how


def test_a_pickle_is_refused_before_anything_that_could_open_it_is_imported(tmp_path: Path) -> None:
    alarm = tmp_path / "canary"
    (tmp_path / "model.skops").write_bytes(pickle.dumps(Canary(alarm)))
    script = (
        "import sys, threading, pathlib\n"
        "from moorage.api.predictor import PredictorSettings\n"
        "from moorage_predictor.tasks.tabular.load import load\n"
        "settings = PredictorSettings(task='tabular', model_dir=sys.argv[1])\n"
        "try:\n    load(settings, pathlib.Path(sys.argv[1]), lambda step: None, threading.Event())\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
        "print([name for name in ('joblib', 'sklearn', 'skops', 'torch', 'pickle_tools') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "LoadFailed\n[]\n"
    assert not alarm.exists()


def test_a_pickle_within_a_skops_archive_is_not_opened_either(tmp_path: Path) -> None:
    alarm = tmp_path / "canary"
    schema = {
        "__class__": "function", "__module__": "pickle", "__loader__": "JsonNode", "content": "x.pkl", "is_json": False,
        "type": "pickle", "__id__": 1, "protocol": 2, "_skops_version": "0.16",
    }  # fmt: skip
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
        archive.writestr("x.pkl", pickle.dumps(Canary(alarm)))
    with pytest.raises(LoadFailed):
        load(tmp_path)
    assert not alarm.exists()


def test_a_keras_lambda_is_no_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Lambda", "config": {"function": "…"}}))
        archive.writestr("metadata.json", "{}")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 512)
    with pytest.raises(LoadFailed, match="expected a model in one of the formats"):
        load(tmp_path)


def test_a_pickle_is_opened_for_who_says_so(tmp_path: Path, models: Path) -> None:
    import skops.io

    boosting = skops.io.load(models / "boosting" / "model.skops", trusted=["sklearn.tree._tree.Tree"])
    joblib.dump(boosting, tmp_path / "model.joblib", compress=3)
    with pytest.raises(LoadFailed, match="allowUnsafeFormats"):
        load(tmp_path)
    model = load(tmp_path, allow_unsafe_formats=True)
    from moorage_predictor.tasks.tabular.table import of_array

    found = model.predict(of_array(model.schema, CANCER.data[:20]))
    assert np.array_equal(found.probabilities, boosting.predict_proba(CANCER.data[:20]))


def test_what_cannot_run_code_wins_over_a_pickle_beside_it(tmp_path: Path, models: Path) -> None:
    shutil.copytree(models / "pipeline", tmp_path / "both")
    alarm = tmp_path / "canary"
    (tmp_path / "both" / "model.pkl").write_bytes(pickle.dumps(Canary(alarm)))
    assert load(tmp_path / "both", allow_unsafe_formats=True).format == "skops"
    assert not alarm.exists()


def test_a_skops_file_with_other_types_is_refused_and_they_are_named(models: Path) -> None:
    with pytest.raises(LoadFailed, match=r"sklearn\.tree\._tree\.Tree, which can run code; name what you trust"):
        load(models / "boosting", trusted_type=())


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_cut_off_is_refused_in_words(name: str, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / name, tmp_path / "cut")
    file, _ = formats.find_model(tmp_path / "cut")
    content = file.read_bytes()
    for share in (0.2, 0.5, 0.9):
        file.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(LoadFailed):
            load(tmp_path / "cut")


def test_the_wrong_checksum_is_found_before_the_file_is_parsed(models: Path) -> None:
    with pytest.raises(LoadFailed, match="sha256: expected 0000"):
        load(models / "pipeline", sha256="0" * 64)


def test_several_models_are_a_choice_for_the_user(tmp_path: Path, models: Path) -> None:
    shutil.copy(models / "xgboost-json" / "model.json", tmp_path / "a.json")
    shutil.copy(models / "xgboost-ubj" / "model.ubj", tmp_path / "b.ubj")
    with pytest.raises(LoadFailed, match=r"expected one model, found 2 \(a\.json, b\.ubj\)"):
        load(tmp_path)
    assert load(tmp_path / "a.json").format == "xgboost"


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x08\x07", b"{}", gzip.compress(b"x")[:1], bytes(range(256)) * 20]
)
def test_anything_else_is_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(LoadFailed):
        load(tmp_path)
