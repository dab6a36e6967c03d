"""A stand-in for Java that hangs. In the place of TorchServe is a program that answers when it is first started, ends when it is
told to, and hangs when it is started again, as often as it is told."""

import sys
import textwrap
import threading
import time

import pytest
from tests.closing_line import note_not_real

from moorage_predictor.tasks.torchserve import configuration
from moorage_predictor.tasks.torchserve.process import Process

STAND_IN = """\
    #!{python}
    import http.server, json, os, pathlib, socketserver, sys, threading, time
    state = pathlib.Path({state!r})
    starts = len(list(state.glob("start-*")))
    (state / f"start-{{starts}}").touch()
    if 0 < starts <= {hangs}:
        time.sleep(600)

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = b'{{"num_classes": 3}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        do_GET = do_POST
        def address_string(self):
            return "socket"
        def log_message(self, *words):
            pass

    work = pathlib.Path({work!r})
    server = socketserver.ThreadingUnixStreamServer({socket!r}, Answers)
    server.daemon_threads = True
    (work / "key_file.json").write_text(json.dumps({{"inference": {{"key": "k"}}}}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not (state / f"end-{{starts}}").exists():
        time.sleep(0.02)
    os._exit(3)
"""


def until(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def make(tmp_path_factory, pytestconfig):
    note_not_real(pytestconfig, "a program that hangs in the place of TorchServe")
    made = []

    def process(hangs):
        state = tmp_path_factory.mktemp("state")
        layout = configuration.Layout(tmp_path_factory.mktemp("ts"))
        java = state / "java"
        said = {"python": sys.executable, "state": str(state), "hangs": hangs, "work": str(layout.work)}
        java.write_text(textwrap.dedent(STAND_IN).format(**said, socket=str(layout.socket)))
        java.chmod(0o700)
        made.append(Process(str(java), layout, "cats", 5.0, shortest_limit_s=1.0))
        return made[-1], state

    yield process
    for each in made:
        each.stop()


def test_a_later_start_that_hangs_is_given_up_and_tried_again(make, caplog):
    process, state = make(hangs=1)
    assert process.start(threading.Event()) == {"num_classes": 3}
    (state / "end-0").touch()
    until((state / "start-1").exists)
    assert not process.ready
    until(lambda: process.ready)
    assert (state / "start-2").exists()
    assert any("did not answer within" in str(getattr(record, "reason", "")) for record in caplog.records)
