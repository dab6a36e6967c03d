import pytest
from pydantic import ValidationError

from moorage.api.v1alpha1.transport import Tracing, port_of


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://c", 80),
        ("https://c/otlp", 443),
        ("http://c:1", 1),
        ("http://[::1]:4318", 4318),
        ("http://c:65535/", 65535),
    ],
)
def test_the_port_is_the_one_that_is_named_or_the_schemes(endpoint: str, port: int) -> None:
    assert port_of(Tracing.model_validate({"endpoint": endpoint}).endpoint) == port


@pytest.mark.parametrize("port", ["0", "00", "65536", "99999", "-1", ""])
def test_a_port_that_cannot_be_is_refused(port: str) -> None:
    with pytest.raises(ValidationError, match="port from 1 to 65535"):
        Tracing.model_validate({"endpoint": f"http://c:{port}"})
