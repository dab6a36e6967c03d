"""What a storageUri means for a cluster: who fetches it, what the network must allow, and which ones are refused."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_SOCKET_NUMBER = re.compile(r"(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+)){0,3}\Z", re.IGNORECASE)
_HOST_NAME = re.compile(r"[a-z0-9._-]+")
"""Nothing else: clients decode `127%2e0.0.1` after we have looked."""


@dataclass(frozen=True)
class Source:
    """How the bytes of a model reach its pod."""

    by_initializer: bool
    """KServe's storage initializer fetches them into a volume; otherwise the predictor opens them itself."""
    needs_egress: bool
    """The pod itself must reach the store over the network."""


# An image of oci:// and a volume of pvc:// are attached by the kubelet; the pod needs no network for them.
_SOURCES = {
    "pvc": Source(by_initializer=True, needs_egress=False),
    "s3": Source(by_initializer=True, needs_egress=True),
    "gs": Source(by_initializer=True, needs_egress=True),
    "https": Source(by_initializer=True, needs_egress=True),
    "hf": Source(by_initializer=True, needs_egress=True),
    "oci": Source(by_initializer=True, needs_egress=False),
    "pkg": Source(by_initializer=False, needs_egress=False),
}


def source(storage_uri: str) -> Source:
    """How a cluster gets at `storage_uri`; KeyError for a scheme that `forbidden` refuses."""
    return _SOURCES[storage_uri.split("://", 1)[0]]


def forbidden(storage_uri: str) -> str | None:
    """Why a cluster must not read from `storage_uri`, or None. Looks at the text alone; no name is resolved."""
    scheme = storage_uri.split("://", 1)[0]
    if scheme not in _SOURCES:
        return (
            f"{scheme}:// names a file of the machine that reads it, which in a cluster would be the node's own: "
            "use pvc://, s3://, gs://, https://, hf://, oci:// or pkg://"
        )
    if scheme != "https":
        return None
    try:
        parts = urlsplit(storage_uri)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "the host or port cannot be read: expected https://HOST/PATH"
    if not host:
        return "the host is missing: expected https://HOST/PATH"
    if _is_address(host):
        return f"expected a host name, got the address {host}: addresses can lead to the cluster's own services"
    if not _HOST_NAME.fullmatch(host):
        return f"expected a host name of letters, digits, '.', '_' and '-', got {host}"
    if host == "localhost" or host.endswith(".localhost"):
        return f"{host} would be the pod itself: use a host name that the pod can reach"
    if port not in (None, 443):
        return f"expected port 443, got {port}: the network policy lets only that pass"
    return None


def _is_address(host: str) -> bool:
    """Also the spellings that only the C library reads as an address: 2130706433, 0x7f.1, 017700000001."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _SOCKET_NUMBER.match(host) is not None
    return True
