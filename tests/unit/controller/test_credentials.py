import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from moorage.controller import credentials
from moorage.controller.credentials import CredentialsError, load


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    """A certificate and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moorage")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate, key.private_bytes(*pem).decode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Any:
    def write(user: dict[str, Any], **cluster: Any) -> dict[str, str]:
        config = {
            "current-context": "here",
            "contexts": [
                {"name": "other", "context": {"cluster": "x", "user": "x"}},
                {"name": "here", "context": {"cluster": "c", "user": "u"}},
            ],
            "clusters": [{"name": "c", "cluster": {"server": "https://api.example.com:6443/", **cluster}}],
            "users": [{"name": "u", "user": user}],
        }
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(config))
        return {"KUBECONFIG": str(path)}

    return write


def test_a_kubeconfig_with_its_data_inside(kubeconfig: Any, pair: tuple[str, str]) -> None:
    certificate, key = pair
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    found = load(kubeconfig(user, **{"certificate-authority-data": encoded(certificate)}))
    assert found.server == "https://api.example.com:6443"
    assert (found.ca_data, found.certificate_data, found.key_data) == (certificate, certificate, key)
    assert found.headers() == {}
    context = found.ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509"] == 1


def test_a_kubeconfig_that_names_files_beside_it(kubeconfig: Any, pair: tuple[str, str], tmp_path: Path) -> None:
    certificate, key = pair
    (tmp_path / "ca.crt").write_text(certificate)
    (tmp_path / "client.crt").write_text(certificate)
    (tmp_path / "client.key").write_text(key)
    user = {"client-certificate": "client.crt", "client-key": str(tmp_path / "client.key")}
    found = load(kubeconfig(user, **{"certificate-authority": "ca.crt"}))
    assert (found.ca_data, found.certificate_data, found.key_data) == (certificate, certificate, key)


def test_a_token_becomes_a_header(kubeconfig: Any) -> None:
    assert load(kubeconfig({"token": "t0ken"})).headers() == {"Authorization": "Bearer t0ken"}


def test_a_token_file_is_looked_for_beside_the_kubeconfig(kubeconfig: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    assert load(kubeconfig({"tokenFile": "token"})).token == "t0ken"


def test_verification_is_off_only_if_the_kubeconfig_says_so(kubeconfig: Any) -> None:
    assert load(kubeconfig({})).ssl_context().verify_mode is ssl.CERT_REQUIRED
    context = load(kubeconfig({}, **{"insecure-skip-tls-verify": True})).ssl_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]) -> Path:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "ca.crt").write_text(pair[0])
    (folder / "token").write_text("first\n")
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", folder)
    return folder


@pytest.mark.parametrize(
    ("host", "port", "server"),
    [("10.0.0.1", "443", "https://10.0.0.1:443"), ("fd00::1", "6443", "https://[fd00::1]:6443")],
)
def test_a_pod_uses_its_service_account(service_account: Path, host: str, port: str, server: str) -> None:
    found = load({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
    assert (found.server, found.token) == (server, "first")
    assert found.ca_data == (service_account / "ca.crt").read_text()


def test_a_rotated_token_is_read_anew(service_account: Path) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert load(env).token == "first"
    (service_account / "token").write_text("second")
    assert load(env).token == "second"


def test_a_kubeconfig_that_is_named_wins_over_the_service_account(service_account: Path, kubeconfig: Any) -> None:
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", **kubeconfig({"token": "mine"})}
    assert load(env).token == "mine"


def test_without_any_credentials_the_message_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"found neither: .*/missing does not exist; set KUBECONFIG"):
        load({"KUBECONFIG": str(tmp_path / "missing")})


@pytest.mark.parametrize(
    "text", ["", "[]", "text", "a: [", "{}", "current-context: x", "current-context: 5\ncontexts: 5"]
)
def test_a_file_that_is_no_kubeconfig_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(CredentialsError, match=f"{path}: expected a kubeconfig"):
        load({"KUBECONFIG": str(path)})


@pytest.mark.parametrize("user", [{"exec": {"command": "aws"}}, {"auth-provider": {"name": "gcp"}}])
def test_a_plugin_program_is_refused_in_words(user: dict[str, Any], kubeconfig: Any) -> None:
    with pytest.raises(CredentialsError, match="use a token or a client certificate instead"):
        load(kubeconfig(user))


def test_a_missing_file_of_a_kubeconfig_is_named_itself(kubeconfig: Any) -> None:
    with pytest.raises(CredentialsError, match=r"gone\.crt"):
        load(kubeconfig({"client-certificate": "gone.crt", "client-key": "gone.key"}))


def test_data_that_is_not_base64_is_refused_in_words(kubeconfig: Any) -> None:
    with pytest.raises(CredentialsError, match="expected a kubeconfig"):
        load(kubeconfig({"client-certificate-data": "%%%", "client-key-data": "x"}))


@pytest.mark.parametrize("server", ["foo", "ftp://x", "http://", "http://127.0.0.1:99999", "http://[::1"])
def test_a_server_that_nobody_can_ask_is_refused_at_once(server: str, kubeconfig: Any) -> None:
    with pytest.raises(CredentialsError, match="expected a kubeconfig"):
        load(kubeconfig({"token": "t"}, server=server))


def test_a_kubeconfig_with_too_many_levels_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("[" * 3000)
    with pytest.raises(CredentialsError, match="expected a kubeconfig"):
        load({"KUBECONFIG": str(path)})


def test_a_folder_instead_of_a_kubeconfig_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="cannot be read"):
        load({"KUBECONFIG": str(tmp_path)})
