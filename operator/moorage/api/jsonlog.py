"""One JSON object a line on stderr: time, level, logger, message, and whatever fields the caller gave.

The log of every Moorage process. CR and LF cannot get out of a JSON string, so no value can forge a line. What a line is
about is in `namespace` and `name`; callers say `object` for the latter, since `logging` keeps `name` for itself.
"""

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import TextIO

from moorage.api.bounded_stream import BoundedStream

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Fields of `extra` become members; a traceback becomes one string."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{
                "name" if key == "object" else key: value
                for key, value in vars(record).items()
                if key not in _STANDARD and not key.startswith("_")
            },
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def stderr() -> BoundedStream | TextIO:
    """Standard error, for who must not wait for its reader."""
    try:
        return _bounded(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or replaced by what is no file
        return sys.stderr


@cache
def _bounded(fd: int) -> BoundedStream:
    return BoundedStream(fd)


def configure(level: str, quiet: Iterable[str], quiet_level: int = logging.WARNING) -> None:
    """Send the whole process's log to stderr in this form; the loggers named in `quiet` only from `quiet_level` on."""
    handler = logging.StreamHandler(stderr())
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in quiet:
        logging.getLogger(name).setLevel(quiet_level)
