"""torch itself, operator by operator: the default, on CPU and CUDA. Made by `network.load`.

On a CPU a convolutional network runs in the channels-last order, which oneDNN's convolutions read without turning each
input around; the answers are equal to the plain order's within float32's rounding.
"""

import threading
from typing import Any, Final

from moorage_predictor.engine import cores
from moorage_predictor.engine.backend import Backend, Float32s, Precision

NAME: Final = "eager"


class Eager:
    """A torch module on one device."""

    name = NAME

    def __init__(self, module: Any, precision: Precision, device: str) -> None:
        """Take the module over: it is converted in place.

        Raises:
            ValueError: torch has no such precision in eager mode.
        """
        import torch

        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        if precision not in dtypes:
            raise ValueError(f"engine eager: expected precision {', '.join(dtypes)}, found {precision}")
        self.precision = precision
        self._device = device
        self._dtype = dtypes[precision]
        self._format = torch.channels_last if has_convolutions(module) else torch.contiguous_format
        self._cores = cores.available()
        self._streams = threading.local()
        if device == "cpu" and self._format is torch.channels_last:
            _reorder(module, self._dtype)
        else:
            changes = {"dtype": self._dtype} if precision != "fp32" else {}
            module.to(device=device, memory_format=self._format, **changes)
        self.module = module
        """For `choose.py`, which makes others of it, and `inspection.py`, which looks into it."""

    def forward(self, batch: Float32s, threads: int | None = None) -> Float32s:
        """See `Backend`."""
        import torch

        with torch.inference_mode():
            if self._device == "cuda":
                return self._on_cuda(batch)
            logits: Float32s = self.module(self.images(batch, threads)).float().numpy()
        return logits

    def images(self, batch: Float32s, threads: int | None = None) -> Any:
        """The batch as the module takes it; on a CPU this thread's next operators use so many cores."""
        import torch

        if self._device == "cpu":
            set_threads(self._cores if threads is None else threads)
        return torch.from_numpy(batch).to(self._device, self._dtype, memory_format=self._format)

    def describe(self) -> dict[str, str]:
        """See `Backend`."""
        return {"engine": self.name, "precision": self.precision, "device": self._device}

    def _on_cuda(self, batch: Float32s) -> Float32s:
        """Each calling thread has a stream of its own, so that one's copies run beside another's kernels."""
        import torch

        stream = getattr(self._streams, "own", None)
        if stream is None:
            stream = self._streams.own = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.default_stream())  # the weights' copy
        with torch.cuda.stream(stream):
            pinned = torch.from_numpy(batch).pin_memory()
            images = pinned.to(self._device, self._dtype, non_blocking=True, memory_format=self._format)
            logits = self.module(images).float()
            answer = torch.empty(logits.shape, dtype=torch.float32, pin_memory=True)
            answer.copy_(logits, non_blocking=True)
        stream.synchronize()
        found: Float32s = answer.numpy()
        return found


def _reorder(module: Any, dtype: Any) -> None:
    """Copy every weight once, a convolution's into the channels-last order: `module.to` copies those alone, and the file that
    the weights are mapped from would stay in memory beside its copy, for the few that are still views of it and for the
    parameters, which keep what they held before.
    """
    import torch

    def copy(tensor: Any) -> Any:
        order = torch.channels_last if tensor.dim() == 4 else torch.preserve_format
        kind = dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(kind, copy=True, memory_format=order)

    shared: dict[Any, Any] = {}  # a weight that stands in two places is one
    for part in module.modules():
        for key, tensor in part._parameters.items():
            if tensor is not None:
                if tensor not in shared:
                    shared[tensor] = torch.nn.Parameter(copy(tensor), requires_grad=False)
                part._parameters[key] = shared[tensor]
        for key, tensor in part._buffers.items():
            if tensor is not None:
                part._buffers[key] = copy(tensor)


def make(module: Any, precision: Precision, device: str) -> Backend:
    """Of a module on the CPU, which must not be used by others afterwards."""
    return Eager(module, precision, device)


def has_convolutions(module: Any) -> bool:
    """Are there more than the one that cuts a transformer's patches?"""
    import torch

    return sum(isinstance(part, torch.nn.Conv2d) for part in module.modules()) > 1


def set_threads(threads: int) -> None:
    """How many cores torch's next calls in this thread of ours use; other threads keep theirs.

    The question comes first because a thread's first question or operator gives it what any thread has set last.
    """
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
