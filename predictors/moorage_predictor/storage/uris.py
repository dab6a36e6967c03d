"""The one checker of storage URIs and of the addresses behind them. `remote` calls it before, `fetcher` in a download.

What it cannot do: kserve-storage resolves a name itself, so the address that is checked here need not be the one that
is connected to. `fetcher` therefore checks each connection again, at the address (redirects and changed names included).
"""

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from moorage_predictor.errors import LoadFailed, StoreUnavailable

REMOTE: Final = ("s3", "gs", "https", "hf", "oci")

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://")
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\]")
_BUCKET: Final = re.compile(r"(?:s3|gs)://[a-z0-9][a-z0-9._-]{1,220}(?:/.*)?")
_HUB: Final = re.compile(r"hf://[\w.-]+/[\w.-]+(?::[\w./-]+)?", re.ASCII)
_ARCHIVE: Final = re.compile(r"\.(zip|tar|tgz|gz|bz2|xz|zst)$", re.IGNORECASE)
_WEIGHTS: Final = re.compile(r"\.(safetensors|pth|pt|bin|onnx|pt2|torchscript|skops|ubj)$")
_ENDPOINT_VARIABLES: Final = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST", "hf": "HF_ENDPOINT"}
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SIX_TO_FOUR: Final = ipaddress.ip_network("2002::/16")


def scheme_of(uri: str) -> str:
    """The scheme, lower case.

    Raises:
        LoadFailed: there is none, or the URI holds white space, a control character or a backslash.
    """
    if _FORBIDDEN.search(uri):
        raise LoadFailed(repr(uri), "storageUri: white space, control characters and backslashes are not allowed")
    match = _SCHEME.match(uri)
    if not match:
        raise LoadFailed(repr(uri), "storageUri: expected SCHEME://...")
    return match[1]


def check(uri: str, allow_hosts: Iterable[str], env: Mapping[str, str] = os.environ) -> None:
    """Refuse what must not be fetched.

    Raises:
        LoadFailed: the form of the URI, or an address behind it.
        StoreUnavailable: the host has no address.
    """
    scheme = scheme_of(uri)
    rest = uri.split("://", 1)[1]
    if "@" in rest.split("/", 1)[0]:
        raise LoadFailed(
            f"{scheme}://...",
            "user names and passwords in a URI are not allowed; use the store's environment variables",
        )
    path = rest.partition("?")[0]
    if ".." in path.split("/") or "%2e%2e" in path.lower():
        raise LoadFailed(uri, "'..' is not allowed")
    if _ARCHIVE.search(rest) or _ARCHIVE.search(path):
        raise LoadFailed(uri, "archives are not unpacked; name a weight file or a folder")
    _check_form(scheme, uri, path)
    if endpoint := _endpoint(scheme, uri, env):
        check_host(uri, *endpoint, allow_hosts)


def _check_form(scheme: str, uri: str, path: str) -> None:
    if scheme in ("s3", "gs") and not _BUCKET.fullmatch(uri):
        raise LoadFailed(
            uri,
            f"expected {scheme}://BUCKET/PATH with a bucket of 2 to 221 characters of a-z, 0-9, '.', '_' and '-', the first a "
            f"letter or digit, found {uri.split('://', 1)[1].partition('/')[0]!r}",
        )
    if scheme == "hf" and not _HUB.fullmatch(uri):
        raise LoadFailed(uri, "expected hf://OWNER/MODEL or hf://OWNER/MODEL:REVISION")
    if scheme == "oci" and "/" not in path:
        raise LoadFailed(uri, "expected oci://REGISTRY/REPOSITORY:TAG")
    if scheme == "https":
        # kserve-storage sends other https addresses to other protocols: git for *.git, Azure's for its hosts.
        if not _WEIGHTS.search(path) or ".git" in uri:
            raise LoadFailed(
                uri,
                "expected the address of one .safetensors, .pth, .pt, .bin, .onnx, .pt2, .torchscript, .skops or .ubj file",
            )
        if (urlsplit(uri).hostname or "").endswith((".core.windows.net", ".storage.azure.net")):
            raise LoadFailed(uri, "Azure's stores are not supported")


def _endpoint(scheme: str, uri: str, env: Mapping[str, str]) -> tuple[str, int] | None:
    """Host and port that the URI, or the environment, chooses; None for a store's public default."""
    url = uri if scheme in ("https", "oci") else env.get(_ENDPOINT_VARIABLES[scheme])
    if not url:
        return None
    parts = urlsplit(url)
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError as error:
        raise LoadFailed(uri, "expected a port from 1 to 65535") from error
    if not parts.hostname:
        raise LoadFailed(uri, "expected a host name")
    return parts.hostname.rstrip("."), port  # a trailing dot is the same host


def check_host(uri: str, host: str, port: int, allow_hosts: Iterable[str]) -> None:
    """Refuse address literals and names that lead into this machine or its networks, unless `host:port` is allowed.

    Raises:
        LoadFailed: such an address.
        StoreUnavailable: the name has no address.
    """
    if f"{host}:{port}" in set(allow_hosts):
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        raise LoadFailed(uri, f"{host} is an address; only host names may be fetched from")
    for address in resolve(host, port):
        if not is_public(address):
            raise LoadFailed(uri, f"{host} leads to {address}, which is not a public address")


def resolve(host: str, port: int) -> set[str]:
    """Every address of a name.

    Raises:
        StoreUnavailable: it has none, or the name service does not answer.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise StoreUnavailable(f"{host}: the name cannot be resolved") from error
    return {str(entry[4][0]).split("%")[0] for entry in found}


def is_public(address: str) -> bool:
    """False for loopback, private, link-local, carrier NAT, multicast and reserved ranges, also inside IPv6."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64 or ip in _SIX_TO_FOUR or ip.teredo:
            return False
    return ip.is_global and not ip.is_multicast
