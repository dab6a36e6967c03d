"""Runtime torchserve: a real TorchServe below the predictor answers as the predictor itself does, and nobody else reaches it."""

import json
import os
import signal
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
import pytest
from tests.e2e.predictor.conftest import DEMO_URI, PATIENCE_S, Predictor
from tests.servers import program

from moorage.access import keys, stores
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

PREDICT, INFER = "/v1/models/cats:predict", "/v2/models/cats/infer"
READY = "/v2/models/cats/ready"


@pytest.fixture(scope="module", autouse=True)
def java():
    program("java")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """A key, and the file that holds it."""
    secret = keys.new_secret()
    made = keys.StoredKey(id="tests", hash=keys.hashed(secret), role="admin", created=datetime.now(UTC))
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    stores.write_file(file, [made])
    return {"X-API-Key": keys.presented(made.id, secret)}, file


@pytest.fixture(scope="module")
def served(key):
    secret = {"MOORAGE_TEST_SECRET": "hunter2"}
    predictor = Predictor(
        env=secret, storage_uri=DEMO_URI, runtime="torchserve", access_keys_file=str(key[1]), control_endpoints=True
    )
    try:
        yield until_ready(predictor)
    finally:
        predictor.close()


def until_ready(predictor) -> Predictor:
    """It is three processes that import torch or start Java, one after the other."""
    deadline = time.monotonic() + 3 * PATIENCE_S
    while not any(step.stage == "ready" for step in predictor.progress()):
        assert predictor.process.poll() is None, predictor.stderr()
        assert time.monotonic() < deadline, predictor.stderr()
        time.sleep(0.1)
    return predictor


def below(predictor) -> list[psutil.Process]:
    return psutil.Process(predictor.process.pid).children(recursive=True)


def one_with(predictor, word: str) -> psutil.Process:
    [found] = [process for process in below(predictor) if word in " ".join(process.cmdline())]
    return found


def folder_of(predictor) -> Path:
    java = one_with(predictor, "org.pytorch.serve.ModelServer")
    return Path(java.cwd()).parent


def test_it_answers_a_photo_through_every_protocol_as_the_predictor_itself_does(served, demo, key, photos):
    photo = (photos / "chelsea.png").read_bytes()
    headers = key[0] | {"Content-Type": "image/png"}
    own = demo.post(PREDICT, content=photo, headers={"Content-Type": "image/png"}).json()["predictions"][0]
    v1 = served.post(PREDICT, content=photo, headers=headers).json()["predictions"][0]
    assert v1["predictions"][0]["class_name"] == "tiger cat"
    assert [each["class_id"] for each in v1["predictions"]] == [each["class_id"] for each in own["predictions"]]
    assert np.allclose(v1["confidence_scores"], own["confidence_scores"], atol=1e-6)

    outputs = [{"name": name} for name in ("class_id", "logits")]
    query = pb.ModelInferRequest(
        model_name="cats",
        inputs=[{"name": "image", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [photo]}}],
        outputs=outputs,
    )
    answers = []
    for server in (served, demo):
        with grpc.insecure_channel(server.grpc) as channel:
            infer = channel.unary_unary(
                f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
            )
            answers.append(infer(query, metadata=[("x-api-key", key[0]["X-API-Key"])], timeout=PATIENCE_S))
    ours, theirs = (answer.outputs[1].contents.fp32_contents for answer in reversed(answers))
    assert np.allclose(ours, theirs, atol=1e-4)
    v2 = served.post(INFER, content=photo, headers=headers)
    assert v2.status_code == 200
    described = httpx.get(served.url + "/v2/models/cats", headers=key[0], timeout=PATIENCE_S).json()
    assert described["platform"] == "moorage_torchserve"


def test_it_stands_behind_the_predictors_own_access_and_checks(served, key):
    assert served.post(PREDICT, json={"instances": []}).status_code == 401
    answer = served.post(PREDICT, json={"instances": [{"b64": "bm8gcGhvdG8="}]}, headers=key[0])
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IMAGE")


def test_nothing_of_it_listens_off_loopback_and_its_sockets_are_its_users_alone(served):
    processes = [psutil.Process(served.process.pid), *below(served)]
    assert len(processes) >= 3
    for process in processes:
        listening = [each for each in process.connections(kind="tcp") if each.status == psutil.CONN_LISTEN]
        assert {each.laddr.ip.removeprefix("::ffff:") for each in listening} <= {"127.0.0.1"}
        assert not process.connections(kind="udp")
        for name in {each.laddr for each in process.connections(kind="unix")} - {"", None}:
            assert Path(name).is_relative_to(folder_of(served).parent), name
    assert stat.S_IMODE(folder_of(served).stat().st_mode) == 0o700


