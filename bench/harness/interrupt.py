"""SIGTERM ends a benchmark as Ctrl-C does, so that the server which is up is stopped; a second signal must not prevent that."""

import signal
from types import FrameType


def install() -> None:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt, and ignore those that follow."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _once)


def _once(number: int, frame: FrameType | None) -> None:
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt
