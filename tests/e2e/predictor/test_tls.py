"""A real predictor with certificates: both listeners, clients' certificates, renewal while it serves."""

import shutil
import socket
import ssl
import time
from pathlib import Path

import grpc
import httpx
import pytest
from tests.control_plane.pki import Authority, KeyPair
from tests.control_plane.process import free_ports

from moorage.api.exit_codes import ExitCode
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

IDENTITY = {"model_name": "identity", "task": "moorage_predictor.examples.identity:Identity"}
BODY = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [7]}]}
PATIENCE_S = 60


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"), "tests")


@pytest.fixture
def serve(start, tmp_path, authority):
    """Starts a predictor with a certificate, and waits until it is ready."""

    def run(**more: object):
        put(authority.server("server", "first"), tmp_path)
        files = {"tls_cert_file": str(tmp_path / "tls.crt"), "tls_key_file": str(tmp_path / "tls.key")}
        predictor = start(**IDENTITY, **files, **more).until_all_ready()
        return predictor

    return run


def put(pair: KeyPair, folder: Path) -> None:
    shutil.copy(pair.certificate_path, folder / "tls.crt")
    shutil.copy(pair.key_path, folder / "tls.key")


def over_http(predictor, authority: Authority, client: KeyPair | None = None) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(authority.pair.certificate_path))
    if client:
        context.load_cert_chain(client.certificate_path, client.key_path)
    url = f"https://127.0.0.1:{predictor.settings.http_port}/v2/models/identity/infer"
    return httpx.post(url, json=BODY, verify=context, timeout=PATIENCE_S)


def over_grpc(predictor, authority: Authority, client: KeyPair | None = None) -> bool:
    own = (client.key_path.read_bytes(), client.certificate_path.read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.pair.certificate_path.read_bytes(), *own)
    with grpc.secure_channel(predictor.grpc, credentials) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelReady", pb.ModelRequest.SerializeToString, pb.ModelReadyResponse.FromString
        )
        return call(pb.ModelRequest(name="identity"), timeout=PATIENCE_S).ready


def common_name(port: int, authority: Authority) -> str:
    context = ssl.create_default_context(cafile=str(authority.pair.certificate_path))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        return dict(entry[0] for entry in connection.getpeercert()["subject"])["commonName"]


def test_both_listeners_speak_tls_and_a_new_certificate_needs_no_restart(serve, tmp_path, authority):
    predictor = serve()
    assert over_http(predictor, authority).json()["outputs"][0]["data"] == [7]
    assert over_grpc(predictor, authority)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{predictor.settings.http_port}/v2/health/live", timeout=PATIENCE_S)
    ports = predictor.settings.http_port, predictor.settings.grpc_port
    assert {common_name(port, authority) for port in ports} == {"first"}
    put(authority.server("next", "second"), tmp_path)
    deadline = time.monotonic() + PATIENCE_S
    while {common_name(port, authority) for port in ports} != {"second"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert over_http(predictor, authority).status_code == 200
    assert over_grpc(predictor, authority)
    (tmp_path / "tls.crt").write_bytes(b"-----BEGIN CERTIFICATE-----")
    assert predictor.until_logged("the last one is still")
    assert {common_name(port, authority) for port in ports} == {"second"}
    predictor.process.terminate()
    assert predictor.exit_code() == ExitCode.OK
    assert "Traceback" not in predictor.stderr()


def test_with_an_authority_for_clients_only_those_with_a_certificate_are_let_in(serve, authority, tmp_path):
    [metrics_port] = free_ports(1)
    predictor = serve(tls_client_ca_file=str(authority.pair.certificate_path), metrics_port=metrics_port)
    for path in ("live", "ready"):  # as the kubelet asks, which has no certificate to show
        assert httpx.get(f"http://127.0.0.1:{metrics_port}/v2/health/{path}", timeout=PATIENCE_S).status_code == 200
    known, stranger = authority.client("client", "ann"), Authority(tmp_path / "other", "other").client("other", "bob")
    assert over_http(predictor, authority, known).status_code == 200
    assert over_grpc(predictor, authority, known)
    for client in (None, stranger):
        with pytest.raises(httpx.TransportError):
            over_http(predictor, authority, client)
        with pytest.raises(grpc.RpcError) as caught:
            over_grpc(predictor, authority, client)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_an_optional_certificate_is_checked_if_it_is_there(serve, authority, tmp_path):
    predictor = serve(tls_client_ca_file=str(authority.pair.certificate_path), tls_client_auth="optional")
    assert over_http(predictor, authority).status_code == 200
    assert over_http(predictor, authority, authority.client("client", "ann")).status_code == 200
    with pytest.raises(httpx.TransportError):
        over_http(predictor, authority, Authority(tmp_path / "other", "other").client("other", "bob"))
    assert over_grpc(predictor, authority)


def test_several_workers_show_the_same_certificate(serve, authority):
    predictor = serve(workers=2)
    assert {over_http(predictor, authority).status_code for _ in range(10)} == {200}
    assert over_grpc(predictor, authority)


def test_a_key_that_is_another_certificates_is_one_line_and_exit_code_2(start, authority):
    certificate, key = authority.server("server", "first"), authority.server("next", "second")
    predictor = start(**IDENTITY, tls_cert_file=str(certificate.certificate_path), tls_key_file=str(key.key_path))
    assert predictor.exit_code() == ExitCode.INVALID_INPUT
    assert "Traceback" not in predictor.stderr()
    [line] = [line for line in predictor.lines if line.startswith("moorage-predictor: error: ")]
    assert "--tls-key-file: " in line
    assert "expected the key of the first certificate" in line
