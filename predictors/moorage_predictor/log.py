"""What the process says on stderr: JSON log lines, load progress, the one line of a failure. Called by `runtime`."""

import logging
import os
import sys
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from moorage.api import jsonlog
from moorage.api.predictor import LoadProgress
from moorage_predictor import BEGAN

_NOISY: Final = (
    "kserve",
    "kserve.trace",
    "storage.initializer",
    "uvicorn",
    "uvicorn.error",
    "timm",
    "moorage_predictor.engine.lean_timm",  # timm's own loggers, by the name it is imported under
    "PIL",
    "asyncio",
)

_GRPCIO: Final = "grpc._cython.cygrpc"


def configure(level: str) -> None:
    """Send all logging to stderr as JSON; libraries speak up only for warnings."""
    jsonlog.configure(level, quiet=() if level == "debug" else _NOISY, quiet_level=logging.ERROR)
    logging.captureWarnings(True)
    logging.getLogger(_GRPCIO).addFilter(_says_no_credentials)
    if level != "debug":
        warnings.simplefilter("ignore", DeprecationWarning)


def _says_no_credentials(record: logging.LogRecord) -> bool:
    """grpcio logs the whole value of metadata that is no UTF-8, and that may be a key with a stray byte."""
    return not str(record.msg).startswith("Invalid encoding on")


def progress(step: LoadProgress) -> None:
    """Tell `moor up` how far loading is, and `moor bench cold-start` when that was, unless the step says it."""
    timed = step if step.at is not None else replace(step, at=age())
    print(timed.line(), file=sys.stderr, flush=True)  # noqa: T201


def age(moment: float | None = None) -> float:
    """Seconds since the process began, at a moment of `time.monotonic()`; now if not given."""
    return round((time.monotonic() if moment is None else moment) - _began(), 3)


@cache
def _began() -> float:
    """The moment, as far as the system tells it (Linux does, in hundredths of a second); else when Python came to us."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.monotonic() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, AttributeError):
        return BEGAN


def failure(reason: str, termination_log: str | None) -> None:
    """One line on stderr, and in the file that Kubernetes copies into the pod's status."""
    line = " ".join(reason.split())
    print(f"moorage-predictor: error: {line}", file=sys.stderr, flush=True)  # noqa: T201
    if termination_log:
        try:
            Path(termination_log).write_text(line + "\n", encoding="utf-8")
        except OSError as error:
            logging.getLogger(__name__).warning("termination log not written", extra={"reason": str(error)})
