"""AOTInductor: torch's compiler ahead of time, one shared library. `export` needs a C++ compiler, `open_files` none.

The file is machine code. It is read from the engine cache only, never from a folder that a model came in.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from moorage_predictor.engine import cores
from moorage_predictor.engine.backend import Backend, Float32s, Precision
from moorage_predictor.engine.backends.compiled import INDUCTOR, dtype_of, require_compiler
from moorage_predictor.engine.backends.eager import has_convolutions, set_threads

NAME: Final = "aot"
_FILE: Final = "model.pt2"


class Aot:
    """A loaded package."""

    name = NAME

    def __init__(self, loader: Any, precision: Precision) -> None:
        self.precision = precision
        self._dtype = dtype_of(precision)
        self._loader = loader
        self._cores = cores.available()

    def forward(self, batch: Float32s, threads: int | None = None) -> Float32s:
        """See `Backend`."""
        import torch

        set_threads(self._cores if threads is None else threads)
        with torch.inference_mode():
            logits: Float32s = self._loader(torch.from_numpy(batch).to(self._dtype)).float().numpy()
        return logits

    def describe(self) -> dict[str, str]:
        """See `Backend`."""
        return {"engine": self.name, "precision": self.precision, "device": "cpu"}


def export(module: Any, example: Float32s, folder: Path, precision: Precision, fitting: Float32s | None) -> None:
    """Write the network's package; `example` is one prepared image. `fitting` is not used: there is no int8 here.

    Raises:
        Unavailable: there is no C++ compiler.
    """
    import torch

    require_compiler()
    dtype = dtype_of(precision)
    order = torch.channels_last if has_convolutions(module) else torch.contiguous_format
    module = module.to(dtype=dtype, memory_format=order)
    two = torch.from_numpy(np.repeat(example, 2, axis=0)).to(dtype)
    with torch.inference_mode():
        program = torch.export.export(module, (two,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(folder / _FILE),
            inductor_configs={**INDUCTOR, "aot_inductor.use_runtime_constant_folding": False},
        )


def open_files(folder: Path, precision: Precision) -> Backend:
    """What `export` has written, ready to answer.

    Raises:
        RuntimeError: the file cannot be used.
    """
    import torch._inductor

    return Aot(torch._inductor.aoti_load_package(str(folder / _FILE), run_single_threaded=False), precision)
