"""Deadlines and priorities, however a caller says them."""

import asyncio

import pytest

from moorage_predictor.batching import DEFAULT_PRIORITY
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.urgency import USUAL, urgency


async def seconds(headers, parameters=None):
    return urgency(headers, parameters).deadline - asyncio.get_running_loop().time()


async def test_who_says_nothing_has_no_deadline_and_the_usual_priority():
    assert urgency({"content-type": "application/json"}, {"a": 1}) is USUAL
    assert USUAL == (None, DEFAULT_PRIORITY)


@pytest.mark.parametrize(
    ("headers", "parameters", "expected"),
    [
        ({"x-request-timeout": "1.5"}, None, 1.5),
        ({"x-envoy-expected-rq-timeout-ms": "250"}, None, 0.25),
        ({}, {"timeout": 2_000_000}, 2.0),
        ({"x-request-timeout": "3", "x-envoy-expected-rq-timeout-ms": "100"}, {"timeout": 5_000_000}, 0.1),
    ],
)
async def test_the_shortest_time_that_is_said_counts(headers, parameters, expected):
    assert await seconds(headers, parameters) == pytest.approx(expected, abs=0.01)


async def test_the_time_begins_when_the_request_came_even_if_it_is_read_later():
    arrived = asyncio.get_running_loop().time() - 1
    assert urgency({"x-request-timeout": "1.5"}, arrived=arrived).deadline == arrived + 1.5


@pytest.mark.parametrize(
    ("headers", "parameters"), [({"x-request-timeout": "0"}, None), ({}, {"timeout": 0}), ({}, {"timeout": 2**63})]
)
async def test_zero_and_more_than_a_day_are_no_deadline(headers, parameters):
    assert urgency(headers, parameters).deadline is None


@pytest.mark.parametrize(
    ("headers", "parameters", "expected"),
    [
        ({"x-request-priority": "1"}, None, 1),
        ({}, {"priority": 10}, 10),
        ({}, {"priority": 0}, DEFAULT_PRIORITY),
        ({"x-request-priority": "1"}, {"priority": 7}, 7),
    ],
)
async def test_a_priority(headers, parameters, expected):
    assert urgency(headers, parameters).priority == expected


@pytest.mark.parametrize("value", ["soon", "-1", "nan", ""])
async def test_a_time_that_is_none_is_refused_by_name(value):
    with pytest.raises(InvalidInput, match="x-request-timeout: expected a number"):
        urgency({"x-request-timeout": value})


@pytest.mark.parametrize("value", [11, -1, "high", True, 1.5])
async def test_a_priority_that_is_none_is_refused_by_name(value):
    with pytest.raises(InvalidInput, match=r"parameters\.priority: expected 0 to 10"):
        urgency({}, {"priority": value})
