"""The proof that a call has been counted: for one call, once, for a minute."""

import base64
import os
from pathlib import Path

import pytest

from moorage.access.errors import ConfigurationError
from moorage.access.limits import proof
from moorage.access.limits.proof import LIFE_S, SKEW_S, Claim, Proofs

SECRET = b"s" * 32
CALL = ("alice", "r1", "cats", "predict")


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(clock: Clock) -> Proofs:
    return Proofs(SECRET, clock)


@pytest.fixture
def predictor(clock: Clock) -> Proofs:
    return Proofs(SECRET, clock)


def test_what_the_gateway_signs_the_predictor_believes_once(gateway: Proofs, predictor: Proofs) -> None:
    value = gateway.sign(*CALL).encode()
    assert predictor.verify(value, "r1", "cats", "predict") == Claim("alice", "predict")
    assert predictor.verify(value, "r1", "cats", "predict") is None


def test_another_proof_for_the_same_request_is_a_replay_too(gateway: Proofs, predictor: Proofs, clock: Clock) -> None:
    assert predictor.verify(gateway.sign(*CALL).encode(), "r1", "cats", "predict")
    clock.now += 5
    assert predictor.verify(gateway.sign(*CALL).encode(), "r1", "cats", "predict") is None


@pytest.mark.parametrize(
    ("request_id", "model", "operation"),
    [("r2", "cats", "predict"), ("r1", "dogs", "predict"), ("r1", None, "predict"), ("r1", "cats", "manage")],
)
def test_it_is_good_for_no_other_call(
    gateway: Proofs, predictor: Proofs, request_id: str, model: str | None, operation: str
) -> None:
    assert predictor.verify(gateway.sign(*CALL).encode(), request_id, model, operation) is None


def test_a_batch_of_the_gateway_is_a_prediction_here(gateway: Proofs, predictor: Proofs) -> None:
    value = gateway.sign("alice", "r1", "cats", "batch").encode()
    assert predictor.verify(value, "r1", "cats", "predict") == Claim("alice", "batch")


@pytest.mark.parametrize(
    ("age_s", "good"), [(LIFE_S, True), (LIFE_S + 1, False), (-SKEW_S, True), (-SKEW_S - 1, False)]
)
def test_it_is_good_for_a_minute_and_for_a_clock_that_is_a_little_ahead(
    gateway: Proofs, predictor: Proofs, clock: Clock, age_s: int, good: bool
) -> None:
    value = gateway.sign(*CALL).encode()
    clock.now += age_s
    assert (predictor.verify(value, "r1", "cats", "predict") is not None) is good


def test_a_proof_cannot_be_used_again_when_it_is_forgotten(gateway: Proofs, predictor: Proofs, clock: Clock) -> None:
    clock.now += SKEW_S
    value = gateway.sign(*CALL).encode()
    clock.now -= SKEW_S  # issued by a clock that is ahead: the longest life there is
    assert predictor.verify(value, "r1", "cats", "predict")
    for _ in range(LIFE_S + SKEW_S + 2):
        clock.now += 1
        assert predictor.verify(value, "r1", "cats", "predict") is None


def _changed(value: str, place: int, text: str) -> str:
    parts = value.split(".")
    parts[place] = text
    return ".".join(parts)


BOB = base64.urlsafe_b64encode(b"bob").rstrip(b"=").decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: "",
        lambda v: "v1",
        lambda v: "....",
        lambda v: v + ".x",
        lambda v: v[:-1],
        lambda v: v * 50,
        lambda v: _changed(v, 0, "v2"),
        lambda v: _changed(v, 1, "1700000001"),
        lambda v: _changed(v, 1, "nan"),
        lambda v: _changed(v, 1, " 1700000000"),
        lambda v: _changed(v, 2, "batch"),
        lambda v: _changed(v, 3, BOB),
        lambda v: _changed(v, 3, "\xff"),
        lambda v: _changed(v, 4, ""),
        lambda v: _changed(v, 4, "AAAA"),
        lambda v: _changed(v, 4, "=" * 40),
    ],
)
def test_what_was_changed_or_made_up_is_no_proof(gateway: Proofs, predictor: Proofs, change: object) -> None:
    value = change(gateway.sign(*CALL)).encode("latin-1")  # type: ignore[operator]
    assert predictor.verify(value, "r1", "cats", "predict") is None


def test_another_secret_signs_nothing_here(clock: Clock, predictor: Proofs) -> None:
    value = Proofs(b"t" * 32, clock).sign(*CALL).encode()
    assert predictor.verify(value, "r1", "cats", "predict") is None


def test_fields_cannot_be_shifted_into_each_other(gateway: Proofs, predictor: Proofs) -> None:
    value = gateway.sign("alice", "r1c", "ats", "predict").encode()
    assert predictor.verify(value, "r1", "cats", "predict") is None


def test_what_is_remembered_is_forgotten_after_two_lives_and_not_before_the_proof_is_old(
    gateway: Proofs, predictor: Proofs, clock: Clock
) -> None:
    most = 0
    for second in range(5 * (LIFE_S + SKEW_S)):
        clock.now += 1
        value = gateway.sign("alice", f"r{second}", "cats", "predict").encode()
        assert predictor.verify(value, f"r{second}", "cats", "predict")
        older = max(0, second - LIFE_S)
        again = gateway.sign("alice", f"r{older}", "cats", "predict").encode()
        assert predictor.verify(again, f"r{older}", "cats", "predict") is None
        most = max(most, len(predictor._seen._used) + len(predictor._seen._used_before))
    assert most <= 2 * (LIFE_S + SKEW_S + 1)


def test_when_too_many_requests_are_remembered_calls_are_counted_and_the_log_says_so_once(
    gateway: Proofs,
    predictor: Proofs,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(proof, "MAX_REMEMBERED", 2)
    for number, good in ((1, True), (2, True), (3, False), (5, False)):
        value = gateway.sign("alice", f"r{number}", "cats", "predict").encode()
        assert (predictor.verify(value, f"r{number}", "cats", "predict") is not None) is good
    assert caplog.messages == ["too many proofs to remember: calls that the gateway has counted are counted again"]
    clock.now += LIFE_S + SKEW_S + 1
    assert predictor.verify(gateway.sign("alice", "r4", "cats", "predict").encode(), "r4", "cats", "predict")


def test_a_secret_that_is_no_secret_ends_the_start(tmp_path: Path) -> None:
    short = tmp_path / "secret"
    short.write_text("secret\n")
    with pytest.raises(ConfigurationError, match="at least 32 bytes, found 6"):
        Proofs.from_file(str(short))
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        Proofs.from_file(str(tmp_path / "none"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="cannot be read: not a regular file"):
        Proofs.from_file(str(tmp_path / "pipe"))
