"""Take a port, or say which one is taken and what to do. `runtime` and `workers` call it before the slow imports."""

import errno
import socket
from typing import Final

from moorage_predictor.errors import PortTaken

_BACKLOG: Final = 2048


def bind(host: str, port: int, option: str) -> socket.socket:
    """A listening socket, before anything slow happens.

    Raises:
        PortTaken: somebody else listens there, or the address is not this machine's.
    """
    listener = _socket(host)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise not_bound(host, port, option, error) from error
    return listener


def hold(host: str, port: int, option: str) -> socket.socket:
    """A bound socket that does not listen: it keeps the port for `share`, against everybody else.

    Raises:
        PortTaken: as `bind`.
    """
    bind(host, port, option).close()  # alone, so that another predictor's shared port is found taken
    holder = _socket(host)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
    except OSError as error:
        holder.close()
        raise not_bound(host, port, option, error) from error
    return holder


def share(host: str, port: int) -> socket.socket:
    """One more socket of a held port, for a child process that will listen on it.

    Raises:
        OSError: this machine has none to give now.
    """
    listener = _socket(host)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def inherited(fd: int) -> socket.socket:
    """The socket that `share` made in the parent.

    Raises:
        PortTaken: there is none.
    """
    try:
        listener = socket.socket(fileno=fd)
        listener.getsockname()
    except OSError as error:
        raise PortTaken(f"--http-fd: expected an open socket, found none with number {fd}") from error
    listener.setblocking(False)
    return listener


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    return made


def not_bound(host: str, port: int, option: str, error: Exception) -> PortTaken:
    """The error that names the way out."""
    why = f"the port is taken or not allowed; choose another with {option} (or --host)"  # gRPC's library does not say which
    if isinstance(error, socket.gaierror):  # first: its numbers are not those of errno
        why = f"no address is known by that name ({error.strerror}); correct --host"
    elif isinstance(error, OSError):
        match error.errno:
            case errno.EADDRNOTAVAIL:
                why = "that address is not this machine's; correct --host"
            case errno.EADDRINUSE:
                why = f"the port is taken; choose another with {option} (or --host)"
            case errno.EACCES | errno.EPERM:
                why = f"this user may not take that port; choose one from 1024 on with {option}"
    return PortTaken(f"cannot listen on {host}:{port}: {why}")
