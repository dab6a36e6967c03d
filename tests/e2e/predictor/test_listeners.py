"""Every socket that a predictor listens on, with everything on that opens one: on loopback, unless it was told otherwise."""

import stat
from pathlib import Path

import psutil
import pytest
from tests.control_plane.pki import Authority
from tests.control_plane.process import free_ports

IDENTITY = {"model_name": "cats", "task": "moorage_predictor.examples.identity:Identity"}


def processes(predictor) -> list[psutil.Process]:
    parent = psutil.Process(predictor.process.pid)
    return [parent, *parent.children(recursive=True)]


def listening(predictor) -> set[tuple[str, int]]:
    """Addresses and ports of TCP, of the process and all below it; no UDP socket is open at all."""
    found = set()
    for process in processes(predictor):
        assert not process.connections(kind="udp")
        found |= {
            (each.laddr.ip.removeprefix("::ffff:"), each.laddr.port)  # grpcio binds IPv4 through IPv6
            for each in process.connections(kind="tcp")
            if each.status == psutil.CONN_LISTEN
        }
    return found


def unix_sockets(predictor) -> set[Path]:
    """Files through which somebody else on the machine could connect; abstract names have none, and everybody reaches them."""
    names = {each.laddr for process in processes(predictor) for each in process.connections(kind="unix")}
    assert not [name for name in names if name.startswith("@")]
    return {Path(name) for name in names if name}


def asked(predictor, host: str = "127.0.0.1") -> set[tuple[str, int]]:
    settings = predictor.settings
    ports = [settings.http_port, settings.grpc_port, settings.metrics_port]
    return {(host, port) for port in ports if port is not None}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("server", ["native", "grpcio"])
def test_a_predictor_listens_where_it_was_asked_to_and_nowhere_else(start, tmp_path, workers, server):
    (metrics_port,) = free_ports(1)
    keys = tmp_path / "keys.json"
    keys.write_text("[]")
    more = {
        "access_keys_file": str(keys),
        "rate_limit": ("10/minute",),
        "request_log": "all",
        "otel_endpoint": "http://127.0.0.1:9",
    }
    options = {**IDENTITY, **more, "grpc_server": server, "metrics_port": metrics_port}
    predictor = start(workers=workers, **options).until_ready()
    assert listening(predictor) == asked(predictor)
    for file in unix_sockets(predictor):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_with_tls_it_is_the_same(start, tmp_path):
    (metrics_port,) = free_ports(1)
    pair = Authority(tmp_path, "tests").server("server", "first")
    files = {"tls_cert_file": str(pair.certificate_path), "tls_key_file": str(pair.key_path)}
    predictor = start(**IDENTITY, **files, metrics_port=metrics_port).until_all_ready()
    assert listening(predictor) == asked(predictor)
    assert unix_sockets(predictor) == set()


def test_another_address_is_bound_only_when_it_is_asked_for(start):
    predictor = start(**IDENTITY, host="0.0.0.0").until_ready()
    assert listening(predictor) == asked(predictor, "0.0.0.0")
