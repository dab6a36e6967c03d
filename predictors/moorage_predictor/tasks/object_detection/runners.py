"""What runs an exported model: ONNX Runtime, TorchScript or a torch.export archive. Opened by `exported.py`.

None of the three may run code of the file's or reach another file: each is looked through and written anew first.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.engine import cores, onnx_files, torchscript
from moorage_predictor.engine.backends.eager import set_threads
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.object_detection.told import Told, words
from moorage_predictor.tasks.object_detection.yolo import Runner

_ULTRALYTICS: Final = "config.txt"
"""What Ultralytics writes into TorchScript archives."""
_NO_COLOURS: Final = (1, 2, 4)


class _Onnx:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0]
        self._output = next((one.name for one in session.get_outputs() if len(one.shape) == 3), None)
        self._dtype = np.float16 if "float16" in self._input.type else np.float32

    def __call__(self, batch: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
        """See `Runner`; the session has its own threads."""
        try:
            found = self._session.run(self._output and [self._output], {self._input.name: batch.astype(self._dtype)})
        except Exception as error:  # onnxruntime's errors have no common class
            raise RuntimeError(str(error)) from error
        return np.asarray(found[0], dtype=np.float32)

    def describe(self) -> dict[str, str]:
        """See `Runner`."""
        return {"engine": "onnxruntime", "precision": "fp16" if self._dtype is np.float16 else "fp32", "device": "cpu"}


def _onnx(file: Path) -> tuple[Runner, Told]:
    session = onnx_files.session(file, cores.available())
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] in _NO_COLOURS:
        found = ", ".join(f"{one.name} {one.shape}" for one in inputs)
        raise LoadFailed(file, f"expected one input [n, 3, height, width], found {found[:200]}")
    rows, _, height, width = (side if type(side) is int and side > 0 else None for side in inputs[0].shape)
    words = session.get_modelmeta().custom_metadata_map
    return _Onnx(session), Told(words, (height, width) if height and width else None, rows)


class TorchRunner:
    """A torch module on the CPU."""

    def __init__(self, module: Any, engine: str) -> None:
        self._module = module
        self._engine = engine

    def __call__(self, batch: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
        """See `Runner`."""
        import torch

        set_threads(threads)
        try:
            with torch.inference_mode():
                found = self._module(torch.from_numpy(batch))
        except Exception as error:  # of an exported program's own guards anything may come
            raise RuntimeError(str(error)) from error
        while isinstance(found, (list, tuple)) and found:  # Ultralytics gives its feature maps as well
            found = found[0]
        if not isinstance(found, torch.Tensor):
            raise RuntimeError(f"expected a tensor, found {type(found).__name__}")
        array: NDArray[np.float32] = found.float().numpy()
        return array

    def describe(self) -> dict[str, str]:
        """See `Runner`."""
        return {"engine": self._engine, "precision": "fp32", "device": "cpu"}


def _script(file: Path) -> tuple[Runner, Told]:
    import torchvision  # noqa: F401 - its operators, which a script may call

    extra = {_ULTRALYTICS: ""}
    module = torchscript.load(file, extra)
    return TorchRunner(module, "torchscript"), Told(words(extra[_ULTRALYTICS]))


def _exported(file: Path) -> tuple[Runner, Told]:
    from moorage_predictor.tasks.tabular import exported_module

    program, module = exported_module.opened(file)
    names_of_inputs = program.graph_signature.user_inputs
    shapes = [
        node.meta["val"].shape
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names_of_inputs and hasattr(node.meta.get("val"), "shape")
    ]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise LoadFailed(file, f"expected one input [n, 3, height, width], found {[list(shape) for shape in shapes]}")
    rows, _, height, width = (side if type(side) is int else None for side in shapes[0])
    return TorchRunner(module, "torch.export"), Told({}, (height, width) if height and width else None, rows)


Kind = Literal["onnx", "script", "exported"]
OPENERS: Final[Mapping[Kind, Callable[[Path], tuple[Runner, Told]]]] = {
    "onnx": _onnx,
    "script": _script,
    "exported": _exported,
}
