"""Keeps Ray on loopback, for which it has no option: `before_init` in the driver, `in_worker` in each of its workers."""

from typing import Any

from ray._private import services


def before_init() -> None:
    """Ray would take another address of this machine instead of the one that it is told."""
    services.resolve_ip_for_localhost = lambda host: host


def in_worker() -> None:
    """A replica's own gRPC server listens on every address."""
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server

    def add(server: Any, address: str) -> int:
        return add_port(server, address.replace("[::]", "127.0.0.1"))

    replica.add_port_to_grpc_server = add
