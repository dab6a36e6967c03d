import pytest

from moorage.render.storage import forbidden, source


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/cats/",
        "gs://bucket/cats",
        "pvc://claim/cats",
        "hf://org/repository",
        "oci://registry.example.com/cats:1",
        "pkg://package/weights.pth",
        "https://models.example.com/cats",
        "https://models.example.com:443/cats",
        "https://1.example.com/cats",
        "https://1e100.net/cats",
        "https://my_bucket.s3.amazonaws.com/cats",
        "https://localhost.example.com/cats",
    ],
)
def test_a_store_that_a_cluster_may_read_from_is_allowed(uri: str) -> None:
    assert forbidden(uri) is None


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "file://host/x", "http://host/x", "ftp://host/x", "x"])
def test_any_other_scheme_is_forbidden(uri: str) -> None:
    assert "use pvc://, s3://" in str(forbidden(uri))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "8.8.8.8",
        "127.1",
        "127.0.1",
        "2130706433",
        "0",
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.1..",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[fd00:ec2::254]",
        "[fe80::1%25eth0]",
    ],
)
def test_an_address_is_forbidden_in_every_spelling(host: str) -> None:
    assert "expected a host name, got the address" in str(forbidden(f"https://{host}/cats"))
    assert forbidden(f"https://{host}:443/cats") is not None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.localhost."])
def test_the_pod_itself_is_forbidden(host: str) -> None:
    assert "would be the pod itself" in str(forbidden(f"https://{host}/cats"))


@pytest.mark.parametrize("host", ["127%2e0.0.1", "%31%32%37.0.0.1", "localhos%74", "a\\b", "①②⑦.0.0.1", "a b"])
def test_a_host_that_a_client_would_decode_into_another_is_forbidden(host: str) -> None:
    assert forbidden(f"https://{host}/cats") is not None


@pytest.mark.parametrize("uri", ["https://", "https:///cats", "https://:443/cats", "https://./cats", "https://host:x/"])
def test_a_url_without_a_readable_host_is_forbidden(uri: str) -> None:
    assert "expected https://HOST/PATH" in str(forbidden(uri))


@pytest.mark.parametrize("port", [80, 6443, 8443, 0, 65536])
def test_another_port_than_443_is_forbidden(port: int) -> None:
    assert forbidden(f"https://models.example.com:{port}/cats") is not None


@pytest.mark.parametrize(
    ("uri", "by_initializer", "needs_egress"),
    [
        ("pvc://claim/x", True, False),
        ("s3://bucket/x", True, True),
        ("gs://bucket/x", True, True),
        ("https://host/x", True, True),
        ("hf://org/x", True, True),
        ("oci://image", True, False),
        ("pkg://package/x", False, False),
    ],
)
def test_who_fetches_and_what_the_network_must_allow(uri: str, by_initializer: bool, needs_egress: bool) -> None:
    assert (source(uri).by_initializer, source(uri).needs_egress) == (by_initializer, needs_egress)