def test_its_configuration_and_its_model_store_are_read_only(served):
    folder = folder_of(served)
    for name in ("config", "store"):
        paths = [folder / name, *(folder / name).iterdir()]
        assert len(paths) >= 2
        assert not [path for path in paths if path.stat().st_mode & 0o222]
    assert [path.name for path in (folder / "store").iterdir()] == ["cats.mar"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ping"),
        ("POST", "/predictions/cats"),
        ("GET", "/models"),
        ("POST", "/models?url=https://example.com/a.mar"),
        ("DELETE", "/models/cats"),
        ("GET", "/metrics"),
        ("GET", "/token?type=inference"),
    ],
)
def test_who_reaches_it_all_the_same_has_not_the_token_that_it_asks_for(served, method, path):
    for name in ("i.sock", "m.sock"):
        transport = httpx.HTTPTransport(uds=str(folder_of(served) / "work" / name))
        with httpx.Client(transport=transport, base_url="http://torchserve", timeout=PATIENCE_S) as client:
            assert client.request(method, path).status_code in (400, 404, 405)
    assert not (folder_of(served) / "work" / "key_file.json").exists()


@pytest.mark.parametrize(
    "call",
    [
        "inference.InferenceAPIsService/Predictions",
        "inference.InferenceAPIsService/Ping",
        "management.ManagementAPIsService/ListModels",
        "management.ManagementAPIsService/RegisterModel",
    ],
)
def test_the_same_over_grpc(served, call):
    java = one_with(served, "org.pytorch.serve.ModelServer")
    ports = [each.laddr.port for each in java.connections(kind="tcp") if each.status == psutil.CONN_LISTEN]
    assert len(ports) == 2
    said = set()
    for port in ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary(f"/org.pytorch.serve.grpc.{call}", lambda body: body, lambda body: body)
            with pytest.raises(grpc.RpcError) as error:
                ask(b"", timeout=PATIENCE_S)
            said.add(error.value.code())
    assert said <= {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}
    assert grpc.StatusCode.PERMISSION_DENIED in said


def test_it_is_not_given_the_predictors_credentials(served):
    for process in below(served):
        assert "MOORAGE_TEST_SECRET" not in process.environ()


def test_when_it_dies_the_model_is_not_ready_until_another_has_taken_its_place(served, key, photos):
    photo = (photos / "chelsea.png").read_bytes()
    before = one_with(served, "org.pytorch.serve.ModelServer")
    before.send_signal(signal.SIGKILL)
    served.until(READY, 503)
    answer = served.post(PREDICT, content=photo, headers=key[0] | {"Content-Type": "image/png"})
    assert answer.status_code in (200, 503)
    served.until(READY)
    assert one_with(served, "org.pytorch.serve.ModelServer").pid != before.pid
    answer = served.post(PREDICT, content=photo, headers=key[0] | {"Content-Type": "image/png"})
    assert answer.status_code == 200


def test_when_it_hangs_another_takes_its_place(served, key, photos):
    photo = (photos / "chelsea.png").read_bytes()
    before = one_with(served, "org.pytorch.serve.ModelServer")
    before.send_signal(signal.SIGSTOP)
    served.until(READY, 503)
    before.wait(PATIENCE_S)
    served.until(READY)
    answer = served.post(PREDICT, content=photo, headers=key[0] | {"Content-Type": "image/png"})
    assert answer.status_code == 200


def test_a_model_that_is_unloaded_leaves_no_process_and_no_copy_of_its_weights(served, key):
    java, folder = one_with(served, "org.pytorch.serve.ModelServer"), folder_of(served)
    assert served.post("/v2/repository/models/cats/unload", headers=key[0]).status_code == 200
    java.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert served.post("/v2/repository/models/cats/load", headers=key[0]).status_code == 200
    served.until(READY)
    assert folder_of(served) != folder


def test_a_worker_that_dies_is_replaced(served, key, photos):
    photo = (photos / "chelsea.png").read_bytes()
    one_with(served, "model_service_worker").send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = served.post(PREDICT, content=photo, headers=key[0] | {"Content-Type": "image/png"})
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 200 and served.get(READY).status_code == 200:
            return
        time.sleep(0.2)
    raise AssertionError(served.stderr())


def test_it_ends_with_the_predictor_even_if_that_is_killed(served):
    processes = below(served)
    assert len(processes) >= 2
    os.kill(served.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


def test_weights_that_cannot_be_loaded_end_the_predictor_with_the_reason(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    predictor = Predictor(model_dir=str(tmp_path), architecture="timm/resnet18", runtime="torchserve")
    try:
        assert predictor.exit_code() == 2
        assert "model.safetensors" in json.dumps(predictor.stderr())
    finally:
        predictor.close()
