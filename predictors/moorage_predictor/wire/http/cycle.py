"""One request and its answer: uvicorn's own, with a short path for answers that are sent whole. Put by `protocol.py` in the
place of uvicorn's.

uvicorn writes head and body apart, and searches each header for what may not be in it, names too. Here both leave in one
write, a name is searched once for all answers, and the values of one answer together.
"""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

_JOIN_BELOW: Final = 64 * 1024
"""Bytes of a body; copying more would cost more than a second write."""
_MOST_NAMES: Final = 256
_LENGTH: Final = b"\r\ncontent-length: "
_names: dict[bytes, bytes] = {}
"""What a header's line begins with."""
_status: Final = {status: line.removesuffix(b"\r\n") for status, line in STATUS_LINE.items()}


class Cycle(RequestResponseCycle):
    """Of one connection, which has one at a time."""

    held: bytes | None = None
    """The head of an answer whose body is still to come."""

    async def send(self, message: Any) -> None:
        """ASGI."""
        kind = message["type"]
        held = self.held
        if held is not None:
            self.held = None
            if (
                kind == "http.response.body"
                and not message.get("more_body")
                and self._send_whole(held, message.get("body", b""))
            ):
                return
            self.transport.write(held)
        elif kind == "http.response.start" and not self.response_started and self._hold(message):
            return
        await super().send(message)

    def _hold(self, message: Any) -> bool:
        """Whether the head is held until the body comes."""
        if self.disconnected or (head := self._head(message)) is None:
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.held = head
        return True

    def _send_whole(self, head: bytes, body: Any) -> bool:
        """Whether the answer has left."""
        size = len(body)
        if size != self.expected_content_length or self.disconnected or self.flow.write_paused:
            return False
        if size < _JOIN_BELOW:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

    def _head(self, message: Any) -> bytes | None:
        """Of an answer with a length; None for others, which uvicorn sends as it does."""
        if self.scope["method"] == "HEAD" or not self.keep_alive:
            return None
        parts, length = [_status[message["status"]]], None
        for headers in (self.default_headers, message["headers"]):
            for name, value in headers:
                begin = _names.get(name)
                if begin is None and (begin := _begin(name)) is None:
                    return None
                if begin == _LENGTH:
                    length = int(value)
                parts.append(begin)
                parts.append(value)
        if length is None or HEADER_VALUE_RE.search(b"".join(parts[2::2])):
            return None
        self.chunked_encoding = False
        self.expected_content_length = length
        parts.append(b"\r\n\r\n")
        return b"".join(parts)


def _begin(name: bytes) -> bytes | None:
    """None for names that need more than to be written."""
    lower = name.lower()
    if lower in (b"connection", b"transfer-encoding") or HEADER_RE.search(lower):
        return None
    begin = b"\r\n%b: " % lower
    if len(_names) < _MOST_NAMES:
        _names[name] = begin
    return begin
