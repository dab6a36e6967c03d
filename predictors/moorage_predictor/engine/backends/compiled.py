"""torch.compile: torch's compiler at every start, with the weights as constants. Needs a C++ compiler where it serves."""

import os
import shutil
from typing import Any, Final

import numpy as np

from moorage_predictor.engine import cores
from moorage_predictor.engine.backend import Backend, Float32s, Precision, Unavailable
from moorage_predictor.engine.backends.eager import has_convolutions, set_threads

NAME: Final = "compile"
INDUCTOR: Final = {
    "freezing": True,
    "cpp.dynamic_threads": True,  # the calling thread's number, not that of the machine which compiled
}


class Compiled:
    """A module, compiled for any batch size."""

    name = NAME

    def __init__(self, module: Any, precision: Precision) -> None:
        import torch

        self.precision = precision
        self._dtype = dtype_of(precision)
        self._format = torch.channels_last if has_convolutions(module) else torch.contiguous_format
        self._cores = cores.available()
        module = module.to(dtype=self._dtype, memory_format=self._format)
        self._module: Any = torch.compile(module, dynamic=True, options=dict(INDUCTOR))

    def forward(self, batch: Float32s, threads: int | None = None) -> Float32s:
        """See `Backend`."""
        import torch

        set_threads(self._cores if threads is None else threads)
        with torch.no_grad():  # the compiler's frozen weights are no tensors of inference mode
            images = torch.from_numpy(batch).to(self._dtype, memory_format=self._format)
            logits: Float32s = self._module(images).float().numpy()
        return logits

    def describe(self) -> dict[str, str]:
        """See `Backend`."""
        return {"engine": self.name, "precision": self.precision, "device": "cpu"}


def make(module: Any, precision: Precision, example: Float32s) -> Backend:
    """Compile it, for one image and for several. What was compiled before comes from the cache, which
    is where TORCHINDUCTOR_CACHE_DIR says.

    Raises:
        Unavailable: there is no C++ compiler.
    """
    require_compiler()
    made = Compiled(module, precision)
    for rows in (2, 1):  # a first call with one row would be taken for the only size there is
        made.forward(np.repeat(example, rows, axis=0))
    return made


def require_compiler() -> None:
    """Raises:
    Unavailable: there is no C++ compiler in the PATH.
    """
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if not any(shutil.which(name) for name in wanted):
        raise Unavailable(f"no C++ compiler in the PATH (looked for {', '.join(wanted)}): install g++")


def dtype_of(precision: Precision) -> Any:
    """torch's word for it.

    Raises:
        ValueError: torch's compiler has no such precision here.
    """
    import torch

    if precision not in ("fp32", "bf16"):
        raise ValueError(f"torch's compiler: expected precision fp32 or bf16, found {precision}")
    return torch.float32 if precision == "fp32" else torch.bfloat16
