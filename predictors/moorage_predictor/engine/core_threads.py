"""One thread for each core, which take the most urgent work first. Called by `tasks/image_classification/stages.py`.

Were there more, two that compute would now and then share a core for as long as 20 ms while another core idles, because Linux moves
neither: `docs/reference/benchmarks.md` has what that costs.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from moorage_predictor.contained import contained

T = TypeVar("T")


class CoreThreads:
    """Asked on an event loop."""

    def __init__(self, cores: int, name: str, initializer: Callable[[], None]) -> None:
        """`initializer` is called in each thread first."""
        self._pool = ThreadPoolExecutor(cores, name, initializer)
        self._urgent: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._other: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def run(self, work: Callable[[], T], *, urgent: bool = False) -> "asyncio.Future[T]":
        """What it returns or raises. What is urgent is begun before all that is not; what is cancelled is not begun."""
        done: Future[T] = Future()
        (self._urgent if urgent else self._other).append((done, work))
        self._pool.submit(self._next)  # which may do other work: each call does one piece
        return asyncio.wrap_future(done)

    def close(self) -> None:
        """After the last work."""
        self._pool.shutdown(wait=False)

    def _next(self) -> None:
        try:
            done, work = self._urgent.popleft()
        except IndexError:
            done, work = self._other.popleft()
        if not done.set_running_or_notify_cancel():
            return
        try:
            result = contained(work)
        except Exception as error:  # noqa: BLE001 - the asker's to handle
            done.set_exception(error)
        else:
            done.set_result(result)
