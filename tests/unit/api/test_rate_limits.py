"""One rule as text, and the settings of rate limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moorage.api.predictor import PredictorSettings
from moorage.api.rate_limits import MAX_REQUESTS, RateRule


@pytest.mark.timeout(30)  # a hundred examples
@given(
    st.builds(
        RateRule,
        st.integers(1, MAX_REQUESTS),
        st.sampled_from(["second", "minute", "hour", "day"]),
        st.sampled_from(["caller", "key", "subject", "ip"]),
        st.sampled_from([None, "predict", "batch", "manage"]),
        st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)),
    )
)
def test_a_rule_is_what_its_text_says(rule: RateRule) -> None:
    assert RateRule.parse(str(rule)) == rule
    settings = PredictorSettings(task="a.py:B", rate_limit=(str(rule),))
    assert PredictorSettings.parse(settings.argv(), {}).rate_rules == (rule,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100", "expected a rule such as"),
        ("0/minute", "expected a rule such as"),
        ("100/minute  by=key", "expected a rule such as"),
        ("1000000001/minute", "expected at most 1000000000 requests"),
        ("100/week", "unit: expected second, minute, hour, day, got 'week'"),
        ("100/minute by=name", "by: expected caller, key, subject, ip, got 'name'"),
        ("100/minute operation=read", "operation: expected predict, batch, manage"),
        ("100/minute for=me", "expected by=, operation= and model= after the rate, got for="),
        ("100/minute model=../x", "model: expected the name of a model"),
    ],
)
def test_what_is_no_rule_is_refused_in_words(text: str, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected.replace("..", r"\.\.")):
        PredictorSettings(task="a.py:B", rate_limit=(text,))


def test_a_redis_without_rules_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="expected --rate-limit with --rate-limit-redis-url-file"):
        PredictorSettings(task="a.py:B", rate_limit_redis_url_file="/url")


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example", ""])
def test_a_trusted_proxy_is_an_address_or_a_network(text: str) -> None:
    with pytest.raises(ValidationError, match="expected an address or a network"):
        PredictorSettings(task="a.py:B", trusted_proxies=(text,))
