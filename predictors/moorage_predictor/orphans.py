"""Processes that must not outlive the one that started them: children of the predictor (`engine.checkpoint`,
`storage.fetcher`) die with it, and it drains when its own parent is gone (`runtime`, `workers`)."""

import ctypes
import logging
import os
import signal
import sys
from typing import Final

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however that happens. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for_end_of_parent() -> None:
    """Until standard input closes. `os.read`, because a thread inside sys.stdin would hold its lock at exit."""
    try:
        while os.read(sys.stdin.fileno(), 4096):
            pass
    except (OSError, ValueError):
        _log.debug("standard input is not readable")
