"""What runs a network's forward pass: the one interface behind `Network.forward`. Implemented in `backends/`.

Importing this module imports no engine: the default one is torch itself, the others only where they are asked for.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
EngineName = Literal["eager", "compile", "aot", "onnxruntime", "openvino"]
"""A module of `backends` each, but for `compile`, which is `compiled`. Closed: artifacts come from outside and name one."""


class Backend(Protocol):
    """One engine holding one network in one precision. Safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """The engine: `eager`, `compile`, `aot`, `onnxruntime` or `openvino`."""

    @property
    def precision(self) -> Precision:
        """Of the arithmetic; input and output are float32 in every case."""

    def forward(self, batch: Float32s, threads: int | None = None) -> Float32s:
        """Logits [n, classes] of [n, 3, height, width], any n >= 1, made with so many cores; None is all of the pod's."""

    def describe(self) -> dict[str, str]:
        """What the model's configuration and the log say of it."""


class Unavailable(Exception):  # noqa: N818 - a state of the machine, not a fault
    """This engine cannot run here. The message says what is missing and what to do."""
