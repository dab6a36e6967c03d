"""An event for signal handlers. `moor up`, the predictor and the parent of several workers stop by it."""

import queue
import threading


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
