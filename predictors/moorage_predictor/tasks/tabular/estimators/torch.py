"""torch modules that take float32 [n, k] and give [n], [n, 1] or [n, classes]: an exported program, TorchScript, or safetensors
with a list of layers in config.json.

    {"layers": [{"linear": [30, 16]}, "relu", {"dropout": 0.1}, {"linear": [16, 2]}]}
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from moorage_predictor.engine import torchscript
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular import exported_module
from moorage_predictor.tasks.tabular.estimators import (
    Contributions,
    Estimator,
    Facts,
    Options,
    Scores,
    softmax,
    two_columns,
)
from moorage_predictor.tasks.tabular.table import Table

CONFIG: Final = "config.json"
_LAYERS: Final[dict[str, Callable[..., Any]]] = {
    "linear": torch.nn.Linear,
    "batch_norm": torch.nn.BatchNorm1d,
    "layer_norm": torch.nn.LayerNorm,
    "dropout": torch.nn.Dropout,
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "gelu": torch.nn.GELU,
    "elu": torch.nn.ELU,
    "selu": torch.nn.SELU,
    "silu": torch.nn.SiLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
    "softmax": lambda: torch.nn.Softmax(dim=1),
}
_MOST_LAYERS: Final = 1000
_MOST_SIDE: Final = 1 << 20


def of_exported(file: Path, options: Options) -> Estimator:
    """What `torch.export.save` wrote.

    Raises:
        LoadFailed: it could run code, or is damaged.
    """
    _, module = exported_module.opened(file)
    return Torch(module, file, options, "torch.export")


def of_script(file: Path, options: Options) -> Estimator:
    """What `torch.jit.save` wrote; its unpickler makes nothing but tensors and TorchScript's own objects.

    Raises:
        LoadFailed: it could reach beyond its tensors, or is damaged.
    """
    return Torch(torchscript.load(file), file, options, "torchscript")


def of_weights(file: Path, options: Options) -> Estimator:
    """safetensors, into the layers that config.json lists.

    Raises:
        LoadFailed: there are no layers, or the tensors do not fit them.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    module = torch.nn.Sequential(*_layers(options.folder / CONFIG))
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise LoadFailed(file, "not a complete safetensors file") from error
    if bad := next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None):
        raise LoadFailed(file, f"{bad[:80]} contains NaN or infinity")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise LoadFailed(file, f"does not fit the layers of {CONFIG}: {told[:300]}") from error
    return Torch(module.eval(), file, options, "torch")


def _layers(config: Path) -> list[torch.nn.Module]:
    """The modules that config.json lists.

    Raises:
        LoadFailed: there is no such list, or a layer that is not known.
    """
    try:
        document = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise LoadFailed(config, 'expected JSON with "layers", because safetensors hold weights alone') from error
    listed = document.get("layers") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_LAYERS:
        raise LoadFailed(config, f"layers: expected a list of 1 to {_MOST_LAYERS} layers")
    made: list[torch.nn.Module] = []
    for number, layer in enumerate(listed):
        name, given = next(iter(layer.items())) if isinstance(layer, dict) and len(layer) == 1 else (layer, [])
        arguments = given if isinstance(given, list) else [given]
        known = _LAYERS.get(name) if isinstance(name, str) else None
        if known is None or any(type(one) not in (int, float) or not 0 <= one <= _MOST_SIDE for one in arguments):
            raise LoadFailed(
                config, f"layers[{number}]: expected one of {', '.join(_LAYERS)} with numbers, found {str(layer)[:80]}"
            )
        try:
            made.append(known(*arguments))
        except (TypeError, ValueError, RuntimeError) as error:
            raise LoadFailed(config, f"layers[{number}]: {name}: not with {arguments}") from error
    return made


def _own_output(module: Any) -> str | None:
    """What a list of layers ends in; None: no such list, or in neither."""
    layers = list(module) if isinstance(module, torch.nn.Sequential) else []
    last = next((layer for layer in reversed(layers) if not isinstance(layer, torch.nn.Dropout)), None)
    return "probabilities" if isinstance(last, (torch.nn.Softmax, torch.nn.Sigmoid)) else None


class Torch:
    """One module."""

    def __init__(self, module: Any, file: Path, options: Options, kind: str) -> None:
        """Raises:
        LoadFailed: nobody says what its output is.
        """
        self.module = module
        self.seed = options.seed
        schema = options.schema
        classes = schema.classes if schema is not None else None
        stated = schema.output if schema is not None else None
        self.output = stated or _own_output(module) or ("logits" if classes else "value")
        self._assumed = stated is None and self.output == "logits"
        if self.output != "value" and not classes:
            raise LoadFailed(file, f"output {self.output}: expected classes in schema.json as well, or output: value")
        count = next((layer.in_features for layer in module.modules() if isinstance(layer, torch.nn.Linear)), None)
        self.facts = Facts(kind=kind, count=count if kind == "torch" else None, classes=classes)

    def raw(self, codes: Any) -> Any:
        """The module's output, [n, outputs], of a float tensor [n, k]."""
        found = self.module(codes)
        return found.reshape(len(codes), -1)

    def scores(self, table: Table) -> Scores:
        """Of each row."""
        with torch.inference_mode():
            raw = self.raw(torch.from_numpy(table.codes().astype(np.float32))).numpy().astype(np.float64)
        if self.output == "value":
            return Scores(values=raw[:, 0] if raw.shape[1] == 1 else raw)
        if self.output == "logits":
            return Scores(probabilities=softmax(raw), assumed_logits=raw if self._assumed else None)
        return Scores(probabilities=raw if raw.shape[1] > 1 else two_columns(raw))

    def exact(self, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions | None:
        """By captum, in the space of the module's own output."""
        from moorage_predictor.tasks.tabular.explain import modules

        return modules.contributions(self, table, chosen, background)
