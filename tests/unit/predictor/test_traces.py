"""Which requests are recorded; what is sent of them is in tests/e2e/observability."""

from collections.abc import Callable, Iterator

import pytest

from moorage_predictor.telemetry.record import Record
from moorage_predictor.telemetry.traces import Traces

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"


@pytest.fixture
def recorded() -> Iterator[Callable[..., bool]]:
    """Whether a request is, at such a rate, with such a `traceparent`."""
    made: list[Traces] = []

    def ask(rate: float | None, traceparent: str | None = None) -> bool:
        made.append(Traces("http://127.0.0.1:9/v1/traces", rate))
        record = Record()
        made[-1].begin(record, "GET", traceparent, None)
        answer: bool = record.span.is_recording()
        return answer

    yield ask
    for traces in made:
        traces.close()


@pytest.mark.parametrize("rate", [0.0, 1.0, None])
def test_the_rate_holds_where_the_caller_has_not_decided(recorded: Callable[..., bool], rate: float | None) -> None:
    assert recorded(rate) == (rate != 0)
    assert recorded(rate, TRACE + "01")
    assert not recorded(rate, TRACE + "00")
