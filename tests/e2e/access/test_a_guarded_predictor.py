"""A real predictor of two processes that asks for keys: hostile headers and bodies on the wire, changes while it serves, logs."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from tests.e2e.predictor.conftest import IDENTITY, MIB, Predictor
from tests.e2e.predictor.wire import Wire
from tests.unit.access.callers import made_key

from moorage.access.stores import write_file
from moorage.api.oip import SERVICE
from moorage.api.oip.open_inference_pb2 import ModelInferRequest, Tensor

INFER = "/v2/models/identity/infer"
BODY = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}
PATIENCE_S = 30


class Keys:
    def __init__(self, path):
        self.path = path
        self.stored = {}

    def add(self, key_id, **changes):
        key, self.stored[key_id] = made_key(key_id, **changes)
        write_file(self.path, list(self.stored.values()))
        return key


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    made = Keys(tmp_path_factory.mktemp("keys") / "keys.json")
    made.first = made.add("first")
    return made


@pytest.fixture(scope="module")
def predictor(keys):
    running = Predictor(**IDENTITY, workers=2, access_keys_file=str(keys.path), log_level="debug")
    try:
        until(running.until_ready(), keys.first, 200)  # the other process may still load when one is ready
        yield running
    finally:
        running.close()


def ask(predictor, key):
    """Over a new connection, so that either process may get it."""
    return httpx.post(predictor.url + INFER, json=BODY, headers={"x-api-key": key}, timeout=30).status_code


def until(predictor, key, status):
    """Both processes agree: twenty answers in a row."""
    deadline = time.monotonic() + PATIENCE_S
    agreed = 0
    while agreed < 20:
        agreed = agreed + 1 if ask(predictor, key) == status else 0
        assert time.monotonic() < deadline


def test_keys_come_and_go_in_both_processes_without_a_restart(predictor, keys):
    assert ask(predictor, keys.first) == 200
    second = keys.add("second")
    until(predictor, second, 200)
    keys.stored["second"] = keys.stored["second"].model_copy(update={"revoked": keys.stored["second"].created})
    write_file(keys.path, list(keys.stored.values()))
    until(predictor, second, 401)
    assert ask(predictor, keys.first) == 200


HOSTILE = {
    "nul": (b"mk_first_\0", (400,)),
    "bare carriage return": (b"mk_first_\rx-api-key: y", (400,)),
    "a second header by CRLF": (b"mk_first_x\r\nx-api-key: mk_first_y", (401,)),
    "one of 60,000 bytes": (b"mk_" + b"a" * 60_000, (401,)),
    "one of 1 MB": (b"mk_" + b"a" * 1_000_000, (431,)),
    "bytes that are no text": (b"mk_first_\xff\xfe", (401,)),
    "folded": (b"mk_first\r\n _x", (400, 401)),
    "empty": (b"", (401,)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_key_is_refused_and_the_server_goes_on(what, predictor, keys):
    value, expected = HOSTILE[what]
    with Wire(predictor.settings.http_port) as wire:
        wire.send(b"GET /v2/models/identity HTTP/1.1\r\nhost: a\r\nx-api-key: " + value + b"\r\n\r\n")
        assert wire.answer().status in expected
    assert ask(predictor, keys.first) == 200


@pytest.mark.parametrize("host", [b"evil/v2/health/live", b"/v2/health/live?", b"a@b:1/v2/health/live#", b"[::1"])
def test_a_host_that_is_none_opens_no_path(host, predictor):
    with Wire(predictor.settings.http_port) as wire:
        wire.send(b"GET /v2/models/identity HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")
        assert wire.answer().status == 400


@pytest.mark.parametrize("target", [b"/v2/models/identity", b"/v2/health/live%2F..%2F..%2Fmodels", b"//v2/health/live"])
def test_an_odd_target_opens_no_path(target, predictor):
    with Wire(predictor.settings.http_port) as wire:
        wire.send(b"GET " + target + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer().status == 401


def processes(predictor):
    return [psutil.Process(predictor.process.pid), *psutil.Process(predictor.process.pid).children(True)]


def memory(predictor):
    return sum(process.memory_info().rss for process in processes(predictor))


def most_memory(predictor):
    """That each process ever had."""
    found = [Path(f"/proc/{process.pid}/status").read_text() for process in processes(predictor)]
    return 1024 * sum(int(status.partition("VmHWM:")[2].split()[0]) for status in found)


def test_a_strangers_large_body_is_refused_before_it_comes_and_never_held(predictor):
    before = memory(predictor)
    head = (
        b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: a\r\nx-api-key: no\r\ncontent-length: %d\r\n\r\n" % (60 * MIB)
    )
    wires = [Wire(predictor.settings.http_port) for _ in range(4)]
    try:
        for wire in wires:
            wire.send(head)
            assert wire.answer().status == 401  # nothing of the body has been sent
        for wire in wires:
            for _ in range(60):
                if not wire.send(b"x" * MIB):
                    break
        assert memory(predictor) - before < 40 * MIB
    finally:
        for wire in wires:
            wire.__exit__()


def test_a_strangers_large_message_is_refused_before_it_comes_and_never_held(predictor, keys):
    def ask(key):
        tensor = Tensor(name="x", datatype="FP32", shape=[15 * MIB])
        request = ModelInferRequest(model_name="identity", inputs=[tensor], raw_input_contents=[bytes(60 * MIB)])
        with grpc.insecure_channel(predictor.grpc, [("grpc.max_receive_message_length", -1)]) as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            return call.with_call(request.SerializeToString(), metadata=[("x-api-key", key)], timeout=60)[1].code()

    before = most_memory(predictor)
    with ThreadPoolExecutor(4) as strangers:
        refused = [each.exception() for each in [strangers.submit(ask, "mk_no_no") for _ in range(12)]]
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAUTHENTICATED}

    assert most_memory(predictor) - before < 20 * MIB
    assert ask(keys.first) is grpc.StatusCode.OK  # and of a caller it is taken in
    assert most_memory(predictor) - before > 60 * MIB


def test_what_it_logs_holds_no_key(predictor, keys):
    secret = keys.first.rsplit("_", 1)[1]
    for headers in ({"x-api-key": keys.first[:-1]}, {"authorization": f"Bearer {keys.first}"}, {"cookie": keys.first}):
        httpx.post(predictor.url + INFER, content=b"{", headers=headers, timeout=30)
        httpx.get(predictor.url + "/v2/models/none", headers=headers, timeout=30)
    time.sleep(0.2)
    assert secret[:-1] not in predictor.stderr()
    assert "hmac" not in predictor.stderr()


def test_a_predictor_whose_keys_become_a_pipe_goes_on_and_ends_when_told_to(tmp_path):
    keys = Keys(tmp_path / "keys.json")
    first = keys.add("first")
    running = Predictor(**IDENTITY, access_keys_file=str(keys.path))
    try:
        running.until_ready()
        keys.path.unlink()
        os.mkfifo(keys.path)
        deadline = time.monotonic() + PATIENCE_S
        while "keys.json: cannot be read: not a regular file" not in running.stderr():
            assert ask(running, first) == 200
            assert time.monotonic() < deadline
        assert ask(running, "mk_first_no") == 401
        running.process.terminate()
        assert running.exit_code() == 0
    finally:
        running.close()


def test_a_predictor_whose_keys_cannot_be_read_says_so_and_ends(tmp_path):
    (tmp_path / "keys.json").write_text("{")
    running = Predictor(**IDENTITY, access_keys_file=str(tmp_path / "keys.json"))
    try:
        assert running.exit_code() == 2
        assert "keys.json: expected JSON: line 1 is broken" in running.stderr()
    finally:
        running.close()
