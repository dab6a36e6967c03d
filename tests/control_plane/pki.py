"""Throw-away certificates for one control plane: a CA, the certificates it signs, the service account key.

Nothing here is a credential of anything that outlives the test run. Called by plane.py before any process starts.
"""

import base64
import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR = datetime.timedelta(days=7)
CLOCK_SKEW = datetime.timedelta(hours=12)
"""How far back a clock may be that takes them for valid; some tests set clocks."""
API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
API_SERVER_ADDRESSES = ("127.0.0.1", "10.96.0.1")


@dataclass(frozen=True)
class KeyPair:
    """A private key and its certificate, and the files that hold them."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    key_path: Path
    certificate_path: Path


class Authority:
    """A certificate authority that writes what it signs into one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        self.pair = _write(folder, "ca", key, builder.sign(key, hashes.SHA256()))

    def server(self, file_name: str, common_name: str) -> KeyPair:
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in API_SERVER_NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in API_SERVER_ADDRESSES]
        return self._sign(file_name, _name(common_name), ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client(self, file_name: str, common_name: str, organization: str | None = None) -> KeyPair:
        """The API server takes the common name for the user and the organization for its group."""
        return self._sign(file_name, _name(common_name, organization), ExtendedKeyUsageOID.CLIENT_AUTH, [])

    def _sign(
        self, file_name: str, subject: x509.Name, usage: x509.ObjectIdentifier, names: list[x509.GeneralName]
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self.pair.certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.pair.key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _write(self._folder, file_name, key, builder.sign(self.pair.key, hashes.SHA256()))


@dataclass(frozen=True)
class ServiceAccountKey:
    """The key that signs service account tokens, and its public half that the API server checks them with."""

    private_path: Path
    public_path: Path


def service_account_key(folder: Path) -> ServiceAccountKey:
    key = ec.generate_private_key(ec.SECP256R1())
    made = ServiceAccountKey(folder / "service-account.key", folder / "service-account.pub")
    _write_private(made.private_path, key)
    made.public_path.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return made


def write_kubeconfig(path: Path, url: str, ca: Path, user: dict[str, str]) -> Path:
    """A kubeconfig that stands alone: everything is inside it, so it may be copied or outlive its certificates."""
    cluster = {"server": url, "certificate-authority-data": _base64(ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def certificate_user(pair: KeyPair) -> dict[str, str]:
    return {
        "client-certificate-data": _base64(pair.certificate_path),
        "client-key-data": _base64(pair.key_path),
    }


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _name(common_name: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALID_FOR)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> KeyPair:
    pair = KeyPair(key, certificate, folder / f"{name}.key", folder / f"{name}.crt")
    _write_private(pair.key_path, key)
    pair.certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return pair


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
