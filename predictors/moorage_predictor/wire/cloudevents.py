"""V1 requests and answers as CloudEvents, in the words of the KServe SDK. Called by `wire/http/inference.py`.

In headers (`ce-id`, `ce-source`, ...) with the data as the body, or all of it in one JSON object ("structured").
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.decode import parse_object
from moorage_predictor.wire.tensor import short

_STRUCTURED: Final = "application/cloudevents+json"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_VERSIONS: Final = ("1.0", "0.3")
_ANEW: Final = ("id", "time", "type", "source", "datacontenttype")
"""Attributes of the request that are not the answer's, even where the others are."""


@dataclass(frozen=True)
class Event:
    """One decoded event, which knows how its answer is wrapped."""

    data: Any
    attributes: dict[str, Any]
    structured: bool

    def answer(self, model_name: str, result: Any) -> tuple[bytes, dict[str, str]]:
        """The answer's body and headers. The environment may say its type and source, and, with `CE_MERGE=true`, that it
        takes over the request's other attributes, as with the SDK."""
        merged = os.environ.get("CE_MERGE", "").lower() == "true"
        attributes = {
            **({key: value for key, value in self.attributes.items() if key not in _ANEW} if merged else {}),
            "specversion": self.attributes["specversion"] if merged else "1.0",
            "id": str(uuid.uuid4()),
            "source": os.environ.get("CE_SOURCE", f"io.kserve.inference.{model_name}"),
            "type": os.environ.get("CE_TYPE", "io.kserve.inference.response"),
            "time": datetime.now(UTC).isoformat(),
        }
        if self.structured:
            return orjson.dumps({**attributes, "data": result}), {"content-type": _STRUCTURED}
        headers = {f"ce-{key}": str(value) for key, value in attributes.items()}
        return orjson.dumps(result), {"content-type": "application/json", **headers}


def is_event(headers: Mapping[str, str]) -> bool:
    """Whether a request is an event, in headers or in its body."""
    return _is_structured(headers) or ("ce-specversion" in headers and all(f"ce-{key}" in headers for key in _REQUIRED))


def _is_structured(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _STRUCTURED


def event_of(body: bytes | bytearray, headers: Mapping[str, str], limits: RequestLimits) -> Event:
    """The event. One with attributes in headers is of those, whatever its content type says.

    Raises:
        InvalidInput: it lacks an attribute, or its data is no JSON object.
    """
    document = parse_object(body, limits)
    structured = "ce-specversion" not in headers
    if structured:
        attributes = {key: value for key, value in document.items() if key != "data"}
        if "data" not in document:
            raise InvalidInput("the body: expected a CloudEvent with data, found none")
    else:
        attributes = {key[3:]: value for key, value in headers.items() if key.startswith("ce-")}
    for key in _REQUIRED:
        if not isinstance(attributes.get(key), str) or not attributes[key]:
            raise InvalidInput(f"the event: expected {key}, a string, found {short(attributes.get(key))}")
    if attributes["specversion"] not in _VERSIONS:
        expected = " or ".join(_VERSIONS)
        raise InvalidInput(f"the event: specversion: expected {expected}, found {short(attributes['specversion'])}")
    return Event(document["data"] if structured else document, attributes, structured)
