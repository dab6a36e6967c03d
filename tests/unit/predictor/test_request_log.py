"""Lines of the request log, and the ids in them."""

import json
import os
import select
import threading
import time

import pytest

from moorage_predictor.telemetry.request_ids import LONGEST, request_id
from moorage_predictor.telemetry.request_log import RequestLog, plain


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


def lines_of(reading: int, size: int = 1 << 20) -> list[dict[str, object]]:
    return [json.loads(line) for line in os.read(reading, size).splitlines()]


def test_a_line_has_the_time_and_what_is_known(pipe):
    reading, writing = pipe
    lost: list[int] = []
    log = RequestLog(writing, lost.append)
    log.write("mine", {"model": "cats", "status": 200})
    log.close()
    [line] = lines_of(reading)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "moorage.requests",
        "message": "request",
        "request_id": "mine",
        "model": "cats",
        "status": 200,
    }
    assert lost == []


def test_lines_are_written_without_anybody_closing_the_log(pipe):
    reading, writing = pipe
    log = RequestLog(writing, lambda lines: None)
    for number in range(3):
        log.write("mine", {"number": number})
        time.sleep(0.1)
    assert [line["number"] for line in lines_of(reading)] == [0, 1, 2]
    log.close()


def test_a_line_that_comes_while_others_are_being_written_is_written_too(pipe):
    reading, writing = pipe
    log = RequestLog(writing, lambda lines: None)
    sent = 2000  # more than a pipe holds
    for number in range(sent):
        log.write("mine", {"number": number})
    while select.select([], [writing], [], 0)[1]:  # until the log's thread waits for who reads
        time.sleep(0.01)
    log.write("mine", {"number": sent})
    found = b""
    while found.count(b"\n") <= sent and select.select([reading], [], [], 5)[0]:
        found += os.read(reading, 1 << 16)
    assert [json.loads(line)["number"] for line in found.splitlines()] == list(range(sent + 1))
    log.close()


def test_nothing_that_was_sent_can_begin_a_second_line(pipe):
    reading, writing = pipe
    log = RequestLog(writing, lambda lines: None)
    log.write("mine", {"path": plain('/v2/x\r\n{"status":200}\x1b[31m\u2028\x85')})
    log.close()
    [line] = lines_of(reading)
    assert line["path"] == '/v2/x??{"status":200}?[31m??'


def test_who_reads_too_slowly_delays_nobody_and_is_told_what_was_lost():
    reading, writing = os.pipe()
    lost: list[int] = []
    log = RequestLog(writing, lost.append)
    sent = 40_000  # 64 KiB of the pipe and 16,384 lines in memory hold half of it
    for number in range(sent):
        log.write("mine", {"number": number})
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(iter(lambda: os.read(reading, 1 << 16), b"")))
    reader.start()
    log.close()
    time.sleep(0.1)
    os.close(writing)
    reader.join(10)
    os.close(reading)
    numbers = [json.loads(line)["number"] for line in b"".join(found).splitlines()]
    assert len(numbers) + sum(lost) == sent
    assert sum(lost) > 0
    assert numbers == sorted(numbers)


def test_lines_that_nobody_can_take_are_counted():
    reading, writing = os.pipe()
    os.close(reading)
    lost: list[int] = []
    log = RequestLog(writing, lost.append)
    log.write("mine", {"model": "cats"})
    log.close()
    os.close(writing)
    assert lost == [1]


def test_an_id_of_the_caller_s_is_kept_if_it_can_be_told_as_it_is():
    assert request_id(b"7f0c.A-1:2/3+4=@_") == "7f0c.A-1:2/3+4=@_"
    assert request_id(b"x" * LONGEST) == "x" * LONGEST


@pytest.mark.parametrize("given", [None, b"", b"x" * (LONGEST + 1), b"a b", b"a\r\nb", b'"', b"\xff", "é".encode()])
def test_any_other_is_replaced_by_one_that_no_other_request_has(given):
    made = [request_id(given) for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(request_id(one.encode()) == one for one in made)
