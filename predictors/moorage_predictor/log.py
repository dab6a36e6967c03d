"""What the process says on stderr: JSON log lines, load progress, the one line of a failure. Called by `runtime`."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Final

from moorage.api import jsonlog
from moorage.api.predictor import LoadProgress

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


def configure(level: str) -> None:
    """Send all logging to stderr as JSON; libraries speak up only for warnings."""
    jsonlog.configure(level, quiet=() if level == "debug" else _NOISY, quiet_level=logging.ERROR)
    logging.captureWarnings(True)
    if level != "debug":
        warnings.simplefilter("ignore", DeprecationWarning)


def progress(stage: LoadProgress) -> None:
    """Tell `moor up` how far loading is."""
    print(stage.line(), file=sys.stderr, flush=True)  # noqa: T201


def failure(reason: str, termination_log: str | None) -> None:
    """One line on stderr, and in the file that Kubernetes copies into the pod's status."""
    line = " ".join(reason.split())
    print(f"moorage-predictor: error: {line}", file=sys.stderr, flush=True)  # noqa: T201
    if termination_log:
        try:
            Path(termination_log).write_text(line + "\n", encoding="utf-8")
        except OSError as error:
            logging.getLogger(__name__).warning("termination log not written", extra={"reason": str(error)})
