"""Certificates: what is said of those that cannot be used, and how new ones take the place of old ones."""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from pathlib import Path
from typing import Any, Final

import pytest
import uvicorn
import uvloop
from cryptography.hazmat.primitives import serialization
from tests.control_plane.pki import Authority, KeyPair
from tests.unit.mock_hanging_mount import MockHangingMount

from moorage.api import apart
from moorage.api.exit_codes import ExitCode
from moorage.api.limits import RequestLimits
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import TlsUnusable
from moorage_predictor.wire import tls
from moorage_predictor.wire.http.listener import HttpServer
from moorage_predictor.wire.http.protocol import limited_protocol
from moorage_predictor.wire.tls import Certificates

PATIENCE_S: Final = 10


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki", "tests")


@pytest.fixture
def pair(authority: Authority) -> KeyPair:
    return authority.server("server", "first")


def settings(certificate: Path, key: Path, **more: object) -> PredictorSettings:
    return PredictorSettings(task="a:B", tls_cert_file=str(certificate), tls_key_file=str(key), **more)


def put(folder: Path, pair: KeyPair) -> tuple[Path, Path]:
    """As a Secret is mounted: names link into `..data`, which links to a folder of one version."""
    version = folder / f"..{pair.certificate.serial_number}"
    version.mkdir(parents=True)
    (version / "tls.crt").write_bytes(pair.certificate_path.read_bytes())
    (version / "tls.key").write_bytes(pair.key_path.read_bytes())
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.replace(folder / "..data")
    names = folder / "tls.crt", folder / "tls.key"
    for name in names:
        if not name.is_symlink():
            name.symlink_to(f"..data/{name.name}")
    return names


async def shown(certificates: Certificates, authority: Authority, **client: object) -> ssl.SSLObject:
    """What a client of a listener sees, after a handshake."""
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=certificates.http_context()
    )
    context = ssl.create_default_context(cafile=str(authority.pair.certificate_path))
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, value in client.items():
        setattr(context, name, value)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1], ssl=context)
        connection = writer.get_extra_info("ssl_object")
        writer.close()
        return connection
    finally:
        server.close()


def name_of(connection: ssl.SSLObject) -> str:
    return dict(entry[0] for entry in connection.getpeercert()["subject"])["commonName"]


