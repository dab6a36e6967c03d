"""Rate limits before the predictor's routes, over HTTP: what is counted, and what callers are told."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.predictor.served import Echo, InProcess

from moorage.access.limits.proof import Proofs
from moorage.access.principal import PRINCIPAL, Limit, Principal
from moorage.api.predictor import PredictorSettings
from moorage_predictor.wire.rate_limits import Limits

INFER = "/v2/models/cats/infer"
ALICE = Principal("alice", "key", "read-write")


class Limited:
    """The application behind limits, and callers with names."""

    def __init__(self, *rules: str, peer: str = "192.0.2.1", **settings: Any) -> None:
        inside = InProcess(Echo())
        values = {"task": "a.py:B", "model_name": "cats", "rate_limit": rules, **settings}
        self.limits = Limits(PredictorSettings.model_validate(values), inside.metrics)
        self.metrics = inside.metrics
        self._counted = self.limits.counted(inside.app)
        self._peer = peer
        self.principal: Principal | None = None
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app, client=(peer, 5000)), base_url="http://test"
        )

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if self.principal is not None:
            scope[PRINCIPAL] = self.principal
        await self._counted(scope, receive, send)

    async def infer(self, rows: int = 1, principal: Principal | None = None, **headers: str) -> httpx.Response:
        self.principal = principal
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": [1.0] * (2 * rows)}]}
        return await self.client.post(INFER, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def codes(self, calls: int, **options: Any) -> list[int]:
        return [(await self.infer(**options)).status_code for _ in range(calls)]


def told(answer: httpx.Response) -> tuple[int, int]:
    return int(answer.headers["x-ratelimit-limit"]), int(answer.headers["x-ratelimit-remaining"])


async def test_every_answer_says_how_much_is_left_and_the_first_too_many_is_429() -> None:
    limited = Limited("3/minute")
    answers = [await limited.infer() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [told(answer) for answer in answers] == [(3, 2), (3, 1), (3, 0), (3, 0)]
    for answer in answers:
        assert 58 <= int(answer.headers["x-ratelimit-reset"]) - time.time() <= 61
    assert "retry-after" not in answers[0].headers
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    body = answers[3].json()
    assert body["code"] == "RESOURCE_EXHAUSTED"
    assert body["error"].startswith("the rate limit of 3 calls is reached; try again in ")


async def test_a_refused_caller_keeps_its_connection_unless_it_sends_a_lot() -> None:
    limited = Limited("1/minute")
    await limited.infer()
    refused = await limited.infer()
    assert (refused.status_code, refused.headers.get("connection")) == (429, None)
    refused = await limited.client.post(INFER, content=b"x" * 100_000)
    assert (refused.status_code, refused.headers.get("connection")) == (429, "close")


async def test_an_answer_that_is_an_error_says_it_too() -> None:
    limited = Limited("3/minute")
    bad = await limited.client.post(INFER, content=b"{")
    assert bad.status_code == 400
    assert told(bad) == (3, 2)
    gone = await limited.client.get("/v2/models/dogs")
    assert gone.status_code == 404
    assert told(gone) == (3, 1)


async def test_health_and_metrics_are_never_counted() -> None:
    limited = Limited("1/minute")
    for path in ("/", "/v2/health/live", "/v2/health/ready", "/v2/models/cats/ready", "/metrics"):
        for _ in range(3):
            answer = await limited.client.get(path)
            assert answer.status_code == 200
            assert "x-ratelimit-limit" not in answer.headers
    assert (await limited.infer()).status_code == 200


async def test_the_headers_are_of_the_rule_that_leaves_the_least() -> None:
    limited = Limited("10/second", "4/minute")
    assert told(await limited.infer()) == (4, 3)


async def test_a_call_that_one_rule_refuses_is_counted_by_none() -> None:
    limited = Limited("5/minute operation=predict", "2/minute by=ip")
    assert await limited.codes(6) == [200, 200, 429, 429, 429, 429]
    limited = Limited("3/minute", "2/hour operation=manage")
    for _ in range(5):
        await limited.client.get("/v2/models/cats")
    assert told(await limited.infer()) == (3, 0)


async def test_operations_are_counted_apart() -> None:
    limited = Limited("1/minute operation=predict", "2/minute operation=manage")
    assert await limited.codes(2) == [200, 429]
    answers = [await limited.client.get("/v2/models/cats") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_a_prediction_of_several_rows_is_also_a_batch() -> None:
    limited = Limited("10/minute operation=predict", "1/minute operation=batch")
    assert told(await limited.infer(rows=3)) == (1, 0)
    refused = await limited.infer(rows=2)
    assert refused.status_code == 429
    assert told(refused) == (1, 0)
    assert told(await limited.infer(rows=1)) == (10, 7)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [[1.0, 2.0], [3.0, 4.0]]},
        {"inputs": [[1.0, 2.0], [3.0, 4.0]]},
        {"inputs": {"x": [1, 2]}},
        {"inputs": {"x": [1], "y": {"z": {"a": [1, 2]}}}},
    ],
)
async def test_a_v1_batch_is_one_by_rows_and_by_columns(body: Any) -> None:
    limited = Limited("1/minute operation=batch")
    answers = [await limited.client.post("/v1/models/cats:predict", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    one = await limited.client.post("/v1/models/cats:predict", json={"instances": [[1.0, 2.0]]})
    assert one.status_code == 200


async def test_no_caller_chooses_by_which_of_its_inputs_a_batch_is_told() -> None:
    limited = Limited("1/minute operation=batch")
    one = {"name": "one", "datatype": "FP32", "shape": [1], "data": [1.0]}
    many = {"name": "many", "datatype": "FP32", "shape": [3], "data": [1.0] * 3}
    wide = {"name": "wide", "datatype": "FP32", "shape": [1, 3], "data": [1.0] * 3}
    codes = [
        (await limited.client.post(INFER, json={"inputs": inputs})).status_code
        for inputs in ([one, wide], [wide, one], [one, many], [one, many], [many], [wide])
    ]
    assert codes == [200, 200, 200, 429, 429, 200]


async def test_a_rule_for_one_model_does_not_count_another() -> None:
    limited = Limited("1/minute model=dogs")
    assert await limited.codes(3) == [200, 200, 200]
    limited = Limited("1/minute model=cats")
    assert await limited.codes(2) == [200, 429]


async def test_callers_are_counted_apart_and_a_rotated_key_is_the_same_caller() -> None:
    limited = Limited("1/minute by=key")
    old = Principal("k1", "key", "read-write", tenant="acme")
    new = Principal("k2", "key", "read-write", tenant="acme")
    assert await limited.codes(1, principal=ALICE) == [200]
    assert await limited.codes(1, principal=old) == [200]
    assert await limited.codes(1, principal=new) == [429]
    assert await limited.codes(1, principal=ALICE) == [429]


async def test_a_key_s_own_limit_stands_for_the_general_one() -> None:
    limited = Limited("1/minute operation=predict", "4/minute by=ip operation=predict")
    own = Principal("big", "key", "read-write", limits=(Limit(3, "minute", "predict"),))
    assert await limited.codes(4, principal=own) == [200, 200, 200, 429]
    assert await limited.codes(1, principal=ALICE) == [200]


async def test_without_keys_callers_are_counted_by_address_and_a_made_up_header_changes_nothing() -> None:
    limited = Limited("1/minute")
    assert await limited.codes(1, x_forwarded_for="198.51.100.1") == [200]
    assert await limited.codes(1, x_forwarded_for="198.51.100.2") == [429]


async def test_a_trusted_proxy_is_believed_about_the_last_hop_alone() -> None:
    limited = Limited("1/minute", peer="10.1.2.3", trusted_proxies=("10.0.0.0/8",))
    assert await limited.codes(1, x_forwarded_for="203.0.113.7") == [200]
    assert await limited.codes(1, x_forwarded_for="1.2.3.4, 203.0.113.7") == [429]
    assert await limited.codes(1, x_forwarded_for="203.0.113.8") == [200]


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("0123456789abcdef" * 4 + "\n")
    return path


async def test_a_call_that_the_gateway_has_counted_is_not_counted_again(secret_file: Path) -> None:
    limited = Limited("1/minute", counted_proof_secret_file=str(secret_file))
    gateway = Proofs.from_file(str(secret_file))
    for number in range(3):
        proof = gateway.sign("alice", f"r{number}", "cats", "batch")
        answer = await limited.infer(rows=2, x_moorage_counted=proof, x_request_id=f"r{number}")
        assert answer.status_code == 200
        assert "x-ratelimit-limit" not in answer.headers  # the gateway says that
    assert await limited.codes(2) == [200, 429]


async def test_without_a_good_proof_the_header_is_taken_away_and_the_call_counted(secret_file: Path) -> None:
    limited = Limited("100/minute", counted_proof_secret_file=str(secret_file))
    gateway = Proofs.from_file(str(secret_file))
    good = gateway.sign("alice", "r1", "cats", "predict")
    seen: list[Any] = []
    inside = limited._counted._app

    async def spy(scope: Any, receive: Any, send: Any) -> None:
        seen.append([name for name, _ in scope["headers"]])
        await inside(scope, receive, send)

    limited._counted._app = spy
    for value, request_id in [(good, "r2"), ("v1.x", "r1"), (good[:-2], "r1"), (good, "")]:
        answer = await limited.infer(x_moorage_counted=value, x_request_id=request_id)
        assert "x-ratelimit-limit" in answer.headers
    assert "x-ratelimit-limit" not in (await limited.infer(x_moorage_counted=good, x_request_id="r1")).headers
    assert "x-ratelimit-limit" in (await limited.infer(x_moorage_counted=good, x_request_id="r1")).headers  # a replay
    assert len(seen) == 6
    assert not any(b"x-moorage-counted" in names for names in seen)


async def test_without_a_secret_a_proof_goes_no_further_either() -> None:
    limited = Limited("100/minute")
    seen: list[Any] = []
    inside = limited._counted._app

    async def spy(scope: Any, receive: Any, send: Any) -> None:
        seen.append([name for name, _ in scope["headers"]])
        await inside(scope, receive, send)

    limited._counted._app = spy
    assert (await limited.infer(x_moorage_counted="v1.x")).headers["x-ratelimit-remaining"] == "99"
    await limited.client.get("/v2/health/ready", headers={"x-moorage-counted": "v1.x"})
    assert len(seen) == 2
    assert not any(b"x-moorage-counted" in names for names in seen)


async def test_decisions_are_in_the_metrics() -> None:
    from prometheus_client import generate_latest

    limited = Limited("1/minute")
    await limited.codes(3)
    text = generate_latest(limited.metrics.registry).decode()
    line = 'moorage_rate_limit_decisions_total{caller="anonymous",operation="predict",outcome="limited"} 2.0'
    assert line in text, json.dumps(text.splitlines()[-40:], indent=1)
