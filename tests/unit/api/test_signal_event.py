"""The event that signal handlers set."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from moorage.api.signal_event import SignalEvent


@pytest.fixture
def event() -> Iterator[SignalEvent]:
    """One that SIGUSR1 sets."""
    made = SignalEvent()
    before = signal.signal(signal.SIGUSR1, lambda *_: made.set())
    yield made
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("act", [SignalEvent.set, lambda event: event.wait(0.01), SignalEvent.is_set])
def test_a_signal_at_any_step_of_a_call_sets_it_and_stops_nothing(event, act):
    def interrupt(_frame: FrameType, _what: str, _argument: object) -> None:
        sys.setprofile(None)
        signal.raise_signal(signal.SIGUSR1)
        sys.setprofile(interrupt)

    sys.setprofile(interrupt)
    try:
        act(event)
    finally:
        sys.setprofile(None)
    assert event.is_set()
    assert event.wait(0)


def test_a_signal_wakes_whoever_waits_in_the_main_thread(event):
    own = threading.get_ident()
    timer = threading.Timer(0.05, signal.pthread_kill, (own, signal.SIGUSR1))
    timer.start()
    assert event.wait(2)
    timer.join()


def test_all_that_wait_are_woken_and_a_time_that_is_over_is_told():
    event, woken = SignalEvent(), []
    waiting = [threading.Thread(target=lambda: woken.append(event.wait(2))) for _ in range(3)]
    for each in waiting:
        each.start()
    assert not event.wait(0.01)
    time.sleep(0.02)
    event.set()
    event.set()
    for each in waiting:
        each.join()
    assert woken == [True] * 3


def test_it_stays_set():
    event = SignalEvent()
    with pytest.raises(NotImplementedError, match="stays set"):
        event.clear()
