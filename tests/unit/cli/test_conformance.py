"""The suite itself: are its cases what the vocabulary says, and does it see right and wrong answers for what they are."""

import gzip
import json
import re
import struct
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.conformance import SECTIONS, Case, Target, cases, run_case
from moorage.cli.conformance.catalog import fill, sections
from moorage.cli.conformance.expectation import difference
from moorage.cli.conformance.http import Reply
from moorage.cli.conformance.matching import error_text, insides, unlike
from moorage.cli.conformance.rendering import message, value, zeros
from moorage.cli.conformance.rpc import RpcReply
from moorage.cli.conformance.tensors import TensorError, from_json, pack
from moorage.cli.conformance.vocabulary import WORDS, Expect, Request, Tensor
from moorage.cli.main import main

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "check-a-server.md"
X = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, -0.0]}


class Handler(BaseHTTPRequestHandler):
    """A server that is alive, echoes tensors in JSON, and makes the mistakes that its paths name."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answers: dict[str, Any] = {
            "/v2/health/live": {"live": True},
            "/v2": {"name": "s", "version": "1", "extensions": ["known"]},
            "/v2/models/echo": {"inputs": [{"name": "x", "datatype": "INT8", "shape": [-1, 2]}], "versions": ["3"]},
        }
        self.answer(200 if self.path in answers else 404, answers.get(self.path, {"error": "no such path"}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/leak":
            self.answer(400, {"error": "KeyError: 'x' in /usr/lib/python3/x.py"})
        elif self.path == "/forbidden":
            self.answer(403, {"error": "off"})
        else:
            self.answer(200, {"model_name": "echo", "outputs": json.loads(body)["inputs"]})

    def answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=lambda: made.serve_forever(0.01), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def target(server: ThreadingHTTPServer) -> Target:
    return Target(f"http://127.0.0.1:{server.server_port}", identity="echo")


def case(**changes: Any) -> Case:
    given = {
        "id": "a-case",
        "says": "A server must do it.",
        "level": "required",
        "reference": "the protocol",
        "section": "server",
        "request": {"path": "/v2"},
        "expect": {"status": 200},
    }
    return Case.model_validate(given | changes)


def moor(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["moor", "conformance", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


# The cases


@pytest.mark.timeout(20)
def test_every_case_is_one_sentence_with_a_reference_of_its_own() -> None:
    for each in cases():
        assert each.says.endswith("."), each.id
        assert not re.search(r"\{(?!model\}|version\}|identity\}|\"error\")", each.says), f"{each.id}: {each.says}"
        assert each.reference, each.id


@pytest.mark.timeout(20)
def test_every_section_has_cases_and_a_title() -> None:
    assert list(sections()) == list(SECTIONS)
    assert {each.section for each in cases()} == set(SECTIONS)


@pytest.mark.timeout(20)
def test_every_case_can_be_rendered() -> None:
    words = {"model": "m", "identity": "m", "version": "1"}
    some = (zeros({"name": "x", "datatype": "FP32", "shape": [-1]}),)
    for each in cases():
        if each.request and each.request.steps is None and each.request.inflate_to is None:
            written = fill(each.request.model_dump(by_alias=True, exclude_unset=True), words)
            assert message(Request.model_validate(written), some).method


@pytest.mark.timeout(20)
def test_a_case_of_a_control_endpoint_puts_back_what_it_changed() -> None:
    for each in cases():
        changes = any("unload" in str(sent) for sent in (each.before, each.request, each.call) if sent)
        if changes and "unknown" not in each.id and each.level != "strict":
            assert each.after or "/load" in str(each.request), each.id


# The vocabulary


@pytest.mark.parametrize(
    "wrong",
    [
        {"expectation": {}},
        {"id": "Not Kebab"},
        {"level": "nice"},
        {"expect": {}},
        {"expect": {"status": 200, "code": "OK"}},
        {"expect": {"code": "OK"}},
        {"request": None},
        {"call": {"method": "ServerLive"}},
        {"request": {"path": "/v2", "bodi": {"text": "x"}}},
        {"request": {"path": "/v2", "body": {"text": "x", "hex": "00"}}},
        {"request": {"path": "/v2", "body": {}}},
    ],
)
def test_a_case_outside_the_vocabulary_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        case(**wrong)


def test_a_word_alone_becomes_its_value_and_a_word_in_a_text_its_text() -> None:
    words = {"data": [1, 2], "what": "here"}
    assert fill({"a": "{data}", "b": ["it is {what}"], "c": "{unknown} {data}"}, words) == {
        "a": [1, 2],
        "b": ["it is here"],
        "c": "{unknown} [1, 2]",
    }


def test_the_how_to_explains_every_word() -> None:
    page = PAGE.read_text()
    missing = [
        row
        for word in WORDS
        for name, field in word.model_fields.items()
        if (row := f"| `{field.alias or name}` | {(field.description or '').replace('|', chr(92) + '|')} |") not in page
    ]
    assert missing == []


# Tensors and bodies


def test_a_tensor_is_the_same_only_bit_for_bit() -> None:
    sent = value(Tensor(name="x", datatype="FP32", data=[1.5, -0.0]))
    assert sent.unlike(from_json(X, None)) is None
    assert "bytes" in str(sent.unlike(from_json(X | {"data": [1.5, 0.0]}, None)))
    assert "shape" in str(sent.unlike(from_json(X | {"shape": [2, 1]}, None)))
    assert "datatype" in str(sent.unlike(from_json(X | {"datatype": "FP64"}, None)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": [3]},
        {"shape": [True, 2]},
        {"data": None},
        {"data": [True, False]},
        {"datatype": "INT8"},
        {"datatype": "NO"},
        {"name": 1},
        {"datatype": "BYTES"},
    ],
)
def test_an_output_of_another_form_is_no_tensor(wrong: dict[str, Any]) -> None:
    with pytest.raises(TensorError):
        from_json(X | wrong, None)


def test_texts_are_packed_with_their_lengths() -> None:
    assert pack("BYTES", ["a", "", {"hex": "fffe"}]) == b"\1\0\0\0a" + b"\0\0\0\0" + b"\2\0\0\0\xff\xfe"


def test_bytes_follow_the_json_in_the_order_of_the_inputs() -> None:
    tensors = [
        {"name": "a", "datatype": "INT16", "data": [1], "binary": True},
        {"name": "b", "data": [2]},
        {"name": "c", "datatype": "UINT8", "data": [3], "binary": True},
    ]
    sent = message(Request.model_validate({"body": {"infer": {"inputs": tensors}}}), ())
    length = int(sent.headers["Inference-Header-Content-Length"])
    sizes = [each.get("parameters") for each in json.loads(sent.body[:length])["inputs"]]
    assert sizes == [{"binary_data_size": 2}, None, {"binary_data_size": 1}]
    assert sent.body[length:] == struct.pack("<hB", 1, 3)


@pytest.mark.parametrize(("encoding", "undo"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_body_that_inflates_far_is_valid_and_small(encoding: str, undo: Any) -> None:
    request = Request.model_validate({"compress": encoding, "inflate_to": 2**24, "body": {"json": {"a": 1}}})
    sent = message(request, ()).body
    assert len(sent) < 2**16
    inflated = undo(sent)
    assert len(inflated) >= 2**24
    assert json.loads(inflated) == {"a": 1}


def test_a_request_follows_the_models_metadata() -> None:
    assert value(zeros({"name": "x", "datatype": "INT16", "shape": [-1, 2]})).data == b"\0\0\0\0"
    assert zeros({"name": "x", "datatype": "BYTES", "shape": [1]}).data == [""]
    assert zeros({"name": "x", "datatype": "FP16", "shape": [1]}).binary


# What is right and what is wrong


@pytest.mark.parametrize(
    ("matcher", "found"),
    [
        ({"a": "<text>"}, {"a": "x", "more": 1}),
        ({"a": [1, "<integer>"]}, {"a": [1, 2]}),
        ({"$every": {"n": "<number>"}}, [{"n": 1}, {"n": 0.5}]),
        ({"$contains": 2}, [1, 2]),
        ({"$any": [1, None]}, None),
        ({"$absent": "id"}, {}),
        ({"$least": 1}, 3),
        ("<boolean>", False),
    ],
)
def test_a_matcher_takes_what_it_says(matcher: Any, found: Any) -> None:
    assert unlike(matcher, found) is None


@pytest.mark.parametrize(
    ("matcher", "found"),
    [
        ({"a": "<text>"}, {"a": " "}),
        ({"a": 1}, {}),
        ({"a": 1}, {"a": True}),
        ([1], [1, 2]),
        ("<integer>", True),
        ("<integer>", 1.0),
        ({"$every": "<text>"}, ["a", 1]),
        ({"$every": "<text>"}, "a"),
        ({"$contains": 3}, [1, 2]),
        ({"$absent": "id"}, {"id": None}),
        ({"$least": 1}, 0),
        ({"$least": 0}, True),
    ],
)
def test_a_matcher_refuses_what_it_does_not_say(matcher: Any, found: Any) -> None:
    assert unlike(matcher, found)


def test_an_error_is_an_object_with_a_text() -> None:
    assert error_text(b'{"error": "no such model"}') == "no such model"
    for other in (b'{"detail": "Not Found"}', b'{"error": ""}', b'{"error": {"a": 1}}', b'["error"]', b"error", b""):
        assert error_text(other) is None


@pytest.mark.parametrize(
    "text",
    [
        'Traceback (most recent call last):\n  File "x"',
        "KeyError : 'instances'",
        "argument of type 'NoneType' is not iterable",
        "<class 'AttributeError'>",
        "cannot open /usr/lib/model.bin",
        "in server.py",
    ],
)
def test_a_message_that_shows_the_inside_is_found(text: str) -> None:
    assert insides(text)


def test_a_message_that_names_a_path_of_the_protocol_shows_nothing() -> None:
    assert insides("no such path: /v2/models/x; expected FP32 or Error, found 'a' at 1.py") is not None
    assert insides("no such path: /v2/models/x/versions/3; expected a number, found an object") is None


def test_an_answer_in_bytes_is_taken_apart() -> None:
    head = json.dumps(
        {"outputs": [{"name": "x", "datatype": "INT8", "shape": [2], "parameters": {"binary_data_size": 2}}]}
    )
    reply = Reply(200, 0.1, {"inference-header-content-length": str(len(head))}, head.encode() + b"\1\2")
    expect = Expect.model_validate({"status": 200, "tensors": [{"datatype": "INT8", "data": [1, 2]}], "binary": ["x"]})
    assert difference(expect, None, reply, ()) is None
    wrong = Expect.model_validate({"status": 200, "tensors": [{"datatype": "INT8", "data": [1, 3]}]})
    assert "bytes 0102 instead of 0103" in str(difference(wrong, None, reply, ()))
    with pytest.raises(TensorError, match="1 bytes follow"):
        difference(expect, None, Reply(200, 0.1, reply.headers, reply.body + b"\3"), ())


@pytest.mark.parametrize(
    ("expect", "reply", "said"),
    [
        ({"status": "4xx"}, Reply(404, 0.1), None),
        ({"status": [413, "closed"]}, Reply(None, 0.1, closed=True), None),
        ({"status": 413}, Reply(None, 0.1, closed=True), "closed without an answer"),
        ({"status": [413, "closed"]}, Reply(None, 0.1), "no answer"),
        ({"status": 408, "within_s": 10}, Reply(408, 14.0), "after 14.0 s"),
        ({"status": 400, "error": True}, Reply(400, 0.1, {}, b'{"detail": []}'), "not an object"),
        ({"status": 400, "error": True, "says": "pixels"}, Reply(400, 0.1, {}, b'{"error": "bad"}'), "it says"),
        ({"status": 200, "headers": {"X": "absent"}}, Reply(200, 0.1, {"x": "1"}), "X: 1"),
        ({"status": 200, "headers": {"X": "^1$"}}, Reply(200, 0.1), "absent"),
        ({"status": 200, "then": [[200]]}, Reply(200, 0.1), "1 answers"),
        ({"status": 200, "then": [[200, "closed"]]}, Reply(200, 0.1), None),
        ({"status": 200, "then": []}, Reply(200, 0.1, then=(Reply(200, 0.2),)), "2 answers"),
        ({"code": "OK", "answer": {"live": True}}, RpcReply("OK", "", {"live": True}), None),
        ({"code": "OK"}, RpcReply("INTERNAL", "broken"), "INTERNAL broken"),
        ({"code": "NOT_FOUND", "error": True}, RpcReply("NOT_FOUND", "<class 'X'>"), "a type of the program"),
    ],
)
def test_an_answer_is_compared_with_what_was_expected(expect: Any, reply: Any, said: str | None) -> None:
    found = difference(Expect.model_validate(expect), None, reply, ())
    assert (found is None) if said is None else (said in str(found))


# A real exchange


def test_a_server_that_echoes_passes(target: Target) -> None:
    request = {"body": {"infer": {"inputs": [{"datatype": "INT64", "data": [2**63 - 1]}]}}}
    result = run_case(case(request=request, expect={"status": 200, "echo": True, "outputs": ["x"]}), target)
    assert (result.outcome, result.found) == ("passed", "")


def test_a_request_from_metadata_is_echoed(target: Target) -> None:
    asked = case(request={"body": {"infer": {"from_metadata": True}}}, expect={"status": 200, "echo": True})
    assert run_case(asked, target).outcome == "passed"
    assert target.words == {"model": "echo", "identity": "echo", "version": "3"}


def test_an_error_that_shows_the_inside_fails(target: Target) -> None:
    asked = case(request={"method": "POST", "path": "/leak"}, expect={"status": 400, "error": True})
    result = run_case(asked, target)
    assert result.outcome == "failed"
    assert "it shows" in result.found


def test_a_server_that_answers_no_more_fails_whatever_it_said(target: Target, server: ThreadingHTTPServer) -> None:
    server.server_close()
    result = run_case(case(), target)
    assert result.outcome == "failed"
    assert "nobody takes connections" in result.found


def test_what_is_not_known_is_skipped_with_the_reason(server: ThreadingHTTPServer) -> None:
    bare = Target(f"http://127.0.0.1:{server.server_port}")
    assert run_case(case(request={"path": "/v2/models/{model}"}), bare).found == "needs --model NAME"
    assert run_case(case(request={"body": {"infer": {}}}), bare).found == "needs --identity NAME"
    assert run_case(case(slow=True), bare).outcome == "skipped"
    assert run_case(case(control=True), bare).outcome == "skipped"
    of_grpc = case(request=None, call={"method": "ServerLive"}, expect={"code": "OK"})
    assert run_case(of_grpc, bare).found == "needs --grpc HOST:PORT"


def test_an_extension_that_is_not_there_is_off_and_one_that_is_announced_fails(target: Target) -> None:
    missing = {"request": {"path": "/v2/nothing"}, "level": "extension"}
    assert run_case(case(extension="unknown", **missing), target).outcome == "off"
    assert run_case(case(extension="known", **missing), target).outcome == "failed"
    assert run_case(case(extension="unknown", probe={"path": "/v2"}, **missing), target).outcome == "off"


def test_an_extension_that_shows_by_its_probe_is_there(target: Target) -> None:
    asked = case(extension="silent", probe={"path": "/v2"}, request={"path": "/v2/nothing"})
    assert run_case(asked, target).outcome == "failed"


def test_a_control_endpoint_that_refuses_clearly_is_off(target: Target) -> None:
    asked = case(control=True, request={"method": "POST", "path": "/forbidden"})
    assert run_case(asked, target, control=True).outcome == "off"
    later = case(control=True, before={"method": "POST", "path": "/forbidden"})
    assert run_case(later, target, control=True).outcome == "off"


# The command


def test_the_command_ends_with_1_if_a_case_fails(
    target: Target, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moor(monkeypatch, target.url, "--case=server-live", "--case=server-metadata") == 0
    assert capsys.readouterr().out.endswith("2 cases: 2 passed, 0 failed, 0 off, 0 skipped\n")
    assert moor(monkeypatch, target.url, "--case=server-ready") == 1
    said = capsys.readouterr().out
    assert "failed server-ready\n" in said
    assert 'expected 200; found 404 {"error": "no such path"}' in said


def test_the_command_writes_json(
    target: Target, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moor(monkeypatch, target.url, "--case=server-ready", "--output=json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == {"passed": 0, "failed": 1, "off": 0, "skipped": 0}
    [result] = document["results"]
    assert (result["id"], result["outcome"], result["expected"]) == ("server-ready", "failed", "200")


def test_the_command_names_the_cases(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert moor(monkeypatch, "--list", "--section=health", "--level=required") == 0
    said = capsys.readouterr().out
    assert "health: Health." in said
    assert "  server-live  [required]  GET /v2/health/live is 200" in said
    assert "ready-of-an-unknown-model" not in said


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--model=other", "--model: http://127.0.0.1:{port} has no model 'other'"),
        ("--identity=other", "--identity: http://127.0.0.1:{port} has no model 'other'"),
        ("--model=a b", "--model: expected a name that stands in a URL as it is, found 'a b'"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(
    option: str, said: str, target: Target, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moor(monkeypatch, target.url, option) == 2
    assert capsys.readouterr().err == f"moor: {said.format(port=target.url.rpartition(':')[2])}\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "expected the server's URL"),
        (("127.0.0.1:8080",), 2, "expected http://HOST:PORT"),
        (("http://127.0.0.1:1", "--section=nothing"), 2, "--section: expected one of server, health"),
        (("http://127.0.0.1:1", "--case=nothing"), 2, "'nothing' is no case"),
        (("http://127.0.0.1:1", "--grpc=8081"), 2, "--grpc: expected HOST:PORT"),
        (("http://127.0.0.1:1", "--grpc=127.0.0.1"), 2, "--grpc: expected HOST:PORT"),
        (("http://127.0.0.1:1",), 3, "no server answers at http://127.0.0.1:1: 127.0.0.1:1: Connection refused"),
        (("http://nowhere.invalid:1",), 3, "no server answers at http://nowhere.invalid:1"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    words: tuple[str, ...], code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moor(monkeypatch, *words) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
