"""Stopping without losing requests: two replicas behind a proxy, and one alone with requests that take too long."""

import http.client
import itertools
import json
import signal
import textwrap
import threading
import time

import grpc
import httpx
import pytest
from tests.control_plane.process import free_ports
from tests.e2e.predictor.haproxy import HaProxy

from moorage.api.exit_codes import ExitCode
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

SLEEPER = textwrap.dedent(
    """
    import time

    class Sleeper:
        inputs = [{"name": "seconds", "datatype": "FP32", "shape": [-1]}]

        def predict(self, inputs):
            time.sleep(float(inputs["seconds"].max()))
            return {"seconds": inputs["seconds"]}
    """
)
INFER, READY = "/v2/models/cats/infer", "/v2/models/cats/ready"
TIMES = 20
CLIENTS = 4
PATIENCE_S = 60


def body(seconds: float) -> bytes:
    tensor = {"name": "seconds", "datatype": "FP32", "shape": [1], "data": [seconds]}
    return json.dumps({"inputs": [tensor]}).encode()


def server_ready(predictor) -> bool:
    """As gRPC says it."""
    with grpc.insecure_channel(predictor.grpc) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ServerReady", pb.Empty.SerializeToString, pb.ServerReadyResponse.FromString
        )
        return call(pb.Empty(), timeout=PATIENCE_S).ready


@pytest.fixture
def sleeper(tmp_path):
    file = tmp_path / "sleeper.py"
    file.write_text(SLEEPER)
    return f"{file}:Sleeper"


class Client(threading.Thread):
    """Asks without pause on one connection, as long as that is kept open."""

    def __init__(self, port: int, seconds: float, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[int, bytes]] = []
        self._port, self._body, self._stop_asking = port, body(seconds), stop

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        while not self._stop_asking.wait(0.005):
            try:
                connection.request("POST", INFER, self._body)
                answer = connection.getresponse()
                self.answers.append((answer.status, answer.read()))
            except (OSError, http.client.HTTPException) as error:
                self.answers.append((0, repr(error).encode()))
                connection.close()
        connection.close()


def test_no_request_is_lost_when_replicas_behind_a_proxy_are_told_to_stop_20_times(start, sleeper, tmp_path):
    """Two replicas are up; each in turn is told to stop under load, and one in a third place takes over."""
    options = {"task": sleeper, "drain_delay_s": 1, "max_batch_size": 8}
    ports = free_ports(3)
    stop = threading.Event()
    with HaProxy(tmp_path, ports) as proxy:
        up = [start(**options, http_port=port) for port in ports[:2]]
        for replica in up:
            replica.until_ready()
            proxy.wait_up(replica.settings.http_port)
        clients = [Client(proxy.port, seconds, stop) for seconds in itertools.islice((0, 0.1, 0, 0.3), CLIENTS)]
        for client in clients:
            client.start()
        codes = []
        for turn in range(TIMES):
            leaving = up.pop(0)
            leaving.process.send_signal(signal.SIGTERM)
            up.append(start(**options, http_port=ports[(turn + 2) % 3]))
            up[-1].until_ready()
            codes.append(leaving.exit_code())
            proxy.wait_up(up[-1].settings.http_port)
        stop.set()
        for client in clients:
            client.join()
    answers = [answer for client in clients for answer in client.answers]
    assert [answer for answer in answers if answer[0] != 200] == []
    assert codes == [ExitCode.OK] * TIMES
    assert min(len(client.answers) for client in clients) > TIMES


def test_while_it_drains_it_answers_everybody_and_ends_each_connection(start, sleeper):
    predictor = start(task=sleeper, drain_delay_s=2).until_ready()
    with httpx.Client(base_url=predictor.url, timeout=PATIENCE_S) as client:
        assert "connection" not in client.get(READY).headers
        predictor.process.send_signal(signal.SIGTERM)
        answer = predictor.until(READY, 503)
        assert answer.json() == {"error": "the model cats is stopping", "code": "MODEL_NOT_READY"}
        answer = client.get("/v2/health/ready")
        assert answer.headers["connection"] == "close"
        assert answer.json() == {"ready": False, "error": "the server is stopping", "code": "MODEL_NOT_READY"}
        predictor.process.send_signal(signal.SIGTERM)
        assert client.get("/v2/health/live").status_code == 200
        answer = client.post(INFER, content=body(0))
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert not server_ready(predictor)
    assert predictor.exit_code() == ExitCode.OK
    assert "Traceback" not in predictor.stderr()


@pytest.mark.parametrize("server", ["native", "grpcio"])
def test_what_the_grace_period_leaves_unanswered_gets_503_and_the_exit_code_says_so(start, sleeper, server):
    predictor = start(task=sleeper, shutdown_grace_s=1, grpc_server=server).until_ready()
    answers: dict[str, object] = {}

    def over_http(name: str) -> None:
        answer = predictor.post(INFER, content=body(30))
        answers[name] = answer.status_code, answer.headers["connection"], answer.json()["code"]

    def over_grpc() -> None:
        tensor = {"name": "seconds", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [30]}}
        with grpc.insecure_channel(predictor.grpc) as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
            )
            try:
                call(pb.ModelInferRequest(model_name="cats", inputs=[tensor]), timeout=PATIENCE_S)
            except grpc.RpcError as error:
                answers["grpc"] = error.code()

    clients = [threading.Thread(target=over_http, args=(name,)) for name in ("first", "second")]
    clients.append(threading.Thread(target=over_grpc))
    for client in clients:
        client.start()
    time.sleep(1)
    predictor.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join()
    refused = (503, "close", "MODEL_NOT_READY")
    assert answers["first"] == answers["second"] == refused
    assert answers["grpc"] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), answers
    assert predictor.exit_code() == ExitCode.UNFINISHED
    assert "Traceback" not in predictor.stderr()


def test_a_model_that_cannot_be_loaded_may_leave_the_process_live_and_not_ready(start, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("class Broken:\n    def __init__(self):\n        raise ValueError('no such luck')\n")
    reason = tmp_path / "reason"
    predictor = start(task=f"{file}:Broken", on_load_failure="stay", termination_log=str(reason))
    answer = predictor.until("/v2/health/ready", 503)
    while answer.json()["code"] == "MODEL_NOT_READY":
        answer = predictor.until("/v2/health/ready", 503)
    assert answer.json()["code"] == "MODEL_LOAD_FAILED"
    assert predictor.get("/v2/health/live").status_code == 200
    for path in (READY, "/v1/models/cats"):
        answer = predictor.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_LOAD_FAILED")
    assert predictor.post(INFER, content=body(0)).status_code == 503
    assert not server_ready(predictor)
    assert "no such luck" in reason.read_text()
    predictor.process.terminate()
    assert predictor.exit_code() == ExitCode.OK


def test_a_missing_weight_file_is_named_to_those_who_ask_for_readiness_without_its_folder(start, tmp_path):
    missing = tmp_path / "model.safetensors"
    predictor = start(model_dir=str(missing), architecture="timm/test_vit", on_load_failure="stay")
    answer = predictor.until(READY, 503)
    while answer.json()["code"] == "MODEL_NOT_READY":
        answer = predictor.until(READY, 503)
    assert answer.json()["code"] == "MODEL_LOAD_FAILED"
    assert str(tmp_path) not in answer.text
