"""What the API server says: objects, refusals, and the lines of a watch. Used by cluster.py, which re-exports the names."""

from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import orjson

Body = dict[str, Any]
"""An object as JSON gives it."""


NAMESPACE_NOT_FOUND: Final = "NamespaceNotFound"
"""Our own word for a cause that Kubernetes tells by the kind of what was not found."""


class ApiError(Exception):
    """The API server's answer was not a success. `code` is 0 if there was no answer at all."""

    def __init__(
        self, code: int, reason: str, message: str, retry_after_s: float | None = None, cause: str = ""
    ) -> None:
        self.code, self.reason, self.message, self.retry_after_s = code, reason, message, retry_after_s
        self.cause = cause
        """The first of the machine-readable causes, for instance NamespaceTerminating."""
        super().__init__(f"{code} {reason}: {message}")

    @property
    def is_of_namespace(self) -> bool:
        """Whether the namespace is being deleted, or is no more and was survived by what is in it: its deletion looks for no
        objects of kinds that the API server has once not served.
        """
        return self.cause in ("NamespaceTerminating", NAMESPACE_NOT_FOUND)


def parsed(text: str | bytes) -> Body:
    """The JSON object that an answer is.

    Raises:
        ApiError: it is something else.
    """
    try:
        body = orjson.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(0, "Unreadable", f"expected a JSON object, got {text[:100]!r}")
    return body


def unreachable(error: BaseException) -> ApiError:
    """In words that are the same each time: aiohttp's own hold addresses of objects."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return ApiError(0, "Unreachable", f"{error.host}:{error.port}: {error.os_error.strerror or error.os_error}")
    return ApiError(0, "Unreachable", str(error) or type(error).__name__)


async def lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; StreamReader's own iterator gives up past 64 KiB, and an InferenceService may be larger."""
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
