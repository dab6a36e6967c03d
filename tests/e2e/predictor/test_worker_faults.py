"""Workers that die, stand still, hang, or end again and again: who notices, and what clients see."""

import os
import signal
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from moorage.api.exit_codes import ExitCode

MODEL = textwrap.dedent(
    """
    import os, signal, time
    import numpy as np

    class Model:
        inputs = [{"name": "seconds", "datatype": "FP32", "shape": [-1]}]

        def predict(self, inputs):
            seconds = float(inputs["seconds"][0])
            if seconds < 0:
                os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(seconds)
            return {"pid": np.array([os.getpid()], dtype=np.int64)}
    """
)
INFER, READY = "/v2/models/cats/infer", "/v2/models/cats/ready"
PATIENCE_S = 60


@pytest.fixture
def serve(start, tmp_path):
    """Starts a predictor and waits for all of its workers."""
    file = tmp_path / "model.py"
    file.write_text(MODEL)

    def run(workers: int = 2, **options: object):
        return start(task=f"{file}:Model", workers=workers, **options).until_all_ready()

    return run


def ask(predictor, seconds: float = 0.0) -> httpx.Response:
    """Over a connection of its own, so that any worker may get it."""
    return httpx.post(predictor.url + INFER, json=body_of(seconds), timeout=PATIENCE_S)


def body_of(seconds: float) -> dict[str, object]:
    return {"inputs": [{"name": "seconds", "datatype": "FP32", "shape": [1], "data": [seconds]}]}


def found_quick(client) -> None:
    """The model behind this connection runs on its server's event loop from now on."""
    for _ in range(100):
        assert client.post(INFER, json=body_of(0)).status_code == 200


def pid_of(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0]


def workers_of(predictor) -> set[int]:
    children = psutil.Process(predictor.process.pid).children()
    return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}


def until_answered_by(predictor, others: set[int]) -> set[int]:
    """Who answers, once somebody does who was not there before. Requests that a dying worker took do not count."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            answered = {pid_of(ask(predictor)) for _ in range(10)}
        except httpx.TransportError:
            continue
        if answered - others:
            return answered
        time.sleep(0.1)
    raise AssertionError(f"nobody new answers: {predictor.stderr()}")


def test_a_worker_that_is_killed_takes_only_its_own_requests_with_it(serve):
    predictor = serve()
    before = workers_of(predictor)
    victim = min(before)
    answers: dict[int, list[object]] = {pid: [] for pid in before}
    stop = threading.Event()

    def client() -> None:
        """On one connection, which is one worker's."""
        body = {"inputs": [{"name": "seconds", "datatype": "FP32", "shape": [1], "data": [0.02]}]}
        with httpx.Client(base_url=predictor.url, timeout=PATIENCE_S) as connection:
            mine = pid_of(connection.post(INFER, json=body))
            while not stop.is_set():
                try:
                    answers[mine].append(connection.post(INFER, json=body).status_code)
                except httpx.TransportError as error:
                    answers[mine].append(error)
                    return

    clients = [threading.Thread(target=client) for _ in range(12)]
    for each in clients:
        each.start()
    while not all(len(got) > 5 for got in answers.values()):
        time.sleep(0.02)
    os.kill(victim, signal.SIGKILL)
    after = until_answered_by(predictor, before)
    stop.set()
    for each in clients:
        each.join()
    (survivor,) = before - {victim}
    assert set(answers[survivor]) == {200}
    assert any(isinstance(answer, httpx.TransportError) for answer in answers[victim])
    assert victim not in after


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGSEGV])
def test_a_worker_that_stands_still_or_crashes_is_replaced(serve, number):
    predictor = serve(worker_timeout_s=2)
    before = workers_of(predictor)
    os.kill(min(before), number)
    assert min(before) not in until_answered_by(predictor, before)
    assert workers_of(predictor) & before == {max(before)}
    words = "gives no sign of life" if number == signal.SIGSTOP else "a worker ended"
    assert predictor.until_logged(words)


