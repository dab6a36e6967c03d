"""Processes that must not outlive the one that started them: children of the predictor (`engine.checkpoint`,
`storage.fetcher`) die with it, and it drains when its own parent is gone (`runtime`, `workers`)."""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1
_LONGEST_LINE: Final = 64 * 1024


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however that happens. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for_end_of_parent(heard: Callable[[str], None] = lambda line: None) -> None:
    """Until standard input closes; meanwhile each line that comes is `heard`. `os.read`, because a thread inside sys.stdin
    would hold its lock at exit."""
    pending = b""
    try:
        while data := os.read(sys.stdin.fileno(), 4096):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                heard(line.decode("utf-8", "replace"))
            pending = pending[-_LONGEST_LINE:]
    except (OSError, ValueError):
        _log.debug("standard input is not readable")
