"""The request log of a real predictor, as who collects standard output finds it."""

import json
import re
import threading
from pathlib import Path

import grpc
import pytest
from tests.e2e.observability.conftest import ask_once, body
from tests.unit.access.callers import made_key

from moorage.access.stores import write_file
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

INFER = "/v2/models/twice/infer"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "observe-a-model.md"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def lines_of(predictor) -> list[dict[str, object]]:
    """After an orderly end: every line is one JSON object."""
    predictor.process.terminate()
    written = predictor.process.stdout.read()
    assert predictor.exit_code() == 0
    return [json.loads(line) for line in written.splitlines()]


def documented() -> set[str]:
    _, _, below = PAGE.read_text().partition("\n## A line for each request\n")
    rows = re.findall(r"^\| (`.*?`) \|", below.partition("\n## ")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def infer_over_grpc(predictor, **metadata: str) -> None:
    request = pb.ModelInferRequest(model_name="twice", raw_input_contents=[(7).to_bytes(8, "little")])
    request.inputs.add(name="x", datatype="INT64", shape=[1, 1])
    with grpc.insecure_channel(predictor.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        told = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        infer(request, metadata=told, timeout=60)


def test_every_field_is_documented_and_every_documented_field_is_written(twice, tmp_path):
    key, stored = made_key()
    write_file(tmp_path / "keys.json", (stored,))
    predictor = twice(
        request_log="all", max_batch_size=8, access_keys_file=str(tmp_path / "keys.json"), grpc_server="grpcio"
    )
    headers = {"x-api-key": key, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    assert predictor.post(INFER, json=body(1), headers=headers).status_code == 200
    assert predictor.post(INFER, json=body(1)).status_code == 401
    infer_over_grpc(predictor, x_api_key=key, x_request_id="mine-1")
    with pytest.raises(grpc.RpcError):
        infer_over_grpc(predictor)
    lines = lines_of(predictor)
    written = {name for line in lines for name in line}
    assert written - documented() == {"time", "level", "logger", "message"}
    assert documented() - written == set()
    ours = [line for line in lines if line.get("method") != "GET"]
    assert [line.get("status", line.get("code")) for line in ours] == [200, 401, "OK", "UNAUTHENTICATED"]
    assert [line.get("caller") for line in ours] == ["alice", None, "alice", None]
    assert ours[0]["trace_id"] == TRACE
    assert ours[2]["request_id"] == "mine-1"
    assert ours[2]["client"] == "127.0.0.1"
    assert key not in json.dumps(lines)


def test_lines_of_several_workers_never_run_into_each_other_and_all_are_there_at_the_end(twice):
    predictor = twice(request_log="all", workers=2)
    written: list[str] = []
    reader = threading.Thread(target=lambda: written.extend(predictor.process.stdout))
    reader.start()
    count, callers = 150, 6

    def ask(caller: int) -> None:
        for number in range(count):
            ask_once(predictor.url, **{"x-request-id": f"{caller}-{number}"})  # any of the workers

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    predictor.process.terminate()
    reader.join(60)
    assert predictor.exit_code() == 0
    ids = [json.loads(line)["request_id"] for line in written if '"method":"POST"' in line]
    assert sorted(ids) == sorted(f"{caller}-{number}" for caller in range(callers) for number in range(count))


def test_errors_alone_and_nothing_at_all_can_be_chosen(twice):
    errors = twice(request_log="errors")
    assert errors.post(INFER, json=body(1)).status_code == 200
    assert errors.post(INFER, json={}).status_code == 400
    assert [line["status"] for line in lines_of(errors) if line["method"] == "POST"] == [400]
    off = twice()
    assert off.post(INFER, json={}).status_code == 400
    assert lines_of(off) == []
