"""One HTTP exchange over one fresh socket, written by hand: a case must be able to send what no client library would."""

import http.client
import select
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.cli.conformance.rendering import Message, repeated, written
from moorage.cli.conformance.vocabulary import Step

_CONNECT_S: Final = 5
_QUIET_S: Final = 0.5
"""Whoever says nothing for so long has answered everything."""


class UnreachableError(Exception):
    """Nobody takes the connection."""


@dataclass(frozen=True)
class Reply:
    """What came back. Without `status` nothing did: then the server `closed` the connection, or kept silent."""

    status: int | None
    seconds: float
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    closed: bool = False
    then: tuple["Reply", ...] = ()
    """Further answers on the same connection, up to the close or to silence."""

    def __str__(self) -> str:
        if self.status is None:
            return f"{'closed without an answer' if self.closed else 'no answer'} after {self.seconds:.1f} s"
        text = self.body[:200].decode(errors="replace").strip()
        return f"{self.status} {text}".strip()


class Endpoint:
    """An HTTP server, by its URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected http://HOST:PORT, found {url!r}")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._address = (parts.hostname, parts.port or (443 if self._tls else 80))
        self._base = parts.path.rstrip("/")
        self.host = parts.netloc

    def ask(self, sent: Message, within_s: float) -> Reply:
        """The answer to one request.

        Raises:
            UnreachableError: nobody listens.
        """
        based = Message(sent.method, self._base + sent.path, sent.headers, sent.body, sent.chunk_bytes)
        return self._exchange(((piece, 0.0) for piece in written(based, self.host)), sent.method, within_s)

    def talk(self, steps: Iterable[Step], within_s: float, *, further: bool = False) -> Reply:
        """The answer to a conversation made by hand; with `further` also those that follow on the same connection.

        Raises:
            UnreachableError: nobody listens.
        """
        return self._exchange(_pieces(steps, self.host), "POST", within_s, further=further)

    def _exchange(
        self, pieces: Iterable[tuple[bytes | None, float]], method: str, within_s: float, *, further: bool = False
    ) -> Reply:
        try:
            connection = socket.create_connection(self._address, timeout=_CONNECT_S)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_hostname=self._address[0])
        except OSError as error:
            raise UnreachableError(f"{self._address[0]}:{self._address[1]}: {error.strerror or error}") from error
        started = time.perf_counter()
        with connection:
            try:
                _write(connection, pieces, started + within_s)
            except TimeoutError:
                return Reply(None, time.perf_counter() - started)
            answers = _Answers(connection)
            first = _read(answers, method, started, within_s)
            if not further or first.status is None:
                return first
            return replace(first, then=tuple(_further(answers, first, started, within_s)))


def _write(connection: socket.socket, pieces: Iterable[tuple[bytes | None, float]], deadline: float) -> None:
    """All pieces, as far as the server wants them: it may answer before the end, and then nobody reads the rest."""
    try:
        for piece, pause_s in pieces:
            if piece is None:
                connection.shutdown(socket.SHUT_WR)
            elif not _sent(connection, piece, deadline):
                return
            left = deadline - time.perf_counter()
            if left < 0 or (pause_s and _answered(connection, min(pause_s, left))):
                return
    except (BrokenPipeError, ConnectionResetError):
        return  # what it said before it closed may still be there to read


def _sent(connection: socket.socket, piece: bytes, deadline: float) -> bool:
    """False as soon as the server says something, for it may have stopped to read."""
    view = memoryview(piece)
    connection.settimeout(_CONNECT_S)
    while view:
        left = max(0.0, deadline - time.perf_counter())
        select.select([connection], [connection], [], left)
        if _answered(connection, 0):
            return False
        if not select.select([], [connection], [], left)[1]:
            raise TimeoutError
        view = view[connection.send(view) :]
    return True


def _answered(connection: socket.socket, within_s: float) -> bool:
    """True once something came that is more than the leave to go on, 100 Continue."""
    if not select.select([connection], [], [], within_s)[0]:
        return False
    if isinstance(connection, ssl.SSLSocket):
        return True  # nobody can look into it without taking it
    came = connection.recv(65536, socket.MSG_PEEK)
    return not (came.startswith(b"HTTP/1.1 100") and came.endswith(b"\r\n\r\n") and came.count(b"HTTP/1.1") == 1)


class _Answers:
    """The answers of one connection. http.client closes its file after each; here the next one is read from it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._file = connection.makefile("rb")

    def makefile(self, mode: str) -> "_Answers":
        """What http.client asks a socket for."""
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """Nothing: the connection is closed by whoever opened it."""


def _read(answers: _Answers, method: str, started: float, within_s: float) -> Reply:
    answers.connection.settimeout(max(0.01, started + within_s - time.perf_counter()))
    try:
        response = http.client.HTTPResponse(answers, method=method)  # type: ignore[arg-type]  # it only asks for the file
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        body = response.read()
        if headers.get("content-encoding") in ("gzip", "deflate"):
            body = zlib.decompress(body, wbits=47)
    except TimeoutError:
        return Reply(None, time.perf_counter() - started)
    except (http.client.HTTPException, OSError, ValueError, zlib.error):
        return Reply(None, time.perf_counter() - started, closed=True)
    return Reply(response.status, time.perf_counter() - started, headers, body)


def _further(answers: _Answers, last: Reply, started: float, within_s: float) -> Iterator[Reply]:
    while last.headers.get("connection", "").lower() != "close":
        last = _read(answers, "GET", started, min(within_s, time.perf_counter() - started + _QUIET_S))
        if last.status is None:
            return
        yield last


def _pieces(steps: Iterable[Step], host: str) -> Iterator[tuple[bytes | None, float]]:
    for step in steps:
        if step.send:
            yield step.send.replace("{host}", host).encode(), 0
        if step.hex:
            yield bytes.fromhex(step.hex), 0
        if step.repeat and step.every_s:
            for number in range(step.repeat.times):
                yield step.repeat.repeat.replace("{n}", str(number)).encode(), step.every_s
        elif step.repeat:
            yield repeated(step.repeat), 0
        if step.end:
            yield None, 0
        if step.wait_s:
            yield b"", step.wait_s
