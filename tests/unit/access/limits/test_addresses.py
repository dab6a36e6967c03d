"""Whose address is counted."""

import pytest

from moorage.access.limits.addresses import UNKNOWN, Addresses, _address, host_of_peer

INGRESS = "10.0.0.9"


def forwarded(*lines: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *[(b"x-forwarded-for", line.encode("latin-1")) for line in lines]]


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ((), INGRESS),
        (("203.0.113.7",), "203.0.113.7"),
        (("198.51.100.1, 203.0.113.7",), "203.0.113.7"),
        (("198.51.100.1", "203.0.113.7"), "203.0.113.7"),
        (("203.0.113.7, 10.0.0.8, 10.0.0.7",), "203.0.113.7"),
        (("10.0.0.8, 10.0.0.7",), "10.0.0.8"),
        (("203.0.113.7:4711",), "203.0.113.7"),
        (("[2001:db8::1]:4711",), "2001:db8::/64"),
        (("2001:db8:0:0:1:2:3:4",), "2001:db8::/64"),
        (("203.0.113.7, nonsense",), INGRESS),
        (("203.0.113.7, ",), INGRESS),
        (("203.0.113.7, \xff\x00",), INGRESS),
        (("::ffff:203.0.113.7",), "203.0.113.7"),
        (("1.1.1.1, " * 5000 + "203.0.113.7",), "203.0.113.7"),
    ],
)
def test_from_the_right_the_first_address_that_is_no_trusted_proxy_s_is_the_client(
    lines: tuple[str, ...], client: str
) -> None:
    assert Addresses(["10.0.0.0/8"]).client(INGRESS, forwarded(*lines)) == client


def test_what_is_longer_than_an_address_is_neither_read_nor_remembered() -> None:
    addresses = Addresses(["10.0.0.0/8"])
    addresses.client(INGRESS, [])
    remembered = _address.cache_info().currsize
    for hop in ("203.0.113.7%" + "x" * 60, "9" * 60_000, "[2001:db8::1]:" + "4" * 60):
        assert addresses.client(INGRESS, forwarded(f"198.51.100.1,{hop}")) == INGRESS
    assert _address.cache_info().currsize == remembered


@pytest.mark.parametrize("trusted", [(), ("192.0.2.0/24",)])
def test_whoever_is_not_trusted_may_write_what_it_likes(trusted: tuple[str, ...]) -> None:
    assert Addresses(trusted).client("198.51.100.9", forwarded("203.0.113.7")) == "198.51.100.9"


def test_an_ipv6_subscriber_is_one_caller_and_ipv4_in_its_clothes_is_ipv4() -> None:
    addresses = Addresses()
    assert addresses.client("2001:db8::1", []) == addresses.client("2001:db8::ffff:1", []) == "2001:db8::/64"
    assert addresses.client("2001:db8:0:1::1", []) != addresses.client("2001:db8::1", [])
    assert addresses.client("::ffff:192.0.2.1", []) == "192.0.2.1"
    assert addresses.client("fe80::1%eth0", []) == "fe80::/64"


def test_connections_without_an_address_are_one_caller() -> None:
    assert Addresses(["10.0.0.0/8"]).client(None, forwarded("203.0.113.7")) == UNKNOWN


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:5000", "2001:db8::1"),
        ("ipv6:[::1]:5000", "::1"),
        ("unix:", None),
        ("", None),
    ],
)
def test_grpc_s_words_for_the_other_end_are_read(peer: str, host: str | None) -> None:
    assert host_of_peer(peer) == host
