"""An archive of torch.export, or TorchScript, that would run code when it is opened is refused before it is."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular.exported_module import opened

from .conftest import load
from .test_formats import Canary


def changed(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """The archive with other members; the names without the archive's own folder."""
    with zipfile.ZipFile(source) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        root = archive.namelist()[0].partition("/")[0]
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}", content)


def edited(members: dict[str, bytes], name: str, edit: Callable[[Any], None]) -> None:
    document = json.loads(members[name])
    edit(document)
    members[name] = json.dumps(document).encode()


MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


def node(document: Any) -> Any:
    return document["graph_module"]["graph"]["nodes"][0]


def graph(document: Any) -> Any:
    return document["graph_module"]["graph"]


def first(config: Any) -> Any:
    return next(iter(config["config"].values()))


def attacks(canary: Canary) -> dict[str, Callable[[dict[str, bytes]], None]]:
    blob = io.BytesIO()
    torch.save(canary, blob)

    def operator(members: dict[str, bytes], target: str) -> None:
        edited(members, MODEL, lambda document: node(document).update(target=target))

    def opaque(members: dict[str, bytes]) -> None:
        payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        members["data/constants/model_constants_config.json"] = json.dumps({"config": {"x": payload}}).encode()
        members["data/constants/opaque_obj_0"] = pickle.dumps(canary)

    def weight(members: dict[str, bytes]) -> None:
        edited(members, WEIGHTS, lambda config: first(config).update(use_pickle=True))
        members["data/weights/weight_0"] = blob.getvalue()

    def path(members: dict[str, bytes]) -> None:
        edited(members, WEIGHTS, lambda config: first(config).update(path_name="../../../etc/passwd"))

    def expression(members: dict[str, bytes], to: str = "__import__('os').system('true')") -> None:
        text = members[MODEL].decode()
        assert "expr_str" in text
        document = json.loads(text)
        pending = [document]
        while pending:
            at = pending.pop()
            if isinstance(at, dict):
                if "expr_str" in at:
                    at["expr_str"] = to
                pending.extend(at.values())
            elif isinstance(at, list):
                pending.extend(at)
        members[MODEL] = json.dumps(document).encode()

    code = f"__import__('pathlib').Path({str(canary._file)!r}).touch()"

    def renamed(members: dict[str, bytes], name: str, to: str) -> None:
        members[MODEL] = members[MODEL].replace(json.dumps(name).encode(), json.dumps(to).encode())

    def symbol(members: dict[str, bytes]) -> None:
        """The keys of this dictionary are the file's choice."""
        value = {"as_expr": {"expr_str": code, "hint": None}}
        edited(
            members, MODEL, lambda document: graph(document)["sym_int_values"].update(metadata=value, signature=value)
        )

    def placeholder(members: dict[str, bytes]) -> None:
        name = next(iter(graph(json.loads(members[MODEL]))["inputs"]))["as_tensor"]["name"]
        renamed(members, name, f"{name}={code}")

    def argument(members: dict[str, bytes]) -> None:
        edited(
            members,
            MODEL,
            lambda document: document["graph_module"]["module_call_graph"][0]["signature"].update(
                forward_arg_names=[f"x={code}"]
            ),
        )

    def tree(members: dict[str, bytes], kind: str, context: object) -> None:
        spec = json.dumps([1, {"type": kind, "context": json.dumps(context), "children_spec": []}])
        edited(
            members,
            MODEL,
            lambda document: document["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=spec),
        )

    imports = {"default_factory_module": "this", "default_factory_name": "s", "dict_context": []}

    return {
        "a symbol with the name of what is only kept": symbol,
        "an input's name with code": placeholder,
        "an argument's name with code": argument,
        "a tree's key with code": lambda members: tree(members, "builtins.dict", [f"x={code}"]),
        "a tree that imports a module": lambda members: tree(members, "collections.defaultdict", imports),
        "a tree with an enumeration": lambda members: tree(
            members, "builtins.dict", {"__enum__": True, "fqn": "unittest.__main__:x"}
        ),
        "a number without end": lambda members: expression(members, "9**9**9"),
        "a power of a power": lambda members: expression(members, "Pow(9, Pow(9, 9))"),
        "a guard with code": lambda members: edited(
            members, MODEL, lambda document: document.update(guards_code=[f"{code} or True"])
        ),
        "an opaque constant": opaque,
        "a pickled weight": weight,
        "a weight outside": path,
        "os.system as an operator": lambda members: operator(members, "torch.serialization.os.system"),
        "torch.load as an operator": lambda members: operator(members, "torch.load"),
        "an operator that reads files": lambda members: operator(members, "torch.ops.aten.from_file.default"),
        "an operator of torch's own that checks little": lambda members: operator(
            members, "torch.ops.aten._sobol_engine_draw.default"
        ),
        **{
            f"memory through {name}": lambda members, name=name: operator(members, f"torch.ops.{name}")  # type: ignore[misc]
            for name in (
                "aten._reshape_alias.default",
                "aten.as_strided.default",
                "prims.as_strided.default",
                "aten.set_.source_Tensor_storage_offset",
                "aten.native_batch_norm.default",
                "aten._native_batch_norm_legit_functional.default",
                "aten.batch_norm_update_stats.default",
                "aten._weight_norm_interface.default",
                "aten.max_pool2d_with_indices_backward.default",
            )
        },
        "an attribute of all operators": lambda members: operator(members, "torch.ops.aten.__getattribute__.__call__"),
        "an attribute of an operator": lambda members: operator(members, "_operator.attrgetter"),
        "an operator of an extension": lambda members: operator(members, "#evil"),
        "an expression with code": expression,
        "a compiled library": lambda members: members.update({"data/aotinductor/model/a.so": b"\x7fELF"}),
        "constants of old": lambda members: members.update({"data/constants/model.pt": blob.getvalue()}),
        "a second program": lambda members: members.update({"models/other.json": b"{}"}),
    }


@pytest.mark.parametrize("what", list(attacks(Canary(Path("unused")))))
def test_an_exported_program_that_could_run_code_is_refused(what: str, models: Path, tmp_path: Path) -> None:
    alarm = tmp_path / "canary"
    shutil.copytree(models / "exported", tmp_path / "model")
    changed(models / "exported" / "model.pt2", tmp_path / "model" / "model.pt2", attacks(Canary(alarm))[what])
    with pytest.raises(LoadFailed, match="refused: "):
        load(tmp_path / "model")
    assert not alarm.exists()


def test_bounds_of_an_expression_are_kept(models: Path, tmp_path: Path) -> None:
    """torch writes them where a side must be a multiple of something."""
    shutil.copytree(models / "exported", tmp_path / "model")

    def bounded(members: dict[str, bytes]) -> None:
        edited(
            members,
            MODEL,
            lambda document: document["range_constraints"].update({"32*s9": {"min_val": 64, "max_val": 640}}),
        )

    changed(models / "exported" / "model.pt2", tmp_path / "model" / "model.pt2", bounded)
    assert load(tmp_path / "model").format == "exported"


def test_guards_of_shapes_are_kept(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "exported", tmp_path / "model")

    def guarded(members: dict[str, bytes]) -> None:
        edited(members, MODEL, lambda document: document.update(guards_code=["L['x'].size()[0] >= 1"]))

    changed(models / "exported" / "model.pt2", tmp_path / "model" / "model.pt2", guarded)
    assert load(tmp_path / "model").format == "exported"


def test_sample_inputs_are_not_opened(models: Path, tmp_path: Path) -> None:
    alarm = tmp_path / "canary"
    blob = io.BytesIO()
    torch.save(Canary(alarm), blob)
    shutil.copytree(models / "exported", tmp_path / "model")
    replace = {"data/sample_inputs/model.pt": blob.getvalue()}
    changed(
        models / "exported" / "model.pt2", tmp_path / "model" / "model.pt2", lambda members: members.update(replace)
    )
    assert load(tmp_path / "model").format == "exported"
    assert not alarm.exists()


def test_torch_itself_would_have_opened_them(models: Path, tmp_path: Path) -> None:
    """So that the tests above test something; the day that this fails torch has become safer."""
    alarm = tmp_path / "canary"
    blob = io.BytesIO()
    torch.save(Canary(alarm), blob)
    replace = {"data/sample_inputs/model.pt": blob.getvalue()}
    changed(models / "exported" / "model.pt2", tmp_path / "hostile.pt2", lambda members: members.update(replace))
    with pytest.raises(AssertionError):
        torch.export.load(tmp_path / "hostile.pt2")
    assert alarm.exists()


def test_torchscript_that_reaches_beyond_its_tensors_is_refused(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "script", tmp_path / "model")
    alarm = tmp_path / "canary"

    def save(members: dict[str, bytes]) -> None:
        name = next(
            name
            for name in members
            if name.startswith("code/") and name.endswith(".py") and b"def forward" in members[name]
        )
        members[name] = members[name].replace(b"return ", f"torch.save(input, '{alarm}')\n    return ".encode(), 1)

    changed(models / "script" / "model.pt", tmp_path / "model" / "model.pt", save)
    with pytest.raises(LoadFailed, match=r"refused: its code calls torch\.save"):
        load(tmp_path / "model")
    assert not alarm.exists()


class Careless(torch.nn.Module):
    """What torch.export leaves in place, and what it writes with operators of its own."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.relu(rows * 2, inplace=True).T.T.add_(1)
        return torch.nn.functional.softmax(found[:, torch.tensor([1, 0])].clamp_(max=9), dim=1)


@pytest.mark.parametrize("decomposed", [False, True])
def test_programs_of_usual_networks_may_write_in_place(decomposed: bool, tmp_path: Path) -> None:
    program = torch.export.export(Careless(), (torch.ones(2, 2),), dynamic_shapes=({0: torch.export.Dim("rows")},))
    if decomposed:
        program = program.run_decompositions()
    names = {str(node.target) for node in program.graph.nodes}
    assert {"aten._softmax.default"} <= names if decomposed else {"aten.relu_.default", "aten.add_.Tensor"} <= names
    torch.export.save(program, tmp_path / "model.pt2")
    (tmp_path / "schema.json").write_text(
        json.dumps({"features": {"a": "number", "b": "number"}, "output": "probabilities", "classes": ["x", "y"]})
    )
    assert load(tmp_path).format == "exported"


class Normed(torch.nn.Module):
    """Batch norm, and instance norm, which `run_decompositions` makes of another form of it."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = torch.nn.BatchNorm1d(6)
        self.instance = torch.nn.InstanceNorm1d(3, affine=True)
        for norm in (self.batch, self.instance):
            torch.nn.init.uniform_(norm.weight)
            torch.nn.init.uniform_(norm.bias)
        torch.nn.init.uniform_(self.batch.running_var, 1, 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.instance(self.batch(rows).reshape(-1, 3, 2)).flatten(1)


def test_batch_norms_of_decomposed_programs_are_served_by_the_form_that_checks_sizes(tmp_path: Path) -> None:
    rows, module = torch.rand(4, 6), Normed().eval()
    program = torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("rows")},)).run_decompositions()
    names = {str(node.target) for node in program.graph.nodes}
    assert {"aten._native_batch_norm_legit_no_training.default", "aten._native_batch_norm_legit.no_stats"} <= names
    torch.export.save(program, tmp_path / "model.pt2")
    _, found = opened(tmp_path / "model.pt2")
    assert torch.allclose(found(rows), module(rows), atol=1e-5)


class Short(torch.nn.Module):
    """Batch norm of 3000 channels by one weight: its kernel would read what lies behind."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        one = rows[0, :1].clone()
        return torch.ops.aten._native_batch_norm_legit_no_training.default(
            rows[:, :1].expand(2, 3000).contiguous(), one, one, one, one, 0.1, 1e-5
        )[0]


def test_a_batch_norm_with_fewer_weights_than_channels_is_not_run(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Short(), (torch.ones(2, 2),)), tmp_path / "model.pt2")
    _, found = opened(tmp_path / "model.pt2")
    with pytest.raises(RuntimeError, match="should contain 3000 elements not 1"):
        found(torch.ones(2, 2))


class Training(torch.nn.Module):
    """The same of training, which writes what it read."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        one = rows[0, :1].clone()
        return torch.ops.aten._native_batch_norm_legit.default(rows, one, one, one, one, True, 0.1, 1e-5)[0]


def test_a_batch_norm_of_training_is_refused(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(Training(), (torch.ones(2, 1),)), tmp_path / "model.pt2")
    with pytest.raises(LoadFailed, match=r"refused: aten\._native_batch_norm_legit\.default of a form"):
        opened(tmp_path / "model.pt2")
