"""The load client against a real server on loopback."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bench.harness import http_files, paths
from bench.harness.launch import Dialect

pytestmark = [
    pytest.mark.skipif(shutil.which("go") is None, reason="the load client is built with Go"),
    pytest.mark.timeout(240, func_only=True),
]
DIALECT = Dialect("/echo", lambda value: value, json.loads)


class Echo(BaseHTTPRequestHandler):
    """Answers with its body; a body of "slow" takes 50 ms, one of "bad" is a 400."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b'"slow"':
            time.sleep(0.05)
        self.send_response(400 if body == b'"bad"' else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the client's program; Go's own cache makes the second build quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.CACHE_VARIABLE, str(tmp_path_factory.mktemp("bench")))
        yield


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/echo"
        server.shutdown()
        thread.join()


def test_every_answer_is_compared_with_the_file_that_was_sent(url: str, tmp_path: Path) -> None:
    bodies = [b'"a"', b'"b"', b'"c"']
    wanted = ["a", "b", "c"]
    target = http_files.Target(url, DIALECT, bodies, lambda n, found: None if found == wanted[n] else found)
    load = http_files.run(target, tmp_path, 0.3, connections=4)
    assert load.is_valid
    assert load.checked == load.requests > len(bodies)


def test_a_wrong_answer_is_counted_and_named(url: str, tmp_path: Path) -> None:
    target = http_files.Target(url, DIALECT, [b'"a"'], lambda n, found: f"found {found}")
    load = http_files.run(target, tmp_path, 0.1, connections=1)
    assert load.wrong == load.requests > 0
    assert load.first_wrong == "file 0: found a"


def test_an_answer_that_cannot_be_read_is_wrong(url: str, tmp_path: Path) -> None:
    target = http_files.Target(url, DIALECT, [b"no JSON"], lambda n, found: None)
    assert "JSONDecodeError" in http_files.run(target, tmp_path, 0.1, connections=1).first_wrong


def test_another_status_is_a_failure(url: str, tmp_path: Path) -> None:
    target = http_files.Target(url, DIALECT, [b'"bad"'], lambda n, found: None)
    load = http_files.run(target, tmp_path, 0.1, connections=1)
    assert load.failed == load.requests > 0
    assert load.first_wrong == '400 "bad"'


def test_an_open_loop_does_not_wait_for_answers(url: str, tmp_path: Path) -> None:
    target = http_files.Target(url, DIALECT, [b'"slow"'], lambda n, found: None)
    load = http_files.run(target, tmp_path, 1.0, rate=40)
    assert load.requests == 40


def test_in_an_open_loop_the_time_in_the_clients_queue_counts(url: str, tmp_path: Path) -> None:
    target = http_files.Target(url, DIALECT, [b'"slow"'], lambda n, found: None)
    load = http_files.run(target, tmp_path, 0.5, rate=80, connections=1)  # four times what one connection can do
    assert load.p99_ms > 500


def test_of_every_nth_answer_the_content_is_compared(url: str, tmp_path: Path) -> None:
    target = http_files.Target(url, DIALECT, [b'"a"'], lambda n, found: None)
    load = http_files.run(target, tmp_path, 0.5, rate=40, keep=10)
    assert (load.requests, load.checked) == (20, 2)
