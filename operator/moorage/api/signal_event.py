"""The signals that tell a process to stop, and an event for their handlers. `moor up`, the predictor and the parent of several
workers stop by them.
"""

import queue
import signal
import threading
from collections.abc import Callable
from typing import Final

_TOLD_TO_STOP: Final = ("SIGTERM", "SIGINT", "SIGHUP")
"""By a supervisor, by Ctrl-C, by a terminal that is closed. Windows has no SIGHUP."""


def when_told_to_stop(call: Callable[[], object]) -> None:
    """Have these signals call this instead of ending the process. Explicitly: a shell leaves SIGINT ignored for what runs in the
    background, which nobody means. SIGHUP stays ignored where it is, which `nohup` means."""
    for name in _TOLD_TO_STOP:
        number = getattr(signal, name, None)
        if number is not None and (name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN):
            signal.signal(number, lambda *_: call())


class SignalEvent(threading.Event):
    """A `threading.Event` that a signal handler may set.

    That of the standard library takes a lock, and the handler runs in the main thread, wherever that is: if it waits for the
    event, or is setting it for the signal before, it holds that lock, and stands still for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_set = False
        self._words: queue.SimpleQueue[None] = queue.SimpleQueue()  # its `put` may interrupt itself, and any `get`

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """From any thread, and from a signal handler."""
        self._is_set = True
        self._words.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is set, or for `timeout` seconds; whether it is set then."""
        if not self._is_set:
            try:
                self._words.get(timeout=timeout)
            except queue.Empty:
                return self._is_set
            self._words.put(None)  # for whoever waits beside
        return self._is_set

    def clear(self) -> None:
        """Not there: who was told to stop stays told.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a SignalEvent stays set")