def test_a_forward_pass_that_is_longer_than_the_time_for_signs_of_life_is_answered(serve):
    predictor = serve(worker_timeout_s=1)
    before = workers_of(predictor)
    assert pid_of(ask(predictor, 4)) in before
    assert workers_of(predictor) == before


def test_a_model_that_was_quick_may_take_long_on_the_event_loop_once(serve):
    """After so many quick calls a model runs on the loop itself, which then stands still for as long as a call does."""
    predictor = serve(worker_timeout_s=1)
    before = workers_of(predictor)
    with httpx.Client(base_url=predictor.url, timeout=PATIENCE_S) as client:
        found_quick(client)
        assert client.post(INFER, json=body_of(4)).status_code == 200
    assert workers_of(predictor) == before


def test_a_worker_whose_model_hangs_says_so_answers_503_and_is_replaced(serve):
    predictor = serve(forward_timeout_s=2)
    before = workers_of(predictor)
    answer = ask(predictor, 300)
    assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_NOT_READY")
    assert answer.headers["connection"] == "close"
    until_answered_by(predictor, before)
    assert predictor.until_logged("the model cats has answered nothing for 2 s")
    assert len(workers_of(predictor) & before) == 1


def test_a_single_process_whose_model_hangs_ends_with_code_1_and_the_reason(serve, tmp_path):
    predictor = serve(workers=1, forward_timeout_s=2, termination_log=str(tmp_path / "reason"))
    assert ask(predictor, 300).status_code == 503
    assert predictor.exit_code() == ExitCode.INTERNAL
    assert "the model cats has answered nothing" in (tmp_path / "reason").read_text()
    assert "Traceback" not in predictor.stderr()


def test_a_single_process_whose_quick_model_hangs_ends_with_code_1_and_the_reason(serve, tmp_path):
    predictor = serve(workers=1, forward_timeout_s=2, termination_log=str(tmp_path / "reason"))
    with httpx.Client(base_url=predictor.url) as client:
        found_quick(client)
    with pytest.raises(httpx.TransportError):
        ask(predictor, 300)
    assert predictor.exit_code() == ExitCode.INTERNAL
    assert "the model cats has answered nothing" in (tmp_path / "reason").read_text()


def test_a_single_process_whose_quick_model_hangs_ends_when_it_is_told_to(serve):
    predictor = serve(workers=1, shutdown_grace_s=0)
    with httpx.Client(base_url=predictor.url) as client:
        found_quick(client)
    with ThreadPoolExecutor() as threads:
        hanging = threads.submit(ask, predictor, 300)
        time.sleep(0.5)
        predictor.process.terminate()
        assert predictor.exit_code() == ExitCode.UNFINISHED
        assert isinstance(hanging.exception(), httpx.TransportError)
    assert "not at an end 4 s after it was told to stop" in predictor.stderr()


def test_a_worker_that_ends_again_and_again_makes_the_others_not_ready_with_the_reason_while_they_answer(serve):
    predictor = serve()
    deadline = time.monotonic() + PATIENCE_S
    answer = predictor.get(READY)
    while answer.status_code == 200:
        assert time.monotonic() < deadline
        for process in workers_of(predictor):
            if process != min(workers_of(predictor)):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.2)
        try:
            answer = predictor.get(READY)
        except httpx.TransportError:
            continue
    assert answer.status_code == 503
    assert "ended 3 times in a row, with signal 9" in answer.json()["error"]
    assert predictor.get("/v2/health/live").status_code == 200
    assert ask(predictor).status_code == 200
    predictor.process.terminate()
    assert predictor.exit_code() == ExitCode.OK


def test_workers_told_to_stop_finish_what_they_have_and_a_second_signal_changes_nothing(serve):
    predictor = serve(drain_delay_s=1)
    answers: list[int] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(predictor, 2).status_code)) for _ in range(6)]
    for client in clients:
        client.start()
    time.sleep(0.3)
    for number in (signal.SIGTERM, signal.SIGINT) * 50:
        predictor.process.send_signal(number)
    answer = predictor.until(READY, 503)
    assert answer.json()["error"] == "the model cats is stopping"
    for client in clients:
        client.join()
    assert answers == [200] * 6
    assert predictor.exit_code() == ExitCode.OK
