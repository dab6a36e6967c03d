"""A child process that must not outlive the predictor calls this first (`engine.checkpoint`, `storage.fetcher`)."""

import ctypes
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however that happens. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
