"""OpenVINO: fp32, bf16 and calibrated int8 on CPUs. `export` needs torch and NNCF, `open_files` needs neither.

torch module ── export ──→ model.xml, model.bin ── open_files ──→ compiled for each number of cores, when first used
                  └ int8: NNCF takes the ranges of activations from the fitting images
"""

import contextlib
import io
import queue
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np

from moorage_predictor.engine import cores
from moorage_predictor.engine.backend import Backend, Float32s, Precision, Unavailable

NAME: Final = "openvino"
_FILE: Final = "model.xml"
_HINTS: Final[dict[Precision, str]] = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""int8 covers convolutions and products of matrices; what is between them runs in this."""
_COPIES_BYTES: Final = 256 * 1024 * 1024
"""Of weights that are held once for each call at a time."""


class OpenVino:
    """One network, compiled once for each number of cores that a call has asked for."""

    name = NAME

    def __init__(self, model: Any, precision: Precision, weights_bytes: int) -> None:
        self.precision = precision
        self._core, self._model = model
        self._weights_bytes = weights_bytes
        self._cores = cores.available()
        self._compiled: dict[int, _Compiled] = {}
        self._lock = threading.Lock()

    def forward(self, batch: Float32s, threads: int | None = None) -> Float32s:
        """See `Backend`."""
        wanted = self._cores if threads is None else min(threads, self._cores)
        compiled = self._compiled.get(wanted)
        if compiled is None:
            with self._lock:
                compiled = self._compiled.get(wanted) or self._compile(wanted)
                self._compiled[wanted] = compiled
        return compiled.forward(batch)

    def describe(self) -> dict[str, str]:
        """See `Backend`."""
        return {"engine": self.name, "precision": self.precision, "device": "cpu"}

    def _compile(self, threads: int) -> "_Compiled":
        """A network with one stream runs in the thread that calls it. With several it hands each call over to a thread of its own,
        which costs int8 a tenth of its speed; but then all share one copy of the weights."""
        calls = max(1, self._cores // threads)
        copies = calls if calls * self._weights_bytes <= _COPIES_BYTES else 1
        options = {
            "INFERENCE_PRECISION_HINT": _hint(self._core, self.precision),
            "NUM_STREAMS": calls // copies,
            "INFERENCE_NUM_THREADS": threads * calls // copies,
            # Threads tied to cores would fight with those of other engines and processes for the same ones.
            "ENABLE_CPU_PINNING": False,
        }
        networks = [self._core.compile_model(self._model, "CPU", options) for _ in range(copies)]
        return _Compiled([network.create_infer_request() for network in networks for _ in range(calls // copies)])


class _Compiled:
    """With so many cores for each call, as many calls at a time as there are cores for; further ones wait their turn."""

    def __init__(self, requests: list[Any]) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for request in requests:
            self._requests.put(request)

    def forward(self, batch: Float32s) -> Float32s:
        request = self._requests.get()
        try:
            outputs = request.infer([np.ascontiguousarray(batch)], share_inputs=True, share_outputs=True)
            return np.array(outputs[0], dtype=np.float32)
        finally:
            self._requests.put(request)


def _hint(core: Any, precision: Precision) -> str:
    hint = _HINTS[precision]
    if precision == "int8" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "f32"
    return hint


def export(module: Any, example: Float32s, folder: Path, precision: Precision, fitting: Float32s | None) -> None:
    """Write the network's files. `example` is one prepared image, `fitting` the images for int8.

    Raises:
        Unavailable: OpenVINO, or for int8 NNCF, is not installed.
    """
    import torch

    openvino = _import("openvino")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing; what it gets wrong shows when the answers are compared
        model = openvino.convert_model(module, example_input=torch.from_numpy(example))
    model.reshape([-1, *example.shape[1:]])
    if precision == "int8":
        model = _quantised(model, module, fitting)
    openvino.save_model(model, folder / _FILE, compress_to_fp16=False)


def _quantised(model: Any, module: Any, fitting: Float32s | None) -> Any:
    if fitting is None or not len(fitting):
        raise ValueError("engine openvino: expected images to calibrate int8 with, found none")
    nncf = _import("nncf")
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    attention = any("attention" in type(part).__name__.lower() for part in module.modules())
    with contextlib.redirect_stdout(io.StringIO()):  # it draws bars
        return nncf.quantize(
            model,
            nncf.Dataset([image[None] for image in fitting]),
            subset_size=len(fitting),
            preset=nncf.QuantizationPreset.MIXED,  # what has values of one sign only gets all 256 steps for them
            model_type=nncf.ModelType.TRANSFORMER if attention else None,
            # From the least to the most of all images; the means of each image's would cut off what is rare.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )


def open_files(folder: Path, precision: Precision) -> Backend:
    """What `export` has written, ready to answer.

    Raises:
        Unavailable: OpenVINO is not installed.
        RuntimeError: the files cannot be used.
    """
    openvino = _import("openvino")
    core, file = openvino.Core(), folder / _FILE
    return OpenVino((core, core.read_model(file)), precision, file.with_suffix(".bin").stat().st_size)


def _import(name: str) -> Any:
    # Both send usage figures to their maker unless they find this missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unavailable(f"{name} is not installed: pip install 'moorage[openvino]'") from error
