"""Rate limits over gRPC, where the message has the model and the trailing metadata say what is left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from tests.unit.predictor.served import Echo, InProcess, listening

from moorage.access.limits.addresses import UNKNOWN, vouched
from moorage.access.limits.proof import Proofs
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb
from moorage.api.predictor import PredictorSettings
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.grpc import create_server
from moorage_predictor.wire.grpc_frames import frame, string
from moorage_predictor.wire.rate_limits import Limits

Ask = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    """A server with such rules; how to call it gives the status and the trailing metadata."""
    ends = AsyncExitStack()

    async def start(*rules: str, **more: Any) -> Ask:
        values = {"task": "a.py:B", "model_name": "cats", "rate_limit": rules, **more}
        settings = PredictorSettings.model_validate(values)
        limits = Limits(settings, Metrics(CollectorRegistry()))
        server = create_server(InProcess(Echo()).repository, settings, None, limits)
        address = await ends.enter_async_context(listening(server))
        channel = await ends.enter_async_context(grpc.aio.insecure_channel(address))

        async def ask(method: str = "ModelInfer", *rows: int, **metadata: str) -> tuple[str, dict[str, str]]:
            """With one input for each number of rows."""
            message: Any = pb.ModelRequest(name="cats")
            if method == "ModelInfer":
                tensors = [
                    pb.Tensor(
                        name=f"x{place}",
                        datatype="FP32",
                        shape=[number, 2],
                        contents=pb.InferTensorContents(fp32_contents=[1.0] * (2 * number)),
                    )
                    for place, number in enumerate(rows or (1,))
                ]
                message = pb.ModelInferRequest(model_name="cats", inputs=tensors)
            words = [(name.replace("_", "-"), value) for name, value in metadata.items()]
            call = channel.unary_unary(f"/{SERVICE}/{method}")(message.SerializeToString(), metadata=words, timeout=10)
            code, trailing = await call.code(), await call.trailing_metadata()
            return code.name, {name: value for name, value in trailing if name.startswith(("x-rate", "retry"))}

        return ask

    async with ends:
        yield start


async def test_each_answer_says_what_is_left_and_the_first_too_many_is_resource_exhausted(serve: Any) -> None:
    ask = await serve("2/hour")
    for left in ("1", "0"):
        code, told = await ask()
        assert (code, told["x-ratelimit-limit"], told["x-ratelimit-remaining"]) == ("OK", "2", left)
        assert "retry-after" not in told
    code, told = await ask()
    assert code == "RESOURCE_EXHAUSTED"
    assert told["x-ratelimit-remaining"] == "0"
    assert 3500 < int(told["retry-after"]) <= 3600


async def test_metadata_of_models_is_managing_and_health_is_nothing(serve: Any) -> None:
    ask = await serve("1/hour operation=manage")
    assert (await ask("ModelMetadata"))[0] == "OK"
    assert (await ask("ModelMetadata"))[0] == "RESOURCE_EXHAUSTED"
    for method in ("ModelReady", "ModelInfer"):
        assert await ask(method) == ("OK", {})


async def test_several_rows_are_also_a_batch(serve: Any) -> None:
    ask = await serve("9/hour operation=predict", "1/hour operation=batch")
    assert (await ask("ModelInfer", 2))[1]["x-ratelimit-limit"] == "1"
    for rows in ((2,), (1, 2), (2, 1)):
        assert (await ask("ModelInfer", *rows))[0] == "RESOURCE_EXHAUSTED"
    assert (await ask("ModelInfer", 1, 1))[1]["x-ratelimit-remaining"] == "4"


async def test_a_proof_of_the_gateway_is_good_here_too(serve: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef" * 4)
    ask = await serve("1/hour", counted_proof_secret_file=str(secret))
    for number in range(3):
        proof = Proofs.from_file(str(secret)).sign("alice", f"r{number}", "cats", "predict")
        assert await ask(x_moorage_counted=proof, x_request_id=f"r{number}") == ("OK", {})
    assert (await ask(x_moorage_counted=proof, x_request_id="r2"))[1]["x-ratelimit-remaining"] == "0"
    assert (await ask(x_moorage_counted="v1.x", x_request_id="r9"))[0] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("server", ["grpcio", "native"])
async def test_addresses_come_from_trusted_proxies(serve: Any, server: str) -> None:
    ask = await serve("1/hour by=ip", trusted_proxies=("127.0.0.0/8",), grpc_server=server)
    assert (await ask(x_forwarded_for="203.0.113.7"))[0] == "OK"
    assert (await ask(x_forwarded_for="1.1.1.1, 203.0.113.7"))[0] == "RESOURCE_EXHAUSTED"
    assert (await ask(x_forwarded_for="203.0.113.8"))[0] == "OK"


@pytest.mark.parametrize("server", ["grpcio", "native"])
async def test_a_caller_does_not_choose_its_own_address(serve: Any, server: str) -> None:
    ask = await serve("1/hour", grpc_server=server)
    assert (await ask())[0] == "OK"
    for address in ("203.0.113.7", ""):
        assert (await ask(x_moorage_peer=address))[0] == "RESOURCE_EXHAUSTED"


async def test_nor_by_a_block_of_headers_that_ends_within_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"task": "a.py:B", "model_name": "cats", "rate_limit": ("1/hour by=ip",), "grpc_server": "native"}
    settings = PredictorSettings.model_validate(values)
    limits = Limits(settings, Metrics(CollectorRegistry()))
    counted: list[str] = []
    take = limits._limiter.take
    monkeypatch.setattr(limits._limiter, "take", lambda who, ip, *rest: (counted.append(ip), take(who, ip, *rest))[1])
    server = create_server(InProcess(Echo()).repository, settings, None, limits)
    # Huffman's code makes a value of any bytes that is good by chance for one of three addresses.
    sources = (f"127.0.0.{number}" for number in range(1, 255))
    async with listening(server) as address:
        while UNKNOWN not in counted:
            await _swallow(address, next(sources))
    assert all(ip == UNKNOWN or ip.startswith("127.") for ip in counted)


async def _swallow(address: str, source: str) -> None:
    """Call with an address of one's own, and a last field that takes in what comes after."""
    said = [
        *((b":method", b"POST"), (b":scheme", b"http"), (b":path", f"/{SERVICE}/ModelMetadata".encode())),
        *((b":authority", b"x"), (b"te", b"trailers"), (b"content-type", b"application/grpc")),
        *((b"x-moorage-peer", b"203.0.113.7"), (b"x-moorage-peer", b"203.0.113.7 " + b"0" * 32)),
    ]
    block = b"".join(b"\0" + string(name) + string(value) for name, value in said)
    swallowed = len(b"\0" + string(b"x-moorage-peer") + string(vouched(source).encode()))
    block += b"\0" + string(b"x-junk") + bytes([0x80 | swallowed])
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    reader, writer = await asyncio.open_connection(*address.split(":"), local_addr=(source, 0))
    writer.write(preface + frame(1, 4, 1, block) + frame(0, 1, 1, bytes(5)))
    try:
        async with asyncio.timeout(0.3):
            while await reader.read(65536):
                pass
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
