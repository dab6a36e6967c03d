"""Which number formats this machine computes in, and on which device. Called by `network.load` and `choose.py`.

A format that the CPU lacks would still give answers, only more slowly than float32 does: so it is not taken.
"""

import functools
from pathlib import Path
from typing import Final

from moorage_predictor.engine.backend import Precision

_CPUINFO: Final = Path("/proc/cpuinfo")
_CPU_FLAGS: Final[dict[Precision, tuple[str, ...]]] = {
    "fp32": (),
    "bf16": ("avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "svebf16"),
    "fp16": ("avx512_fp16", "amx_fp16", "asimdhp", "fphp"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
}
"""Any one of them will do; names as Linux writes them, for x86-64 and arm64."""


@functools.cache
def cpu_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """What the processor can do, in Linux's words; empty where there is no /proc."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()
    )


@functools.cache
def cpu_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's model, family and stepping in one line; the machine's architecture where there is no /proc."""
    import platform

    try:
        lines = cpuinfo.read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.machine()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    words = [fields.get("model name", platform.machine())]
    words += [f"{name} {fields[name]}" for name in ("cpu family", "model", "stepping") if name in fields]
    return ", ".join(words)


def device() -> str:
    """Where torch computes: `cuda` if it sees such a device."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def missing(precision: Precision, on: str, flags: frozenset[str] | None = None) -> str | None:
    """Why this machine should not compute in `precision`, or None if it can."""
    if on == "cuda":
        return "int8 on CUDA is not supported" if precision == "int8" else _missing_on_cuda(precision)
    wanted = _CPU_FLAGS[precision]
    if not wanted or not (has := cpu_flags() if flags is None else flags) or has.intersection(wanted):
        return None
    return f"this CPU computes no {precision} (it has none of {', '.join(wanted[:3])})"


def _missing_on_cuda(precision: Precision) -> str | None:
    import torch

    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "this GPU computes no bf16 (compute capability below 8.0)"
    return None
