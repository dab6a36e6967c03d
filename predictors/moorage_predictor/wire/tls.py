"""Certificates for both listeners, taken up anew whenever their files change. Made by `server.py`, where `--tls-cert-file` is set.

    files ── every second: changed? ──> read, checked as a pair ──> current ──> each new HTTP connection
      (a Secret's `..data` link counts)      └── not good: the last good ones stay, one line in the log     └──> gRPC's

Connections that are open keep what they were made with. A context is never changed, only exchanged: OpenSSL would take a new
certificate before it finds that the key is another's.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from moorage.api import regular_file
from moorage.api.apart import apart
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import TlsUnusable

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_ALPN: Final = ["http/1.1"]

_State = tuple[int, int, int, int]
Look = tuple[_State | None, ...]
"""Of each file: inode, times of change of what is in it and of it, bytes; None where it is not there."""


@dataclass(frozen=True)
class _Loaded:
    context: ssl.SSLContext
    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """One process's."""

    def __init__(self, settings: PredictorSettings) -> None:
        """Read them.

        Raises:
            TlsUnusable: they cannot be used; the message names the option, the file and the reason.
        """
        self._settings = settings
        named = (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
        self._paths = [Path(name) for name in named if name]
        self._used = self._told = self._look()  # of what is current, and of what was last tried and told of
        self.current = _load(settings)

    def _look(self) -> Look:
        return tuple([_look_at(path) for path in self._paths])

    async def watch(self) -> None:
        """Until cancelled, take up what changes. One look at a time, in a thread of its own: it hangs with the files' mount."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await apart(self.renew, "certificates", self._hangs)
            except Exception:  # noqa: BLE001 - no thread to be had, or a defect: the next look may do better
                _log.exception("the certificate was not looked at")

    def _hangs(self) -> None:
        _log.error(
            "the certificate is not read: its file does not answer; the last one is still used",
            extra={"file": self._settings.tls_cert_file},
        )

    def renew(self) -> None:
        """Take up the files if they are others than those in use. Blocks. What is not good is tried again at the next look, for it
        may not be the files' fault; it is told once."""
        look = self._look()
        if look == self._used:
            self._told = look
            return
        try:
            loaded = _load(self._settings)
        except TlsUnusable as error:
            if look != self._told and self._look() == look:  # else they change right now: the next look judges them
                self._told = look
                _log.error("the new certificate is not used, the last one is still", extra={"reason": str(error)})
            return
        if self._look() == look:
            self._used = self._told = look
            self.current = loaded
            _log.info("certificate renewed", extra={"file": self._settings.tls_cert_file})

    def http_context(self) -> ssl.SSLContext:
        """For a listener: each connection gets what is current when it comes."""
        context = _Current(ssl.PROTOCOL_TLS_SERVER)
        context.certificates = self
        return context

    def grpc_credentials(self) -> Any:
        """The same for grpcio, which asks before each handshake. Client certificates it either demands or does not ask for."""
        given = self.current

        def fetch() -> Any:
            nonlocal given
            if given is self.current:
                return None
            given = self.current
            return _grpc_configuration(given)

        demand = self._settings.tls_client_ca_file is not None and self._settings.tls_client_auth == "require"
        return grpc.dynamic_ssl_server_credentials(_grpc_configuration(given), fetch, demand)


class _Current(ssl.SSLContext):
    certificates: Certificates
    full: Callable[[], bool] | None = None
    """Whether no more handshakes may begin. Set by the listener."""

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """What asyncio and uvloop call for each connection.

        Raises:
            ConnectionRefusedError: it is one too many; they close it without a word.
        """
        if self.full is not None and self.full():
            raise ConnectionRefusedError
        return self.certificates.current.context.wrap_bio(*arguments, **named)


def _grpc_configuration(loaded: _Loaded) -> Any:
    return grpc.ssl_server_certificate_configuration([(loaded.key, loaded.certificate)], loaded.client_ca)


def _look_at(path: Path) -> _State | None:
    try:
        found = path.stat()  # of what the links lead to
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _load(settings: PredictorSettings) -> _Loaded:
    certificate, key = settings.tls_cert_file or "", settings.tls_key_file or ""
    read = [_read("--tls-cert-file", certificate, b"CERTIFICATE"), _read("--tls-key-file", key, b"PRIVATE KEY")]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_ALPN)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsUnusable(
                f"--tls-key-file: {key}: expected the key of the first certificate in {certificate}, found another's"
            ) from error
        raise TlsUnusable(f"--tls-cert-file: {certificate}, with {key}: OpenSSL says {error.reason}") from error
    except (OSError, _EncryptedError) as error:
        raise TlsUnusable(f"--tls-key-file: {key}: expected a key that is not encrypted and can be read") from error
    client_ca = _read_client_ca(settings, context) if settings.tls_client_ca_file else None
    return _Loaded(context, read[0], read[1], client_ca)


def _read_client_ca(settings: PredictorSettings, context: ssl.SSLContext) -> bytes:
    path = settings.tls_client_ca_file or ""
    read = _read("--tls-client-ca-file", path, b"CERTIFICATE")
    try:
        context.load_verify_locations(cadata=read.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise TlsUnusable(f"--tls-client-ca-file: {path}: expected certificates in PEM, found damaged ones") from error
    context.verify_mode = ssl.CERT_REQUIRED if settings.tls_client_auth == "require" else ssl.CERT_OPTIONAL
    return read


def _read(option: str, path: str, kind: bytes) -> bytes:
    """The file's bytes, which hold a PEM block of this kind."""
    try:
        read = regular_file.read(path)
    except OSError as error:
        raise TlsUnusable(f"{option}: {path}: expected a file, found: {error.strerror}") from error
    if kind + b"-----" not in read:
        raise TlsUnusable(f"{option}: {path}: expected a {kind.decode().lower()} in PEM, found none")
    return read


class _EncryptedError(Exception):
    """The key asks for a password."""


def _no_password() -> str:
    raise _EncryptedError  # without this OpenSSL would ask on the terminal
