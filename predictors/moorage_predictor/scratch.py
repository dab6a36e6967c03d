"""The folder for all that is temporary in a process of the predictor. It goes at the end of that process or, where that was
killed, when the next one makes its own: a pod's /tmp outlives its containers, so a model that does not fit into memory would
leave its weights there at each restart.

    scratch() -> what the dead have left goes -> moor-run-x, locked

The lock says that the process lives; the kernel lets go of it however that ends.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

PREFIX: Final = "moor-run-"
"""No other folder of Moorage may be named so: one without a lock is taken for a dead process's."""


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A new folder of this process's own."""
    _remove_what_the_dead_have_left(Path(tempfile.gettempdir()))
    folder, lock = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make() -> tuple[str, int]:
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with contextlib.suppress(OSError):  # a file system without locks: then nobody else has one here either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock).st_nlink:
                return folder, lock
            os.close(lock)
        # Another process that has just started took it for a dead one's, before it had a lock.


def _remove_what_the_dead_have_left(within: Path) -> None:
    with contextlib.suppress(OSError):
        for folder in within.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                _remove_if_dead(folder)


def _remove_if_dead(folder: Path) -> None:
    """Of other users nothing, and nothing that a link leads to.

    Raises:
        OSError: its process lives, or it is not ours.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        _log.info("removed what a process that was killed has left", extra={"folder": str(folder)})
    finally:
        os.close(lock)
