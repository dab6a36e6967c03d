"""What callers may look at and, with `--control-endpoints`, change while the server runs: trace and log settings, in the
words of Triton's trace and logging extensions. Called by `wire/http/endpoints.py` and `wire/grpc.py`.

Two of Triton's settings are never changed from outside: a file that is written to, and tracing of tensors, because
payloads stay out of logs.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.tensor import short

_LEVELS: Final = ("OFF", "TIMESTAMPS")
_MAX_RATE: Final = 2**31 - 1


class TraceSettings:
    """Which requests get a log line that says where their time went. Strings outside, as in the extension."""

    def __init__(self) -> None:
        self.level = "OFF"
        self.rate = 1000
        """One request of so many."""
        self.count = -1
        """How many more; -1 is no end."""
        self._seen = 0

    def copy(self) -> "TraceSettings":
        """Equal settings for one model, to be changed apart."""
        made = TraceSettings()
        made.level, made.rate, made.count = self.level, self.rate, self.count
        return made

    def takes_this_one(self) -> bool:
        """Called once for each request."""
        if self.level == "OFF" or self.count == 0:
            return False
        self._seen += 1
        if self._seen % self.rate:
            return False
        if self.count > 0:
            self.count -= 1
        return True

    def as_dict(self) -> dict[str, Any]:
        """As in the answer."""
        return {
            "trace_level": [self.level],
            "trace_rate": str(self.rate),
            "trace_count": str(self.count),
            "log_frequency": "0",
            "trace_file": "",
            "trace_mode": "moorage",
        }

    def update(self, given: Mapping[str, Any]) -> None:
        """All of it or nothing. None puts a setting back to its default, as the extension has it.

        Raises:
            InvalidInput: an unknown setting, or one that cannot be changed, or not to this.
        """
        fresh = TraceSettings()
        level, rate, count = self.level, self.rate, self.count
        for name, value in given.items():
            if name == "trace_level":
                level = fresh.level if value is None else _level(value)
            elif name == "trace_rate":
                rate = fresh.rate if value is None else _number(name, value, 1)
            elif name == "trace_count":
                count = fresh.count if value is None else _number(name, value, -1)
            elif name not in self.as_dict():
                raise InvalidInput(f"expected some of trace_level, trace_rate, trace_count, found {short(name)}")
            elif value not in (None, self.as_dict()[name]):
                raise InvalidInput(f"{name}: cannot be changed here")
        self.level, self.rate, self.count = level, rate, count


def _level(value: Any) -> str:
    levels = value if isinstance(value, list) else [value]
    if len(levels) != 1 or levels[0] not in _LEVELS:
        raise InvalidInput(f"trace_level: expected one of {', '.join(_LEVELS)}, found {short(value)}")
    return str(levels[0])


def _number(name: str, value: Any, least: int) -> int:
    one = value[0] if isinstance(value, list) and len(value) == 1 else value
    try:
        number = int(str(one)) if not isinstance(one, bool) else least - 1
    except ValueError:
        number = least - 1
    if not least <= number <= _MAX_RATE:
        raise InvalidInput(f"{name}: expected an integer from {least} on, found {short(value)}")
    return number


class LogSettings:
    """Which levels the process logs; Triton's switches, on Python's one threshold."""

    def as_dict(self) -> dict[str, Any]:
        """As in the answer."""
        level = logging.getLogger().getEffectiveLevel()
        return {
            "log_file": "",
            "log_info": level <= logging.INFO,
            "log_warning": level <= logging.WARNING,
            "log_error": level <= logging.ERROR,
            "log_verbose_level": 1 if level <= logging.DEBUG else 0,
            "log_format": "json",
        }

    def update(self, given: Mapping[str, Any]) -> None:
        """All of it or nothing.

        Raises:
            InvalidInput: an unknown setting, or one that cannot be changed, or not to this.
        """
        wanted = self.as_dict()
        for name, value in given.items():
            if name not in wanted:
                raise InvalidInput(f"expected some of {', '.join(wanted)}, found {short(name)}")
            if name in ("log_file", "log_format"):
                if value != wanted[name]:
                    raise InvalidInput(f"{name}: cannot be changed here")
            elif name == "log_verbose_level":
                if type(value) is not int or value < 0:
                    raise InvalidInput(f"{name}: expected an integer from 0 on, found {short(value)}")
            elif type(value) is not bool:
                raise InvalidInput(f"{name}: expected true or false, found {short(value)}")
            wanted[name] = value
        logging.getLogger().setLevel(_threshold(wanted))


def _threshold(wanted: Mapping[str, Any]) -> int:
    if wanted["log_verbose_level"] > 0:
        return logging.DEBUG
    for name, level in (("log_info", logging.INFO), ("log_warning", logging.WARNING), ("log_error", logging.ERROR)):
        if wanted[name]:
            return level
    return logging.CRITICAL
