"""Take a port, or say which one is taken and what to do. `runtime` calls it before the slow imports."""

import socket

from moorage_predictor.errors import PortTaken


def bind(host: str, port: int, option: str) -> socket.socket:
    """A listening socket, before anything slow happens.

    Raises:
        PortTaken: somebody else listens there, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise port_taken(host, port, option) from error
    listener.setblocking(False)
    return listener


def port_taken(host: str, port: int, option: str) -> PortTaken:
    """The error that names the way out."""
    return PortTaken(
        f"cannot listen on {host}:{port}: the port is taken or not allowed; choose another with {option} (or --host)"
    )
