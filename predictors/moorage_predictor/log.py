"""What the process says on stderr: JSON log lines, load progress, the one line of a failure. Called by `runtime`."""

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from moorage.api.predictor import LoadProgress

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOISY: Final = ("kserve", "kserve.trace", "storage.initializer", "uvicorn", "uvicorn.error", "timm", "PIL", "asyncio")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: a constant message, the values as fields. CR and LF cannot get out of a JSON string."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(level: str) -> None:
    """Send all logging to stderr as JSON; libraries speak up only for warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    if level != "debug":
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)


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
