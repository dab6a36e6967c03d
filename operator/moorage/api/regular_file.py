"""Read a file that must not keep anybody waiting: keys, certificates, secrets. Called by `moorage.access` and the predictor.

A pipe has no end until somebody writes to it and closes it, and a device may have none at all. Symbolic links are followed:
the kubelet mounts a Secret as links to regular files.
"""

import errno
import os
import stat
from typing import Final

_WITHOUT_WAITING: Final = getattr(os, "O_NONBLOCK", 0)  # Windows has neither it nor such pipes


def read(path: str | os.PathLike[str], most: int = -1) -> bytes:
    """All of it, or its first `most` bytes.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a folder; its `strerror` says which.
    """
    with open(path, "rb", opener=_open) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return stream.read(most)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | _WITHOUT_WAITING)  # a pipe's first opening waits for the other end
