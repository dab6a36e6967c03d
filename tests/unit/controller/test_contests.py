from typing import Any

import pytest

from moorage.controller.contests import CALM_S, FREELY, LONGEST_WAIT_S, Contests

ENTRY = ("NetworkPolicy", ("demo", "cats-predictor"))
FIELD = ".spec.egress"


def live(*managers: tuple[str, str, str], name: str = "cats-predictor") -> dict[str, Any]:
    fields = [{"manager": who, "time": at, "subresource": below} for who, at, below in managers]
    return {"metadata": {"name": name, "managedFields": fields}}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fight(contests: Contests, clock: Clock, seconds: int, manifest: dict[str, Any]) -> list[float]:
    """A rival writes ten times a second; returns when it was answered."""
    answered = []
    for _ in range(seconds * 10):
        if not contests.holds_back(ENTRY, manifest, live(("argocd-controller", "2026-01-01T00:00:00Z", "")), FIELD):
            contests.restored(ENTRY, manifest)
            answered.append(clock.now)
        clock.now += 0.1
    return answered


def test_who_writes_a_field_back_again_and_again_is_answered_ever_more_seldom_at_last_once_a_minute() -> None:
    clock = Clock()
    answered = fight(Contests(clock), clock, 600, {"spec": {}})
    assert len(answered) < 18
    assert answered[FREELY] - answered[0] == pytest.approx(0.1 * FREELY)
    assert answered[-1] - answered[-2] == pytest.approx(LONGEST_WAIT_S, abs=0.2)


def test_a_contest_names_the_field_and_its_last_writer_and_is_over_once_the_field_has_stood_for_a_while() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    fight(contests, clock, 1, manifest)
    others = live(
        ("moorage", "2026-01-01T00:00:09Z", ""),
        ("argocd-controller", "2026-01-01T00:00:07Z", ""),
        ("kubectl", "2026-01-01T00:00:01Z", ""),
        ("kube-controller-manager", "2026-01-01T00:00:08Z", "status"),
    )
    assert contests.holds_back(ENTRY, manifest, others, FIELD)
    found = contests.among([("ServiceAccount", ENTRY[1]), ENTRY])
    assert found is not None
    assert found.words.startswith(
        "NetworkPolicy cats-predictor: the field manager 'argocd-controller' writes .spec.egress each time that it was restored"
    )
    assert 0 < found.look_again_s <= 2
    clock.now += found.look_again_s
    assert not contests.holds_back(ENTRY, manifest, others, FIELD)
    contests.restored(ENTRY, manifest)
    clock.now += CALM_S - 1
    contests.stands(ENTRY)
    assert contests.among([ENTRY]), "it may write again in a moment"
    clock.now += 2
    contests.stands(ENTRY)
    assert contests.among([ENTRY]) is None
    assert not contests.holds_back(ENTRY, manifest, others, FIELD)


def test_another_wish_than_before_is_never_held_back() -> None:
    clock = Clock()
    contests = Contests(clock)
    fight(contests, clock, 1, {"spec": {}})
    assert not contests.holds_back(ENTRY, {"spec": {"egress": []}}, live(), FIELD)
    contests.restored(ENTRY, {"spec": {"egress": []}})
    assert contests.among([ENTRY]) is None


def test_edits_by_hand_now_and_then_are_no_contest() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    for _ in range(10):
        assert not contests.holds_back(ENTRY, manifest, live(), FIELD)
        contests.restored(ENTRY, manifest)
        clock.now += CALM_S + 1
        contests.stands(ENTRY)
    assert contests.among([ENTRY]) is None


def test_a_child_that_is_gone_has_no_contest_and_one_without_managers_was_written_by_somebody() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    fight(contests, clock, 1, manifest)
    contests.holds_back(ENTRY, manifest, live(), FIELD)
    found = contests.among([ENTRY])
    assert found is not None
    assert "somebody writes" in found.words
    contests.forget(ENTRY)
    assert contests.among([ENTRY]) is None
