"""The counts of several processes of one pod, kept by the one that started them: a limit is of the pod, not of each worker.
`Counter` is that process'; `Client` is each worker's, asked through `failure.Guarded`.

    worker ── [keys, rates] ──> Unix socket, mode 0600 ──> Counter: MemoryStore
           <── verdict ──────    one line of JSON each, answered in order
"""

import asyncio
import json
import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from moorage.access.limits.proof import ONCE, Seen
from moorage.access.limits.windows import MemoryStore, Rate, Verdict

_log = logging.getLogger(__name__)

_LONGEST_LINE: Final = 64 * 1024


class Counter:
    """Counts in a thread of its own, until `close`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="moorage-limits-", ignore_cleanup_errors=True)
        self.path = str(Path(self._folder.name) / "socket")  # the folder is its owner's alone
        self._store = MemoryStore()
        self._seen = Seen()
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="rate-limits", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()
        self._listening.wait()

    def close(self) -> None:
        """Workers that are left get no more answers."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._folder.cleanup()

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_unix_server(self._serve, self.path, limit=_LONGEST_LINE))
        Path(self.path).chmod(0o600)  # beside the folder, which is this process's own
        self._listening.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                keys, rates = json.loads(line)
                if keys[0].startswith(ONCE):  # apart: they are many, and must not push callers' windows out
                    verdict = Verdict(self._seen.first(keys[0], time.monotonic()), 0, ())
                else:
                    verdict = self._store.take(keys, [Rate(*rate) for rate in rates])
                writer.write(json.dumps(verdict, separators=(",", ":")).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError) as error:
            _log.warning("a worker's connection for rate limits ended", extra={"reason": type(error).__name__})
        finally:
            writer.close()


class Client(asyncio.Protocol):
    """A worker's way to the counts."""

    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, path: str) -> None:
        self._path = path
        self._transport: asyncio.Transport | None = None
        self._connecting = asyncio.Lock()
        self._waiting: deque[asyncio.Future[Verdict]] = deque()
        self._received = b""

    async def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Verdict:
        """Count a call in the window of each key, if all have room by the rate in the same place; else in none.

        Raises:
            OSError: nobody counts there.
        """
        if self._transport is None:
            async with self._connecting:
                if self._transport is None:
                    await asyncio.get_running_loop().create_unix_connection(lambda: self, self._path)
        transport = self._transport
        if transport is None:
            raise ConnectionError("the counting process has closed the connection")
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        transport.write(json.dumps([keys, rates], separators=(",", ":")).encode() + b"\n")
        return await answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From now on."""
        self._transport = transport  # type: ignore[assignment]
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Answers come in the order of the questions; whose asker has gone are dropped."""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            answer = self._waiting.popleft()
            if not answer.done():
                allowed, now, windows = json.loads(line)
                answer.set_result(Verdict(allowed, now, tuple([(used, leaves) for used, leaves in windows])))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody will answer."""
        self._transport = None
        self._give_up(exc if isinstance(exc, OSError) else ConnectionError("the connection is closed"))

    async def disconnect(self) -> None:
        """The next call connects anew."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self._give_up(ConnectionError("the connection is closed"))

    def _give_up(self, error: OSError) -> None:
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(error)