async def test_a_connection_is_of_tls_1_2_or_newer_and_of_http_1_1(authority: Authority, pair: KeyPair) -> None:
    certificates = Certificates(settings(pair.certificate_path, pair.key_path))
    connection = await shown(certificates, authority)
    assert (connection.version(), connection.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    connection = await shown(certificates, authority, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert connection.version() == "TLSv1.2"
    assert (
        certificates.current.context.minimum_version == ssl.TLSVersion.TLSv1_2
    )  # OpenSSL's clients no longer try older


async def test_a_secret_that_changes_is_taken_up(tmp_path: Path, authority: Authority, pair: KeyPair) -> None:
    certificates = Certificates(settings(*put(tmp_path / "mount", pair)))
    context = certificates.http_context()
    assert name_of(await shown(certificates, authority)) == "first"
    put(tmp_path / "mount", authority.server("next", "second"))
    certificates.renew()
    assert name_of(await shown(certificates, authority)) == "second"
    assert context is not certificates.current.context


@pytest.mark.parametrize("how", ["half", "mismatch", "gone", "pipe"])
async def test_a_new_pair_that_is_no_good_leaves_the_old_one_and_is_told_once(
    how: str, tmp_path: Path, authority: Authority, pair: KeyPair, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(pair.certificate_path.read_bytes())
    key.write_bytes(pair.key_path.read_bytes())
    certificates = Certificates(settings(certificate, key))
    following = authority.server("next", "second")
    if how == "half":
        certificate.write_bytes(following.certificate_path.read_bytes()[:200])
    elif how == "mismatch":
        certificate.write_bytes(following.certificate_path.read_bytes())
    else:
        key.unlink()
    if how == "pipe":
        os.mkfifo(key)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            certificates.renew()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert name_of(await shown(certificates, authority)) == "first"
    certificate.write_bytes(following.certificate_path.read_bytes())
    key.unlink(missing_ok=True)
    key.write_bytes(following.key_path.read_bytes())
    certificates.renew()
    assert name_of(await shown(certificates, authority)) == "second"


def test_a_certificate_that_could_not_be_read_once_is_taken_up_at_the_next_look(
    tmp_path: Path,
    authority: Authority,
    pair: KeyPair,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    certificates = Certificates(settings(*put(tmp_path / "mount", pair)))
    before = certificates.current
    put(tmp_path / "mount", authority.server("next", "second"))

    def fail(*_: object) -> None:
        raise TlsUnusable("too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(tls, "_load", fail)
        for _ in range(2):
            certificates.renew()
    assert (certificates.current, len(caplog.records)) == (before, 1)
    certificates.renew()
    assert certificates.current is not before


async def test_files_whose_mount_hangs_are_read_by_one_thread_and_taken_up_when_it_answers(
    tmp_path: Path,
    authority: Authority,
    pair: KeyPair,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tls, "_LOOK_S", 0.0)
    monkeypatch.setattr(apart, "HANGS_S", 0.0)
    certificates = Certificates(settings(*put(tmp_path / "mount", pair)))
    put(tmp_path / "mount", authority.server("next", "second"))
    mount = MockHangingMount(tmp_path / "mount", monkeypatch)
    mount.hang()
    watching = asyncio.create_task(certificates.watch())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not caplog.records:
                await asyncio.sleep(0.01)
        assert mount.waiting == 1
        assert name_of(await shown(certificates, authority)) == "first"
        assert [record.message for record in caplog.records] == [
            "the certificate is not read: its file does not answer; the last one is still used"
        ]
        monkeypatch.setattr(apart, "HANGS_S", 60.0)
        mount.answer()
        async with asyncio.timeout(PATIENCE_S):
            while name_of(await shown(certificates, authority)) != "second":
                await asyncio.sleep(0.01)
    finally:
        mount.answer()
        watching.cancel()


def damaged(how: str, tmp_path: Path, authority: Authority, pair: KeyPair) -> PredictorSettings:
    certificate, key, other = pair.certificate_path, pair.key_path, tmp_path / "other.pem"
    if how == "no certificate":
        return settings(tmp_path / "none.pem", key)
    if how == "no key":
        return settings(certificate, tmp_path / "none.pem")
    if how == "pipe":
        os.mkfifo(other)
        return settings(certificate, other)
    if how == "swapped":
        return settings(key, certificate)
    if how == "another's key":
        return settings(certificate, authority.server("next", "second").key_path)
    if how == "encrypted":
        secret = serialization.BestAvailableEncryption(b"secret")
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        other.write_bytes(pair.key.private_bytes(*form, secret))
        return settings(certificate, other)
    if how == "cut off":
        other.write_bytes(certificate.read_bytes()[:-200] + b"\n-----END CERTIFICATE-----\n")
        return settings(other, key)
    other.write_bytes(b"nothing" if how == "no authority" else b"-----BEGIN CERTIFICATE-----\naGk=\n")
    return settings(certificate, key, tls_client_ca_file=str(other))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no certificate", ("--tls-cert-file: ", "none.pem", "No such file")),
        ("pipe", ("--tls-key-file: ", "not a regular file")),
        ("no key", ("--tls-key-file: ", "none.pem", "No such file")),
        ("swapped", ("--tls-cert-file: ", "expected a certificate in PEM")),
        ("another's key", ("--tls-key-file: ", "expected the key of the first certificate")),
        ("encrypted", ("--tls-key-file: ", "not encrypted")),
        ("cut off", ("--tls-cert-file: ",)),
        ("no authority", ("--tls-client-ca-file: ", "expected a certificate in PEM")),
        ("damaged authority", ("--tls-client-ca-file: ", "PEM")),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(
    how: str, words: tuple[str, ...], tmp_path: Path, authority: Authority, pair: KeyPair
) -> None:
    with pytest.raises(TlsUnusable) as caught:
        Certificates(damaged(how, tmp_path, authority, pair))
    assert caught.value.exit_code == ExitCode.INVALID_INPUT
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    "given",
    [
        {"tls_cert_file": "a"},
        {"tls_key_file": "a"},
        {"tls_client_ca_file": "a"},
        {"tls_client_auth": "optional"},
        {"tls_cert_file": "a", "tls_key_file": "b", "tls_client_auth": "optional"},
        {"tls_cert_file": "a", "tls_key_file": "b", "grpc_server": "native"},
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"expected .*--tls-c"):
        PredictorSettings(task="a:B", **given)


def test_no_more_connections_wait_for_tls_to_begin_than_may_be_open(authority: Authority, pair: KeyPair) -> None:
    context = Certificates(settings(pair.certificate_path, pair.key_path)).http_context()
    client = ssl.create_default_context(cafile=str(authority.pair.certificate_path))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(knock(context, client))


async def knock(context: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """On the door of a listener with room for two: five times in silence, then three times as one should."""

    async def app(_scope: object, _receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    protocol = limited_protocol(RequestLimits(max_connections=2))
    config = uvicorn.Config(app, http=protocol, log_config=None, ssl_context_factory=lambda *_: context)
    config.load()
    server = HttpServer(config)
    await server.startup([socket.create_server(("127.0.0.1", 0))])
    port = server.servers[0].sockets[0].getsockname()[1]
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    for reader, _ in silent[2:]:
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    assert [reader.at_eof() for reader, _ in silent[:2]] == [False, False]
    silent[0][1].close()
    await asyncio.sleep(0.05)
    for _ in range(3):  # those that have begun are no longer counted
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
    for _, writer in silent[1:]:
        writer.close()
    for each in server.servers:
        each.close()
