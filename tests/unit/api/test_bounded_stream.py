"""Log lines for a reader who may not read."""

import json
import os
from collections.abc import Iterator

import pytest

from moorage.api.bounded_stream import BoundedStream


@pytest.fixture
def pipe() -> Iterator[tuple[int, BoundedStream]]:
    reader, writer = os.pipe()
    yield reader, BoundedStream(writer)
    os.close(writer)
    os.close(reader)


def test_what_is_read_is_written_whole_and_in_order(pipe: tuple[int, BoundedStream]) -> None:
    reader, stream = pipe
    lines = [f"{number} " + "x" * 10_000 + "\n" for number in range(5)]
    for line in lines:
        stream.write(line)
    assert os.read(reader, 1 << 20).decode() == "".join(lines)


def test_who_does_not_read_keeps_nobody_waiting_and_is_told_how_much_was_lost(pipe: tuple[int, BoundedStream]) -> None:
    reader, stream = pipe
    for number in range(1000):  # would never come back
        stream.write(json.dumps({"number": number, "text": "x" * 1000}) + "\n")
    held = os.read(reader, 1 << 20).decode().splitlines()
    stream.write('{"number": "next"}\n')
    told, following = map(json.loads, os.read(reader, 1 << 20).decode().splitlines()[-2:])
    assert following == {"number": "next"}
    assert told["lines"] == pytest.approx(1000 - len(held), abs=1)


def test_a_reader_who_has_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    stream = BoundedStream(writer)
    os.close(reader)
    stream.write("a line\n")
    os.close(writer)
