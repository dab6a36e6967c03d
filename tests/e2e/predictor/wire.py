"""A client that says exactly what it is told to: bytes on a socket, and answers read one by one."""

import contextlib
import http.client
import socket
from dataclasses import dataclass
from typing import Self

PATIENCE_S = 60


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Wire:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """False if the server no longer takes it."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def half_close(self) -> None:
        with contextlib.suppress(OSError):  # the server may have closed the whole
            self._socket.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; `method` is that of its request."""
        response = http.client.HTTPResponse(_Rest(self), method=method)
        response.begin()
        return Answer(response.status, response.headers, response.read())

    def rest(self) -> bytes:
        """Everything until the server closes."""
        received = self._pending
        with contextlib.suppress(ConnectionError):
            while data := self._socket.recv(65536):
                received += data
        return received

    def makefile(self) -> "_Buffered":
        return _Buffered(self)

    def recv(self) -> bytes:
        if self._pending:
            data, self._pending = self._pending, b""
            return data
        return self._socket.recv(65536)

    def push_back(self, data: bytes) -> None:
        self._pending = data + self._pending


class _Rest:
    """What http.client wants of a socket."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def makefile(self, mode: str) -> "_Buffered":
        return _Buffered(self._wire)


class _Buffered:
    """Reads no more than it is asked for, so that the next answer is still there."""

    closed = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readline(self, limit: int = -1) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            data = self._wire.recv()
            if not data:
                break
            end = data.find(b"\n") + 1 or len(data)
            line += data[:end]
            self._wire.push_back(data[end:])
        return line

    def read(self, size: int = -1) -> bytes:
        body = b""
        while size < 0 or len(body) < size:
            data = self._wire.recv()
            if not data:
                break
            take = len(data) if size < 0 else min(len(data), size - len(body))
            body += data[:take]
            self._wire.push_back(data[take:])
        return body

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request's bytes; header names have `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "host: test"]
    if body and "transfer_encoding" not in headers:
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
