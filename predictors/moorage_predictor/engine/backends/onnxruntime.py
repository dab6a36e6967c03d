"""ONNX Runtime: fp32 on CPUs. `export` needs torch and onnxscript, `open_files` needs neither."""

import threading
import warnings
from pathlib import Path
from typing import Any, Final

from moorage_predictor.engine import cores
from moorage_predictor.engine.backend import Backend, Float32s, Precision, Unavailable

NAME: Final = "onnxruntime"
_FILE: Final = "model.onnx"
_OUTPUT: Final = "logits"


class OnnxRuntime:
    """One network, in one session for each number of cores that a call has asked for."""

    name = NAME
    precision: Precision = "fp32"

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cores = cores.available()
        self._sessions: dict[int, Any] = {}
        self._lock = threading.Lock()

    def forward(self, batch: Float32s, threads: int | None = None) -> Float32s:
        """See `Backend`."""
        wanted = self._cores if threads is None else min(threads, self._cores)
        session = self._sessions.get(wanted)
        if session is None:
            with self._lock:
                session = self._sessions.get(wanted) or _session(self._file, wanted)
                self._sessions[wanted] = session
        logits: Float32s = session.run([_OUTPUT], {"images": batch})[0]
        return logits

    def describe(self) -> dict[str, str]:
        """See `Backend`."""
        return {"engine": self.name, "precision": self.precision, "device": "cpu"}


def _session(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for the next call by spinning take the core from those that decode its image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; its warnings are about the exporter's graph
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def export(module: Any, example: Float32s, folder: Path, precision: Precision, fitting: Float32s | None) -> None:
    """Write the network's files; `example` is one prepared image. `fitting` is not used: there is no int8 here.

    Raises:
        Unavailable: onnxscript is not installed.
        ValueError: another precision than fp32.
    """
    if precision != "fp32":
        raise ValueError(f"engine onnxruntime: expected precision fp32, found {precision}")
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise Unavailable("onnxscript is not installed: pip install 'moorage[onnxruntime]'") from error
    import torch

    two = torch.from_numpy(example).repeat(2, 1, 1, 1)  # with one row the exporter would take the batch for a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter; what it gets wrong shows when the answers are compared
        torch.onnx.export(
            module,
            (two,),
            folder / _FILE,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("n")},),
            input_names=["images"],
            output_names=[_OUTPUT],
            verbose=False,
        )


def open_files(folder: Path, precision: Precision) -> Backend:
    """What `export` has written, ready to answer.

    Raises:
        Unavailable: ONNX Runtime is not installed.
        RuntimeError: the files cannot be used.
    """
    try:
        import onnxruntime  # noqa: F401 - seconds less at the first call
    except ImportError as error:
        raise Unavailable("onnxruntime is not installed: pip install 'moorage[onnxruntime]'") from error
    return OnnxRuntime(folder / _FILE)
