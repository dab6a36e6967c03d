"""Rate limits of real predictors: replicas that share a Redis, workers that share a pod, and gRPC."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from tests.e2e.predictor.conftest import IDENTITY, PATIENCE_S, Predictor
from tests.redis_server import RedisServer
from tests.unit.access.callers import made_key

from moorage.access.limits.proof import Proofs
from moorage.access.stores import write_file
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}
INFER = "/v2/models/identity/infer"
THREADS = 100
Start = Callable[..., Predictor]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def statuses(urls: list[str], calls_each: int) -> Counter[int]:
    """What 100 threads get, each with a connection of its own."""

    def work(number: int) -> list[int]:
        with httpx.Client(base_url=urls[number % len(urls)], timeout=60) as client:
            return [client.post(INFER, json=BODY).status_code for _ in range(calls_each)]

    with ThreadPoolExecutor(THREADS) as pool:
        return Counter(status for found in pool.map(work, range(THREADS)) for status in found)


def test_three_replicas_with_one_redis_let_exactly_the_limit_through_and_live_without_it(
    start: Start, redis_server: RedisServer, tmp_path: Path
) -> None:
    url_file = tmp_path / "url"
    url_file.write_text(redis_server.url + "\n")
    limits = {
        "rate_limit": ("240/hour",),
        "rate_limit_redis_url_file": str(url_file),
        "rate_limit_replicas": 3,
        "rate_limit_store_timeout_ms": 5000,  # all of them share two cores with a hundred callers
    }
    replicas = [start(**IDENTITY, **limits) for _ in range(3)]
    urls = [replica.until_ready().url for replica in replicas]
    for _ in range(2):
        assert statuses(urls, 5) == {200: 240, 429: 5 * THREADS - 240}, "".join(each.stderr() for each in replicas)
        redis_server.client.flushall()
    redis_server.kill()
    away = statuses(urls, 5)
    assert set(away) == {200, 429}, replicas[0].stderr()
    assert away[200] == 240  # each replica its share of 80
    redis_server.start()
    answer = None
    for replica in replicas:
        while "the rate limits' store is back" not in replica.stderr():
            answer = replica.post(INFER, json=BODY)
            assert answer.status_code in (200, 429)
    assert statuses(urls, 5)[200] <= 240


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("0123456789abcdef" * 4)
    return path


def proof(secret_file: Path, request_id: str) -> dict[str, str]:
    """What the gateway sends with a call that it has counted."""
    value = Proofs.from_file(str(secret_file)).sign("alice", request_id, "identity", "predict")
    return {"x-moorage-counted": value, "x-request-id": request_id}


def test_workers_share_their_limits_and_the_proofs_that_were_used(start: Start, secret_file: Path) -> None:
    pod = start(
        **IDENTITY, workers=2, rate_limit=("60/hour",), counted_proof_secret_file=str(secret_file)
    ).until_ready()
    until = time.monotonic() + PATIENCE_S
    while {pod.get("/v2/health/ready").status_code for _ in range(20)} != {
        200
    }:  # one may still load when the other is ready
        assert time.monotonic() < until
    assert statuses([pod.url], 2) == {200: 60, 429: 2 * THREADS - 60}
    assert pod.post(INFER, json=BODY, headers=proof(secret_file, "r1")).status_code == 200
    replays = [pod.post(INFER, json=BODY, headers=proof(secret_file, "r1")).status_code for _ in range(16)]
    assert replays == [429] * 16  # over new connections, so that both workers are asked


def test_a_proof_is_good_once_for_all_replicas_with_one_redis(
    start: Start, redis_server: RedisServer, secret_file: Path, tmp_path: Path
) -> None:
    url_file = tmp_path / "url"
    url_file.write_text(redis_server.url)
    options = {
        "rate_limit": ("2/hour",),
        "rate_limit_redis_url_file": str(url_file),
        "rate_limit_replicas": 2,
        "rate_limit_store_timeout_ms": 5000,
        "counted_proof_secret_file": str(secret_file),
    }
    first, second = [start(**IDENTITY, **options) for _ in range(2)]
    for replica in (first, second):
        assert replica.until_ready().post(INFER, json=BODY).status_code == 200
    assert second.post(INFER, json=BODY).status_code == 429
    headers = proof(secret_file, "r1")
    assert first.post(INFER, json=BODY, headers=headers).status_code == 200
    assert second.post(INFER, json=BODY, headers=headers).status_code == 429

    request = pb.ModelInferRequest(model_name="identity")
    request.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.0)

    def over_grpc(replica: Predictor) -> grpc.StatusCode:
        with grpc.insecure_channel(replica.grpc) as channel:
            infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString)
            call = infer.future(request, metadata=list(proof(secret_file, "r2").items()), timeout=30)
            return call.code()

    assert over_grpc(second) is grpc.StatusCode.OK
    assert over_grpc(first) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert redis_server.client.keys("moorage:limit:identity:proof/*")
    redis_server.kill()
    assert first.post(INFER, json=BODY, headers=proof(secret_file, "r3")).status_code == 200
    assert "Traceback" not in first.stderr() + second.stderr()


@pytest.mark.parametrize("server", ["grpcio", "native"])
def test_grpc_says_what_is_left_in_its_trailing_metadata(start: Start, tmp_path: Path, server: str) -> None:
    key, stored = made_key("alice")
    keys = tmp_path / "keys.json"
    write_file(keys, [stored])
    predictor = start(**IDENTITY, grpc_server=server, access_keys_file=str(keys), rate_limit=("2/hour by=key",))
    predictor.until_ready()
    request = pb.ModelInferRequest(model_name="identity")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(1.0)
    with grpc.insecure_channel(predictor.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        ready = channel.unary_unary(
            f"/{SERVICE}/ServerReady", pb.Empty.SerializeToString, pb.ServerReadyResponse.FromString
        )
        metadata = (("x-api-key", key),)
        for remaining in ("1", "0"):
            _, call = infer.with_call(request, metadata=metadata, timeout=30)
            told = dict(call.trailing_metadata())
            assert (told["x-ratelimit-limit"], told["x-ratelimit-remaining"]) == ("2", remaining)
        with pytest.raises(grpc.RpcError) as refused:
            infer(request, metadata=metadata, timeout=30)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(refused.value.trailing_metadata())["retry-after"]) > 0
        assert ready(pb.Empty(), timeout=30).ready  # health is never counted
