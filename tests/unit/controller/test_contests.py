import math
from collections.abc import Iterable
from typing import Any

import pytest

from moorage.controller.contests import CALM_S, FORGOTTEN_S, FREELY, LONGEST_WAIT_S, Contests

ENTRY = ("NetworkPolicy", ("demo", "cats-predictor"))
FIELD = ".spec.egress"
EGRESS = {"f:spec": {"f:egress": {}}}


def live(*managers: tuple[str, str, dict[str, Any]], name: str = "cats-predictor") -> dict[str, Any]:
    fields = [{"manager": who, "time": at, "fieldsV1": theirs} for who, at, theirs in managers]
    return {"metadata": {"name": name, "managedFields": fields}, "spec": {"egress": []}}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fight(contests: Contests, clock: Clock, seconds: int, manifest: dict[str, Any]) -> list[float]:
    """A rival writes ten times a second; returns when it was answered."""
    answered = []
    for _ in range(seconds * 10):
        if not contests.holds_back(ENTRY, manifest, live(("argocd-controller", "2026-01-01T00:00:00Z", EGRESS)), FIELD):
            contests.restored(ENTRY, manifest)
            answered.append(clock.now)
        clock.now += 0.1
    return answered


def visits(gaps_s: Iterable[int]) -> tuple[list[float], list[bool]]:
    """A rival comes after each of those gaps; we look when it has come and when a contest says so, and else once in ten minutes.

    Returns:
        When it was answered, and whether a contest was told of, at each change of that.
    """
    clock, manifest = Clock(), {"spec": {}}
    contests, answered, told = Contests(clock), list[float](), [False]
    theirs, due, resync = False, 0.0, clock.now
    for gap_s in gaps_s:
        until = clock.now + gap_s
        while clock.now < until:
            if clock.now >= min(due, resync):
                resync = max(resync, clock.now + 1) if clock.now < resync else clock.now + 600
                if not theirs:
                    contests.stands(ENTRY, manifest)
                elif not contests.holds_back(ENTRY, manifest, live(), FIELD):
                    contests.restored(ENTRY, manifest)
                    answered.append(clock.now)
                    theirs = False
                found = contests.among([ENTRY])
                if (found is not None) != told[-1]:
                    told.append(found is not None)
                due = clock.now + found.look_again_s if found else math.inf
            clock.now += 1
        theirs, due = True, clock.now
    return answered, told


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
        ("moorage", "2026-01-01T00:00:09Z", EGRESS),
        ("argocd-controller", "2026-01-01T00:00:07Z", EGRESS),
        ("kubectl", "2026-01-01T00:00:01Z", EGRESS),
        ("kube-controller-manager", "2026-01-01T00:00:08Z", {"f:status": {}}),
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
    contests.stands(ENTRY, manifest)
    assert contests.among([ENTRY]), "it may write again in a moment"
    clock.now += 2
    contests.stands(ENTRY, manifest)
    assert contests.among([ENTRY]) is None
    clock.now += LONGEST_WAIT_S
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
        clock.now += LONGEST_WAIT_S + 1
        contests.stands(ENTRY, manifest)
    assert contests.among([ENTRY]) is None


@pytest.mark.parametrize("gap_s", [61, 100, 599])
def test_edits_that_are_a_minute_apart_are_no_contest_also_where_nobody_looks_in_between(gap_s: int) -> None:
    answered, told = visits([gap_s] * 30)
    assert len(answered) == 29
    assert told == [False]


@pytest.mark.parametrize(
    "gaps_s",
    [[5], [11], [15], [31], [59], [7, 13], [45, 50, 55, 58, 70], [1, 1, 1, 1, 1, 1, 40]],
    ids=lambda gaps_s: "-".join(map(str, gaps_s)),
)
def test_a_slow_rival_is_answered_ever_more_seldom_too_and_told_of_without_a_break(gaps_s: list[int]) -> None:
    answered, told = visits(gaps_s * (3600 // sum(gaps_s)))
    assert told in ([False, True], [False, True, False, True]), "a burst may be taken for the end of it, once"
    assert told == [False, True] or len(gaps_s) > 5
    assert len(answered) < 3600 / LONGEST_WAIT_S + 10


def test_one_edit_long_after_a_contest_has_calmed_down_begins_a_new_count() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    fight(contests, clock, 1, manifest)
    contests.stands(ENTRY, manifest)  # somebody put it right while we held back
    clock.now += CALM_S
    contests.stands(ENTRY, manifest)
    clock.now += FORGOTTEN_S
    for _ in range(FREELY + 1):
        assert not contests.holds_back(ENTRY, manifest, live(), FIELD)
        contests.restored(ENTRY, manifest)
        assert contests.among([ENTRY]) is None


def test_a_field_that_is_looked_at_late_has_not_stood_meanwhile() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    fight(contests, clock, 1, manifest)
    clock.now += 600  # the API server was away
    assert not contests.holds_back(ENTRY, manifest, live(), FIELD)
    contests.restored(ENTRY, manifest)
    assert contests.among([ENTRY])
    assert contests.holds_back(ENTRY, manifest, live(), FIELD)


def test_what_was_restored_long_ago_is_not_kept_in_mind() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    for number in range(1000):
        contests.restored(("NetworkPolicy", ("demo", f"cats-{number}")), manifest)
        clock.now += 1
    assert len(contests._known) == FORGOTTEN_S


def test_who_takes_the_rivals_value_over_into_the_spec_hears_no_more_of_the_contest() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    fight(contests, clock, 1, manifest)
    contests.stands(ENTRY, manifest)
    assert contests.among([ENTRY])
    contests.stands(ENTRY, {"spec": {"egress": []}})
    assert contests.among([ENTRY]) is None


def test_only_who_has_the_field_is_named() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    fight(contests, clock, 1, manifest)
    innocent = ("labeller", "2026-01-01T00:00:09Z", {"f:metadata": {"f:labels": {"f:team": {}}}})
    scaler = {**live(("someone", "2026-01-01T00:00:08Z", EGRESS)), "spec": {"egress": []}}
    scaler["metadata"]["managedFields"][0]["subresource"] = "scale"
    for body, named in (
        (live(innocent, ("argocd", "2026-01-01T00:00:01Z", EGRESS)), "the field manager 'argocd' writes"),
        (live(innocent), "somebody writes"),
        (scaler, "the field manager 'someone' writes"),
    ):
        contests.holds_back(ENTRY, manifest, body, FIELD)
        found = contests.among([ENTRY])
        assert found is not None
        assert named in found.words


def test_a_child_that_was_made_anew_has_no_contest_and_one_without_managers_was_written_by_somebody() -> None:
    clock, manifest = Clock(), {"spec": {}}
    contests = Contests(clock)
    fight(contests, clock, 1, manifest)
    contests.holds_back(ENTRY, manifest, live(), FIELD)
    found = contests.among([ENTRY])
    assert found is not None
    assert "somebody writes" in found.words
    contests.forget(ENTRY)
    assert contests.among([ENTRY]) is None
