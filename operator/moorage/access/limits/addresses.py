"""From which address a call comes, also through proxies. Called by `asgi.py` and by the predictor's gRPC service.

    client 203.0.113.7 ── proxy 10.0.0.9 (trusted) ── us       X-Forwarded-For: 198.51.100.1, 203.0.113.7
                                                               written by whoever ──┘            └── by the proxy

Read from the right, the first address that is no trusted proxy's is the client: what stands left of it anybody can have written.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from moorage.access.limits import PEER

FORWARDED_FOR: Final = b"x-forwarded-for"
UNKNOWN: Final = "unknown"
"""Of a connection without an address, such as a Unix socket. All of them are one caller."""
_MOST_HOPS: Final = 32
_LONGEST_HOP: Final = 64
"""Bytes: more than any address has, with brackets, zone and port. What is longer is neither read nor remembered."""
_KEY: Final = secrets.token_bytes(32)
"""Of this process."""
_SITE_BITS: Final = 64
"""Of IPv6: one subscriber has as many addresses as it likes within these."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """Which proxies are trusted."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple([ipaddress.ip_network(network, strict=False) for network in trusted])

    def client(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Whom to count: an IPv4 address, or the /64 network of an IPv6 address.

        Args:
            peer: the other end of the connection.
            headers: names in lower case; several of one name in their order.
        """
        if not self._trusted:
            return _counted(peer or "")
        address = _address(peer or "")
        if address is None or not self._is_trusted(address):
            return _counted(peer or "")
        hops = [hop for name, value in headers if name == FORWARDED_FOR for hop in value.split(b",")]
        for hop in reversed(hops[-_MOST_HOPS:]):
            found = _address(_bare(hop.decode("latin-1"))) if len(hop) <= _LONGEST_HOP else None
            if found is None:
                break  # the proxy that wrote it is the last of whom anything is known
            address = found
            if not self._is_trusted(found):
                break
        return _group(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


@lru_cache(maxsize=4096)
def _counted(text: str) -> str:
    address = _address(text)
    return UNKNOWN if address is None else _group(address)


def _group(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, _SITE_BITS), strict=False))


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _bare(hop: str) -> str:
    """Without the port that some proxies add, and the brackets around IPv6."""
    hop = hop.strip(" \t")
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def vouched(host: str) -> str:
    """What the door says of the host that it was reached from: nobody else in the world can say it of another host."""
    return f"{host} {_proof(host)}"


def host_of_call(peer: str, metadata: Iterable[tuple[str, Any]]) -> str | None:
    """Of a call over gRPC the address of the connection's other end; None where there is none. Behind a door on this machine, which
    only our own server has, the door says it last in the metadata. It counts only with the door's proof: who ends its own block of
    headers in the middle of a field makes the door's words a part of that, and has then no address."""
    if not peer.startswith("unix:"):
        return host_of_peer(peer)
    told = [value for name, value in metadata if name == PEER]
    host, _, proof = (told[-1] if told else "").rpartition(" ")
    return host if host and hmac.compare_digest(proof.encode(), _proof(host).encode()) else None


def _proof(host: str) -> str:
    return hashlib.blake2b(host.encode(), key=_KEY, digest_size=16).hexdigest()


def host_of_peer(peer: str) -> str | None:
    """Of gRPC's `ipv4:127.0.0.1:5000` and `ipv6:%5B::1%5D:5000` the address; None for others."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
