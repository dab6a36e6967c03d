"""How soon a caller needs the answer: a deadline and a priority. Called by `http/inference.py` and `grpc.py`.

| said by                                        | of          | in                                        |
|------------------------------------------------|-------------|-------------------------------------------|
| header `x-request-timeout`                     | V1, V2      | seconds, such as 0.5                      |
| header `x-envoy-expected-rq-timeout-ms`        | V1, V2      | milliseconds; Envoy and Istio set it      |
| parameter `timeout`                            | V2          | microseconds, as Triton's clients send it |
| the call's own deadline                        | gRPC        |                                           |
| header `x-request-priority`                    | V1, V2      | 1, served first, to 10; 5 without it      |
| parameter `priority`                           | V2          | the same; 0 is as if it were absent       |
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from moorage_predictor.batching import DEFAULT_PRIORITY, LAST_PRIORITY
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.tensor import short

_HEADERS: Final = (("x-request-timeout", 1.0), ("x-envoy-expected-rq-timeout-ms", 0.001))
_PARAMETER: Final = "timeout"
_PRIORITY_HEADER: Final = "x-request-priority"
_LONGEST_S: Final = 86_400.0
"""A longer one is no deadline."""


class Urgency(NamedTuple):
    """Of one request."""

    deadline: float | None = None
    """A moment of the event loop's clock."""
    priority: int = DEFAULT_PRIORITY


USUAL: Final = Urgency()


def urgency(
    headers: Mapping[str, str], parameters: Mapping[str, Any] | None = None, arrived: float | None = None
) -> Urgency:
    """What this request says; the shortest of several times counts. On the event loop.

    `arrived` is when the request's time began, on the loop's clock; None: now.

    Raises:
        InvalidInput: it says something that is no time or no priority.
    """
    seconds = [_seconds(name, headers[name], unit) for name, unit in _HEADERS if name in headers]
    priority: Any = headers.get(_PRIORITY_HEADER)
    where = f"header {_PRIORITY_HEADER}"
    if parameters:
        if _PARAMETER in parameters:
            seconds.append(_seconds(f"parameters.{_PARAMETER}", parameters[_PARAMETER], 1e-6))
        if "priority" in parameters:
            priority, where = parameters["priority"], "parameters.priority"
    if not seconds and priority is None:
        return USUAL
    soonest = min(seconds, default=math.inf)
    began = asyncio.get_running_loop().time() if arrived is None else arrived
    return Urgency(
        began + soonest if soonest < _LONGEST_S else None,
        DEFAULT_PRIORITY if priority is None else _priority(where, priority),
    )


def _seconds(name: str, given: Any, unit: float) -> float:
    """Zero is no deadline, as Triton and Envoy have it."""
    try:
        value = float(given) if type(given) is not bool else math.nan
    except (TypeError, ValueError):
        value = math.nan
    if not value >= 0:
        raise InvalidInput(f"{name}: expected a number of 0 or more, found {short(given)}")
    return value * unit or math.inf


def _priority(where: str, given: Any) -> int:
    try:
        value = int(given) if type(given) in (int, str) else -1
    except ValueError:
        value = -1
    if not 0 <= value <= LAST_PRIORITY:
        raise InvalidInput(f"{where}: expected 0 to {LAST_PRIORITY}, found {short(given)}")
    return value or DEFAULT_PRIORITY
