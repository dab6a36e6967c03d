"""Lines of the request log, and the ids in them."""

import asyncio
import errno
import json
import os
import select
import threading

import pytest
from tests.closing_line import note_not_real

from moorage_predictor.telemetry.record import Record
from moorage_predictor.telemetry.request_ids import LONGEST, request_id
from moorage_predictor.telemetry.request_log import Common, RequestLog, plain

NOTHING = Common.of({})


def write(log: RequestLog, fields: dict[str, object], common: Common = NOTHING) -> None:
    record = Record()
    record.id, record.began = "mine", 1_000_000
    log.write(record, common, fields, 3_500_000)


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


def lines_of(reading: int, size: int = 1 << 20) -> list[dict[str, object]]:
    return [json.loads(line) for line in os.read(reading, size).splitlines()]


async def test_a_line_has_the_time_and_what_is_known(pipe):
    reading, writing = pipe
    lost: list[int] = []
    log = RequestLog(writing, lost.append)
    write(log, {"status": 200}, Common.of({"model": "cats"}))
    await log.close()
    [line] = lines_of(reading)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "moorage.requests",
        "message": "request",
        "request_id": "mine",
        "model": "cats",
        "status": 200,
        "duration_ms": 2.5,
    }
    assert lost == []


async def test_lines_are_written_without_anybody_closing_the_log(pipe):
    reading, writing = pipe
    log = RequestLog(writing, lambda lines: None)
    for number in range(3):
        write(log, {"number": number})
        await asyncio.sleep(0.1)
    assert [line["number"] for line in lines_of(reading)] == [0, 1, 2]
    await log.close()


async def test_a_line_that_comes_while_others_are_being_written_is_written_too(pipe):
    reading, writing = pipe
    log = RequestLog(writing, lambda lines: None)
    sent = 12_000  # more than the pipe holds
    for number in range(sent):
        write(log, {"number": number})
    while select.select([], [writing], [], 0)[1]:  # until the log waits for who reads
        await asyncio.sleep(0.01)
    write(log, {"number": sent})
    found = b""
    while found.count(b"\n") <= sent and await asyncio.to_thread(select.select, [reading], [], [], 5):
        found += os.read(reading, 1 << 16)
    assert [json.loads(line)["number"] for line in found.splitlines()] == list(range(sent + 1))
    await log.close()


async def test_nothing_that_was_sent_can_begin_a_second_line(pipe):
    reading, writing = pipe
    log = RequestLog(writing, lambda lines: None)
    write(log, {"path": plain('/v2/x\r\n{"status":200}\x1b[31m\u2028\x85')})
    await log.close()
    [line] = lines_of(reading)
    assert line["path"] == '/v2/x??{"status":200}?[31m??'


async def test_who_reads_too_slowly_delays_nobody_and_is_told_what_was_lost():
    reading, writing = os.pipe()
    lost: list[int] = []
    log = RequestLog(writing, lost.append)
    sent = 40_000  # 1 MiB of the pipe and 16,384 lines in memory hold not all of it
    for number in range(sent):
        write(log, {"number": number})
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(iter(lambda: os.read(reading, 1 << 16), b"")))
    reader.start()
    await log.close()
    await asyncio.sleep(0.1)
    os.close(writing)
    reader.join(10)
    os.close(reading)
    numbers = [json.loads(line)["number"] for line in b"".join(found).splitlines()]
    assert len(numbers) + sum(lost) == sent
    assert sum(lost) > 0
    assert numbers == sorted(numbers)


async def test_lines_that_nobody_can_take_are_counted():
    reading, writing = os.pipe()
    os.close(reading)
    lost: list[int] = []
    log = RequestLog(writing, lost.append)
    write(log, {"model": "cats"})
    await log.close()
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


async def test_a_file_gets_the_lines_as_well(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        log = RequestLog(file.fileno(), lambda lines: None)
        for number in range(3):
            write(log, {"number": number})
            await asyncio.sleep(0.06)
        write(log, {"number": 3})
        await log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2, 3]


async def test_a_terminal_that_takes_nothing_delays_nobody():
    reading, writing = os.openpty()
    log = RequestLog(writing, lambda lines: None)
    for number in range(1000):  # more than a terminal takes before somebody reads
        write(log, {"number": number})
    await asyncio.sleep(0.1)
    found = b""
    while found.count(b"\n") < 1000:
        found += await asyncio.to_thread(os.read, reading, 1 << 16)
    await log.close()
    assert [json.loads(line)["number"] for line in found.splitlines()] == list(range(1000))
    os.close(writing)
    os.close(reading)


async def test_a_pipe_of_an_older_kernel_is_written_to_in_a_thread(pipe, monkeypatch, pytestconfig):
    note_not_real(pytestconfig, "an older kernel's answer to pwritev")
    reading, writing = pipe

    def refuse(*_: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "pwritev", refuse)
    log = RequestLog(writing, lambda lines: None)
    write(log, {"number": 7})
    await log.close()
    assert [line["number"] for line in lines_of(reading)] == [7]
