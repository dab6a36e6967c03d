"""Classes of the user's: found, constructed, and served, whichever of the two kinds they are."""

import sys

import numpy as np
import pytest
from kserve import Model
from tests.unit.predictor.served import request_of

from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import InvalidInput, LoadFailed, ModelFault
from moorage_predictor.tasks.custom import construct, import_class
from moorage_predictor.wire.adapt import ArrayModel, adapted

SETTINGS = PredictorSettings(model_name="cats", task="a.b:C")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a module that is forgotten after the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(text, name="own.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def refused(call):
    with pytest.raises(LoadFailed) as caught:
        call()
    return str(caught.value)


def test_a_class_is_found_in_a_file_and_in_a_module(file, monkeypatch):
    path = file("import beside\nclass Own:\n    word = beside.word\n")
    file("word = 'here'", "beside.py")
    assert import_class(f"{path}:Own").word == "here"
    monkeypatch.chdir(path.parent)
    assert import_class("own:Own").word == "here"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            "class Own: pass\nclass Other: pass\nfrom pathlib import Path",
            "Missing",
            "has no class Missing; it has Other, Own",
        ),
        ("x = 1", "x", "has no class x; it has none"),
        ("1/0", "Own", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def", "Own", "cannot be imported: SyntaxError: "),
        ("import sys\nsys.exit(2)", "Own", "cannot be imported: SystemExit: 2"),
        ("class Panic(BaseException): pass\nraise Panic(3)", "Own", "cannot be imported: Panic: 3"),
        ("import not_there_at_all", "Own", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_a_class_that_cannot_be_had_is_told_why(file, text, name, message):
    path = file(text)
    told = refused(lambda: import_class(f"{path}:{name}"))
    assert told.startswith(f"--task {path}:{name}: ")
    assert message in told


def test_a_file_and_a_module_that_are_not_there_are_told_so(tmp_path):
    assert "no such file" in refused(lambda: import_class(f"{tmp_path}/own.py:Own"))
    assert "No module named 'nowhere'" in refused(lambda: import_class("nowhere:Own"))


def test_a_constructor_gets_what_it_takes(tmp_path):
    class Both:
        def __init__(self, name, model_dir):
            self.got = name, model_dir

    class Neither:
        def setup(self, model_dir):
            self.got = model_dir

    assert construct(Both, "cats", tmp_path).got == ("cats", str(tmp_path))
    assert construct(Both, "cats", None).got == ("cats", None)
    assert construct(Neither, "cats", tmp_path).got == str(tmp_path)


def test_a_constructor_that_ends_the_process_is_a_failed_load():
    class Own:
        def __init__(self):
            sys.exit("usage: own.py --weights")

    told = refused(lambda: construct(Own, "cats", None))
    assert told == "--task Own: cannot be constructed: SystemExit: usage: own.py --weights"


@pytest.mark.parametrize(
    "error", [FileNotFoundError("no weights.pt"), SystemExit("no weights.pt")], ids=lambda error: type(error).__name__
)
def test_a_load_that_fails_is_told_as_one(error):
    class Own(Model):
        def load(self):
            raise error

    told = refused(lambda: adapted(Own("cats"), SETTINGS))
    assert told == f"--task a.b:C: load() failed: {type(error).__name__}: no weights.pt"


def test_a_constructor_that_fails_is_a_failed_load():
    class Own:
        def __init__(self):
            raise RuntimeError("no licence")

    assert (
        refused(lambda: construct(Own, "cats", None)) == "--task Own: cannot be constructed: RuntimeError: no licence"
    )


def test_a_class_that_predicts_nothing_is_refused():
    assert (
        refused(lambda: adapted(object(), SETTINGS))
        == "--task a.b:C: expected a kserve.Model or a class with predict(inputs)"
    )


def test_a_kserve_model_is_itself_and_is_loaded_if_it_is_not_yet():
    class Own(Model):
        loads = 0

        def load(self):
            self.loads += 1
            self.ready = True

    own = Own("cats")
    assert adapted(own, SETTINGS) is own
    assert (own.ready, own.loads) == (True, 1)
    assert adapted(own, SETTINGS).loads == 1


def test_a_kserve_model_that_forgets_to_say_ready_is_served_with_a_warning(caplog):
    class Own(Model):
        def load(self):
            self.ready = False

    assert adapted(Own("cats"), SETTINGS).ready
    assert "says ready=False" in caplog.text


class Doubles:
    inputs = ({"name": "x", "datatype": "FP32", "shape": [-1]},)
    outputs = ({"name": "y", "datatype": "FP32", "shape": [-1]},)
    closed = False

    def predict(self, inputs):
        return {"y": next(iter(inputs.values())) * 2}

    def close(self):
        self.closed = True


def test_a_class_with_predict_gets_arrays_by_name_and_gives_arrays_by_name():
    model = adapted(Doubles(), SETTINGS)
    assert isinstance(model, ArrayModel)
    assert model.ready
    response = model.predict(request_of(x=np.array([1, 2], "<f4")))
    (output,) = response.outputs
    assert (output.name, output.datatype, output.shape, output.data.tolist()) == ("y", "FP32", [2], [2, 4])
    assert model.get_input_types() == [{"name": "x", "datatype": "FP32", "shape": [-1]}]
    assert model.get_output_types() == [{"name": "y", "datatype": "FP32", "shape": [-1]}]


def test_it_is_closed_at_the_end():
    own = Doubles()
    model = ArrayModel("cats", own)
    model.stop()
    assert (own.closed, model.ready) == (True, False)


@pytest.mark.parametrize(
    ("instances", "predictions"),
    [([1.5, 2.5], [3, 5]), ([[1, 2], [3, 4]], [[2, 4], [6, 8]]), ([], [])],
)
def test_v1_instances_come_as_one_array_and_leave_as_the_first_outputs_rows(instances, predictions):
    assert ArrayModel("cats", Doubles()).predict({"instances": instances}) == {"predictions": predictions}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": [1]}, r"the body: expected instances \(a list of rows\)"),
        ({"instances": [[1], [2, 3]]}, "instances: expected rows of equal length"),
        ({"instances": [{"a": 1}]}, "instances: expected rows of numbers or of strings"),
        ({"instances": [[1.5, 1e308]]}, r"instances: expected numbers within float32's range"),
        ({"instances": [None]}, "instances: expected rows of numbers or of strings"),
    ],
)
def test_v1_instances_that_are_no_array_are_refused(body, message):
    with pytest.raises(InvalidInput, match=message):
        ArrayModel("cats", Doubles()).predict(body)


def of(answer):
    class Own:
        def predict(self, inputs):
            return answer

    return ArrayModel("cats", Own()).predict(request_of(x=np.zeros(1, "<f4")))


def test_an_answer_may_be_one_array_a_list_a_number_or_strings():
    for answer, datatype, shape in (
        (np.zeros((2, 3)), "FP64", [2, 3]),
        ([1, 2], "INT64", [2]),
        (7.5, "FP64", []),
        (np.array(["a", "bc"]), "BYTES", [2]),
        ([True], "BOOL", [1]),
    ):
        (output,) = of(answer).outputs
        assert (output.name, output.datatype, output.shape) == ("output", datatype, shape)


@pytest.mark.parametrize(
    ("answer", "message"),
    [({}, "the model cats gave no outputs"), ({"y": np.zeros(1, complex)}, "output y: .* found complex128")],
)
def test_an_answer_that_is_none_is_the_models_fault(answer, message):
    with pytest.raises(ModelFault, match=message):
        of(answer)
