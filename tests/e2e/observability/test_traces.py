"""Traces of a real predictor, sent by OpenTelemetry's own exporter."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.e2e.observability.conftest import body

from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
RECORDED = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=kept"}
NOT_RECORDED = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
INFER = "/v2/models/twice/infer"
STAGES = ["decode", "queue", "forward", "encode"]
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_SERVICE_NAME": "cats-in-test"}


def attributes(span: Span) -> dict[str, object]:
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        found[pair.key] = getattr(pair.value, kind)
    return found


def split(spans: list[Span]) -> tuple[Span, list[Span]]:
    """The request's span, and those of its stages in order of time."""
    [request] = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    rest = [span for span in spans if span.parent_span_id == request.span_id]
    return request, sorted(rest, key=lambda span: (span.start_time_unix_nano, STAGES.index(span.name)))


def test_a_request_is_a_span_of_its_caller_s_trace_with_its_stages_below(twice, receiver):
    predictor = twice(otel_endpoint=receiver.url, env=SOON)
    answer = predictor.post(INFER, json=body(1), headers=RECORDED)
    request, stages = split([span for span in receiver.until(5) if span.trace_id.hex() == TRACE])
    assert request.parent_span_id.hex() == CALLER
    assert request.trace_state == "vendor=kept"
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert answer.headers["tracestate"] == "vendor=kept"
    assert [span.name for span in stages] == STAGES
    for before, after in itertools.pairwise(stages):
        assert before.end_time_unix_nano == after.start_time_unix_nano
    assert request.start_time_unix_nano <= stages[0].start_time_unix_nano + 1_000_000
    assert stages[-1].end_time_unix_nano <= request.end_time_unix_nano + 1_000_000
    assert request.name == "POST /v2/models/{name}/infer"
    told = attributes(request)
    assert told["http.response.status_code"] == 200
    assert (told["moorage.model"], told["moorage.version"], told["moorage.rows"]) == ("twice", "1", 1)
    assert told["moorage.request_id"] == answer.headers["x-request-id"]
    assert receiver.services == {"cats-in-test"}


def test_a_collector_gets_the_headers_that_it_asks_for(twice, receiver, tmp_path):
    headers = tmp_path / "headers"
    headers.write_text("authorization=Bearer%20s3cret\n")
    predictor = twice(otel_endpoint=receiver.url, otel_headers_file=str(headers), env=SOON)
    predictor.post(INFER, json=body(1))
    receiver.until(5)
    assert receiver.authorizations == {"Bearer s3cret"}


def test_a_caller_that_records_nothing_is_not_recorded_here(twice, receiver):
    predictor = twice(otel_endpoint=receiver.url, env=SOON)
    answer = predictor.post(INFER, json=body(1), headers=NOT_RECORDED)
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert answer.headers["traceparent"].endswith("-00")
    predictor.post(INFER, json=body(1), headers=RECORDED)
    receiver.until(5)
    assert {span.parent_span_id.hex() for span in receiver.spans if span.kind == Span.SPAN_KIND_SERVER} >= {CALLER}
    assert len([span for span in receiver.spans if span.trace_id.hex() == TRACE]) == 5


def test_a_failure_is_marked(twice, receiver):
    predictor = twice(otel_endpoint=receiver.url, env=SOON)
    predictor.post(INFER, json={}, headers=RECORDED)
    predictor.process.terminate()
    assert predictor.exit_code() == 0
    [request] = [span for span in receiver.spans if span.trace_id.hex() == TRACE]
    assert request.status.code == 2
    assert attributes(request)["http.response.status_code"] == 400


def test_a_pass_of_several_requests_is_a_span_that_links_to_each_of_them(twice, receiver):
    predictor = twice(otel_endpoint=receiver.url, env=SOON, max_batch_size=8)
    with ThreadPoolExecutor(6) as callers:
        first = callers.submit(predictor.post, INFER, json=body(13))  # while it runs, the others gather
        answers = [callers.submit(predictor.post, INFER, json=body(13)) for _ in range(5)]
        assert all(answer.result().status_code == 200 for answer in (first, *answers))
    predictor.process.terminate()
    assert predictor.exit_code() == 0
    requests = {span.span_id for span in receiver.spans if span.name == "POST /v2/models/{name}/infer"}
    batches = [span for span in receiver.spans if span.name == "batch"]
    assert batches
    for batch in batches:
        linked = {link.span_id for link in batch.links}
        assert len(linked) == attributes(batch)["moorage.rows"] > 1
        assert linked <= requests
        forwards = [span for span in receiver.spans if batch.span_id in {link.span_id for link in span.links}]
        assert {span.name for span in forwards} == {"forward"}
        assert {span.parent_span_id for span in forwards} == linked


@pytest.mark.parametrize("server", ["grpcio", "native"])
def test_a_call_over_grpc_is_traced_as_well(twice, receiver, server):
    predictor = twice(otel_endpoint=receiver.url, env=SOON, grpc_server=server)
    request = pb.ModelInferRequest(model_name="twice", raw_input_contents=[(7).to_bytes(8, "little")])
    request.inputs.add(name="x", datatype="INT64", shape=[1, 1])
    with grpc.insecure_channel(predictor.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        _, call = infer.with_call(request, metadata=[*RECORDED.items(), ("x-request-id", "mine-1")], timeout=60)
    told = dict(call.trailing_metadata())
    span, stages = split([span for span in receiver.until(5) if span.trace_id.hex() == TRACE])
    assert told["x-request-id"] == "mine-1"
    assert told["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert [stage.name for stage in stages] == STAGES
    assert span.name == "ModelInfer"
    assert attributes(span)["rpc.response.status_code"] == "OK"


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported(twice, receiver):
    said = {
        option: twice(**changes).post(INFER, json=body(12)).json()["outputs"][0]["data"]
        for option, changes in (("off", {}), ("on", {"otel_endpoint": receiver.url}))
    }
    assert said == {"off": [0], "on": [1]}


def test_an_endpoint_that_does_not_answer_costs_no_request_and_not_the_end(twice):
    predictor = twice(otel_endpoint="http://127.0.0.1:9")
    assert predictor.post(INFER, json=body(1)).status_code == 200
    predictor.process.terminate()
    assert predictor.exit_code() == 0
