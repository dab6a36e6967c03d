"""Trace and log settings, as they are shown and as they may be changed."""

import logging

import pytest

from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.control import LogSettings, TraceSettings


@pytest.fixture
def root_level():
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


def test_trace_settings_are_strings_as_in_tritons_extension():
    assert TraceSettings().as_dict() == {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "moorage",
    }


def test_trace_settings_are_changed_as_strings_numbers_or_lists_of_one():
    settings = TraceSettings()
    settings.update({"trace_level": ["TIMESTAMPS"], "trace_rate": "5", "trace_count": 3})
    assert (settings.level, settings.rate, settings.count) == ("TIMESTAMPS", 5, 3)
    settings.update({"trace_level": "OFF", "trace_rate": ["7"]})
    assert (settings.level, settings.rate, settings.count) == ("OFF", 7, 3)
    settings.update(TraceSettings().as_dict())
    assert settings.as_dict() == TraceSettings().as_dict()


def test_none_puts_a_setting_back():
    settings = TraceSettings()
    settings.update({"trace_level": ["TIMESTAMPS"], "trace_rate": "5", "trace_count": "3"})
    settings.update({"trace_level": None, "trace_rate": None, "trace_count": None, "trace_file": None})
    assert settings.as_dict() == TraceSettings().as_dict()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trace_level": "TENSORS"}, "trace_level: expected one of OFF, TIMESTAMPS, found 'TENSORS'"),
        ({"trace_level": ["OFF", "TIMESTAMPS"]}, "trace_level: expected one of OFF"),
        ({"trace_level": []}, "trace_level: expected one of OFF"),
        ({"trace_level": {}}, "trace_level: expected one of OFF"),
        ({"trace_rate": "0"}, "trace_rate: expected an integer from 1 on, found '0'"),
        ({"trace_rate": True}, "trace_rate: expected an integer from 1 on, found True"),
        ({"trace_rate": "x"}, "trace_rate: expected an integer from 1 on, found 'x'"),
        ({"trace_rate": 1.5}, "trace_rate: expected an integer from 1 on, found 1.5"),
        ({"trace_rate": "9" * 20}, "trace_rate: expected an integer from 1 on"),
        ({"trace_rate": "9" * 9000}, "trace_rate: expected an integer from 1 on"),
        ({"trace_count": "-2"}, "trace_count: expected an integer from -1 on, found '-2'"),
        ({"trace_file": "/etc/passwd"}, "trace_file: cannot be changed here"),
        ({"log_frequency": "5"}, "log_frequency: cannot be changed here"),
        ({"trace_mode": "opentelemetry"}, "trace_mode: cannot be changed here"),
        ({"colour": "red"}, "expected some of trace_level, trace_rate, trace_count, found 'colour'"),
    ],
)
def test_other_trace_settings_are_refused_and_nothing_is_changed(given, message):
    settings = TraceSettings()
    with pytest.raises(InvalidInput) as caught:
        settings.update({"trace_rate": "5", **given})
    assert message in str(caught.value)
    assert settings.as_dict() == TraceSettings().as_dict()


def test_one_of_so_many_requests_is_traced_and_no_more_than_told():
    settings = TraceSettings()
    assert not settings.takes_this_one()
    settings.update({"trace_level": "TIMESTAMPS", "trace_rate": "3", "trace_count": "2"})
    assert [settings.takes_this_one() for _ in range(12)] == [False, False, True, False, False, True] + [False] * 6


def test_log_settings_show_and_change_the_processs_level(root_level):
    settings = LogSettings()
    logging.getLogger().setLevel("INFO")
    assert settings.as_dict() == {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "json",
    }
    for given, level in (
        ({"log_verbose_level": 1}, logging.DEBUG),
        ({"log_verbose_level": 0}, logging.INFO),
        ({"log_info": False}, logging.WARNING),
        ({"log_warning": False}, logging.ERROR),
        ({"log_error": False}, logging.CRITICAL),
        ({"log_info": True}, logging.INFO),
        ({"log_file": "", "log_format": "json"}, logging.INFO),
    ):
        settings.update(given)
        assert logging.getLogger().level == level, given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"log_file": "/tmp/x"}, "log_file: cannot be changed here"),
        ({"log_format": "default"}, "log_format: cannot be changed here"),
        ({"log_info": 1}, "log_info: expected true or false, found 1"),
        ({"log_error": "true"}, "log_error: expected true or false, found 'true'"),
        ({"log_verbose_level": -1}, "log_verbose_level: expected an integer from 0 on, found -1"),
        ({"log_verbose_level": True}, "log_verbose_level: expected an integer from 0 on, found True"),
        ({"log_verbose_level": "1"}, "log_verbose_level: expected an integer from 0 on, found '1'"),
        ({"colour": 1}, "expected some of log_file, log_info"),
    ],
)
def test_other_log_settings_are_refused_and_nothing_is_changed(given, message, root_level):
    logging.getLogger().setLevel("INFO")
    with pytest.raises(InvalidInput) as caught:
        LogSettings().update({"log_warning": False, **given})
    assert message in str(caught.value)
    assert logging.getLogger().level == logging.INFO
