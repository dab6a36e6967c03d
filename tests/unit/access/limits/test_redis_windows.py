"""What is said of a URL that is none. Counting in a real Redis is in tests/e2e/limits."""

import pytest

from moorage.access.errors import ConfigurationError
from moorage.access.limits.redis_windows import RedisWindows


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://redis:6379", "http://"),
        ("redis+sentinel://redis:6379", "redis+sentinel://"),
        ("a-password", "none"),
        ("a-password://host", "none"),
        ("default:a-password@redis:6379", "none"),
        ("a-password@redis://host", "none"),
        ("", "none"),
    ],
)
def test_an_error_names_the_scheme_and_nothing_that_may_be_a_password(url: str, found: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        RedisWindows(url, "cats", timeout_s=1)
    assert str(error.value) == f"the URL of Redis: expected redis://, rediss://, unix://..., found {found}"
