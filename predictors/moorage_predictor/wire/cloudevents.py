"""V1 requests and answers as CloudEvents, through the SDK. Called by `wire/http/inference.py`; not on the hot path."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from cloudevents.sdk.converters.util import has_binary_headers
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.decode import parse_object

_STRUCTURED: Final = "application/cloudevents+json"


@dataclass(frozen=True)
class Event:
    """One decoded event, which knows how its answer is wrapped."""

    data: Any
    attributes: dict[str, Any]
    headers: dict[str, str]

    def answer(self, model_name: str, result: Any) -> tuple[bytes, dict[str, str]]:
        """The answer's body and headers."""
        content, headers = DataPlane(ModelRepository()).encode(model_name, result, self.headers, self.attributes)
        return (content.encode() if isinstance(content, str) else content), headers


def is_event(headers: dict[str, str]) -> bool:
    """Whether a request is an event, in headers or in its body."""
    return _is_structured(headers) or ("ce-specversion" in headers and bool(has_binary_headers(headers)))


def _is_structured(headers: dict[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _STRUCTURED


def event_of(body: bytes | bytearray, headers: dict[str, str], limits: RequestLimits) -> Event:
    """The event.

    Raises:
        InvalidInput: it is none that the SDK understands.
    """
    # With ce-contenttype the SDK parses the data and then fails, because it is parsed.
    known = {name: value for name, value in headers.items() if name != "ce-contenttype"}
    try:
        document = parse_object(body, limits)
        if _is_structured(headers):
            # The SDK knows an event only with a time, which the specification leaves open.
            body = orjson.dumps({"time": datetime.now(UTC).isoformat(), **document})
            known["content-type"] = _STRUCTURED
        data, attributes = DataPlane(ModelRepository()).decode(bytes(body), known)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput("the body: expected a CloudEvent with JSON data") from error
    return Event(data, attributes, known)
