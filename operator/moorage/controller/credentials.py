"""How to reach the API server: a pod's ServiceAccount, or a kubeconfig. Read again whenever the server says 401,
or shows a certificate of a CA that is not known.
"""

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class CredentialsError(Exception):
    """No usable way to a cluster was found; the message says where was looked."""


@dataclass(frozen=True)
class Credentials:
    """One way to an API server. Files are named where they exist, since they are rotated in place."""

    server: str
    ca_data: str | None = None
    token: str | None = None
    certificate_data: str | None = None
    key_data: str | None = None
    insecure: bool = False

    def headers(self) -> dict[str, str]:
        """The header that says who asks."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ssl_context(self) -> ssl.SSLContext:
        """TLS with the cluster's own CA and, if there is one, the client's certificate.

        Raises:
            CredentialsError: they are not certificates.
        """
        try:
            context = ssl.create_default_context(cadata=self.ca_data)
            if self.insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if self.certificate_data and self.key_data:
                _load_pair(context, self.certificate_data, self.key_data)
        except (ssl.SSLError, ValueError) as error:
            raise CredentialsError(f"the certificates for {self.server} cannot be used: {error}") from error
        return context


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """The ssl module reads pairs from files only; a memory file leaves nothing on disk."""
    handle = os.memfd_create("moorage-client-certificate")
    with os.fdopen(handle, "w") as file:
        file.write(certificate + "\n" + key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{handle}")


def load(env: Mapping[str, str]) -> Credentials:
    """The credentials of this process.

    Raises:
        CredentialsError: neither a ServiceAccount nor a usable kubeconfig is there.
    """
    host = env.get("KUBERNETES_SERVICE_HOST")
    if host and not env.get("KUBECONFIG") and (SERVICE_ACCOUNT / "token").exists():
        host = f"[{host}]" if ":" in host else host
        try:
            return Credentials(
                server=f"https://{host}:{env.get('KUBERNETES_SERVICE_PORT', '443')}",
                ca_data=(SERVICE_ACCOUNT / "ca.crt").read_text(),
                token=(SERVICE_ACCOUNT / "token").read_text().strip(),
            )
        except OSError as error:
            raise CredentialsError(f"{error.filename}: cannot be read: {error.strerror}") from error
    path = _kubeconfig(env)
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise CredentialsError(
            f"expected a ServiceAccount or a kubeconfig, found neither: {path} does not exist; set KUBECONFIG"
        ) from None
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CredentialsError(f"{path}: expected a kubeconfig, found a file that is no text") from error
    try:
        return _from_kubeconfig(yaml.safe_load(text), path.parent)
    except OSError as error:
        raise CredentialsError(f"{path}: it names {error.filename}, which cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CredentialsError(
            f"{path}: expected a kubeconfig with a current context, but {type(error).__name__}: {reason}"
        ) from error


def _kubeconfig(env: Mapping[str, str]) -> Path:
    """The first file of $KUBECONFIG that exists, as kubectl would merge from; else the first, for the message."""
    named = [Path(part).expanduser() for part in env.get("KUBECONFIG", "").split(os.pathsep) if part]
    paths = named or [Path("~/.kube/config").expanduser()]
    return next((path for path in paths if path.exists()), paths[0])


def _from_kubeconfig(config: Mapping[str, Any], folder: Path) -> Credentials:
    def named(kind: str, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = next(item for item in config[f"{kind}s"] if item["name"] == name)[kind]
        return found

    def content(entry: Mapping[str, Any], key: str) -> str | None:
        if f"{key}-data" in entry:
            return base64.b64decode(entry[f"{key}-data"]).decode()
        return (folder / entry[key]).read_text() if key in entry else None

    context = named("context", config["current-context"])
    cluster, user = named("cluster", context["cluster"]), named("user", context["user"])
    if "exec" in user or "auth-provider" in user:
        raise CredentialsError(
            "the kubeconfig's user needs a plugin program: use a token or a client certificate instead"
        )
    server = urlsplit(cluster["server"])
    if server.scheme not in ("http", "https") or not server.hostname or server.port == 0:
        raise ValueError(f"its server is {cluster['server']!r}, and not such as https://HOST:6443")
    token = user.get("token") or ((folder / user["tokenFile"]).read_text().strip() if "tokenFile" in user else None)
    return Credentials(
        server=cluster["server"].rstrip("/"),
        ca_data=content(cluster, "certificate-authority"),
        token=token,
        certificate_data=content(user, "client-certificate"),
        key_data=content(user, "client-key"),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
    )
