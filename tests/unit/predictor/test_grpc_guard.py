"""Frames on their way through the guard, however the network cuts them: untouched, or one stream refused and no other."""

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.access.limits.addresses import vouched
from moorage.api.limits import RequestLimits
from moorage_predictor.wire.grpc_frames import address_of, frame, string
from moorage_predictor.wire.grpc_guard import Guard, _Client
from moorage_predictor.wire.grpc_inside import Inside

DATA, HEADERS, RST, SETTINGS, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 7, 8, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LIMITS = RequestLimits(max_body_bytes=20_000, max_header_bytes=2048)
BEGIN = PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 4, 1, b"h" * 30)


class Socket:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written = b""
        self.closed = False

    def write(self, data):
        self.written += data

    def writelines(self, parts):
        self.written += b"".join(parts)

    def close(self):
        self.closed = True

    abort = close

    def get_extra_info(self, name):
        return ("203.0.113.7", 5000)

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return len(self.written)

    def pause_reading(self):
        """Nothing to pause."""

    resume_reading = pause_reading


class Connection:
    """A client's connection whose server inside has sent its first frame."""

    def __init__(self, guard=None):
        guard = guard or Guard(None, LIMITS, share_port=False)
        self.outside, self.within = Socket(), Socket()
        self.client = _Client(guard)
        self.client.transport = self.outside
        self.client.address = address_of(self.outside)
        self.client._inside = self.inside = Inside(self.client)
        self.inside.transport = self.within
        self.settings = frame(SETTINGS, 0, 0, b"")
        self.inside.data_received(self.settings)

    def send(self, data, cuts=()):
        for piece in cut(data, cuts):
            self.client.data_received(piece)

    @property
    def told(self):
        """What the client got besides what the server inside sent: type, stream, payload."""
        return frames(self.outside.written[len(self.settings) :])


def cut(data, cuts):
    ends = sorted({number % (len(data) + 1) for number in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


def frames(data):
    found = []
    while data:
        size, kind, stream = int.from_bytes(data[:3], "big"), data[3], int.from_bytes(data[5:9], "big")
        found.append((kind, stream, data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def with_address(data):
    """The same frames as the server inside gets them: after each block of headers one field more."""
    passed = b""
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        one, data = data[:size], data[size:]
        if one[3] in (HEADERS, CONTINUATION) and one[4] & 4:
            field = b"\x00\x0ex-moorage-peer" + string(vouched("203.0.113.7").encode())
            one = one[:4] + bytes([one[4] & ~4]) + one[5:] + frame(CONTINUATION, 4, one[8], field)
        passed += one
    return passed


def message(stream, size, *, stated=None, compressed=0, ends=True, piece=7000):
    """The DATA frames of one gRPC message of so many bytes."""
    payload = bytes([compressed]) + struct.pack(">I", size if stated is None else stated) + bytes(size)
    pieces = [payload[start : start + piece] for start in range(0, len(payload), piece)]
    last = len(pieces) - 1
    return b"".join(frame(DATA, ends and number == last, stream, piece) for number, piece in enumerate(pieces))


CUTS = st.lists(st.integers(0, 100_000), max_size=40)


@given(CUTS, st.integers(0, 20_000), st.integers(0, 3000))
def test_what_is_within_the_limits_passes_untouched_with_the_address_of_who_connected(cuts, size, other):
    headers = frame(HEADERS, 0, 3, b"h") + frame(CONTINUATION, 0, 3, b"") + frame(CONTINUATION, 4, 3, b"")
    data = BEGIN + message(1, size) + headers + message(3, other) + frame(RST, 0, 3, bytes(4))
    connection = Connection()
    connection.send(data, cuts)
    assert connection.within.written == PREFACE + with_address(data[len(PREFACE) :])
    assert connection.told == []


@given(CUTS, st.integers(20_001, 50_000), st.booleans())
def test_a_message_that_is_too_large_is_refused_and_the_next_one_passes(cuts, size, honest):
    next_one = frame(HEADERS, 4, 3, b"h") + message(3, 100)
    connection = Connection()
    connection.send(BEGIN + message(1, size, stated=None if honest else 10) + next_one, cuts)
    passed = frames(connection.within.written[len(PREFACE) :])
    assert sum(len(payload) for kind, stream, payload in passed if (kind, stream) == (DATA, 1)) <= 20_005
    assert (RST, 1, struct.pack(">I", 8)) in passed
    assert connection.within.written.endswith(with_address(next_one))
    kinds = [(kind, stream) for kind, stream, _ in connection.told if kind != WINDOW]
    assert kinds == [(HEADERS, 1), (RST, 1)]
    assert any(b"expected at most 20000 bytes" in payload for _, _, payload in connection.told)


@given(CUTS, st.integers(20_001, 50_000))
def test_the_window_gets_back_every_byte_that_was_dropped(cuts, size):
    connection = Connection()
    connection.send(BEGIN + message(1, size), cuts)
    passed = sum(len(payload) for kind, _, payload in frames(connection.within.written[len(PREFACE) :]) if kind == DATA)
    given_back = sum(int.from_bytes(payload, "big") for kind, _, payload in connection.told if kind == WINDOW)
    assert passed + given_back == size + 5


def test_a_message_that_says_it_is_too_large_is_refused_before_any_of_it_passes():
    connection = Connection()
    connection.send(BEGIN + message(1, 0, stated=10**9, ends=False))
    assert not any(kind == DATA for kind, _, _ in frames(connection.within.written[len(PREFACE) :]))


@pytest.mark.parametrize(("size", "refused"), [(10_000, False), (17_000, True)])
def test_a_compressed_message_may_be_small_only(size, refused):
    connection = Connection()
    connection.send(BEGIN + message(1, size, compressed=1))
    assert bool(connection.told) is refused


def test_too_many_bytes_of_metadata_end_the_connection_with_a_reason():
    connection = Connection()
    connection.send(PREFACE + frame(HEADERS, 0, 1, bytes(1500)) + frame(CONTINUATION, 4, 1, bytes(1500)))
    assert [kind for kind, _, _ in connection.told] == [HEADERS, RST, GOAWAY]
    assert b"expected at most 2048 bytes" in connection.told[0][2]
    assert connection.outside.closed


def test_refusals_without_end_cost_a_bounded_number_of_streams():
    connection = Connection()
    connection.send(BEGIN)
    for number in range(1000):
        connection.send(message(2 * number + 1, 0, stated=10**9, ends=False))
    assert not connection.outside.closed
    assert len(connection.client._refused) <= 64


def test_a_client_that_does_not_read_its_refusals_is_cut_off():
    connection = Connection()
    connection.send(BEGIN + message(1, 0, stated=10**9, ends=False))
    for _ in range(100_000):
        connection.send(frame(DATA, 0, 1, b"x"))
    assert connection.outside.closed
    assert len(connection.outside.written) < 2**20 + 100


def test_a_stream_is_the_same_with_its_reserved_bit():
    connection = Connection()
    connection.send(BEGIN + message(1, 15_000, ends=False) + message(1 | 0x8000_0000, 15_000))
    assert (HEADERS, 1) in [(kind, stream) for kind, stream, _ in connection.told]


def test_what_the_server_has_answered_is_counted_no_further():
    connection = Connection()
    connection.send(BEGIN + message(1, 15_000, ends=False))
    connection.inside.data_received(frame(HEADERS, 5, 1, b"trailers"))
    assert not connection.client._counted


@given(CUTS)
def test_our_frames_never_go_out_inside_one_of_the_servers(cuts):
    connection = Connection()
    connection.send(BEGIN)
    answer = frame(HEADERS, 0, 3, b"a" * 50) + frame(CONTINUATION, 4, 3, b"b" * 20) + frame(DATA, 1, 3, b"c" * 99)
    pieces = cut(answer, cuts)
    for number, piece in enumerate(pieces):
        if number == len(pieces) // 2:
            connection.send(message(1, 0, stated=10**9, ends=False))
        connection.inside.data_received(piece)
    kinds = [kind for kind, _, _ in connection.told]
    theirs = [kind for kind, stream, _ in connection.told if stream == 3]
    assert theirs == [HEADERS, CONTINUATION, DATA]
    assert kinds.index(CONTINUATION) == kinds.index(HEADERS, kinds.index(CONTINUATION) - 1) + 1


def unfinished(stream, size):
    """The beginning of a call, and of its message."""
    head = b"\0" + size.to_bytes(4, "big")
    return frame(HEADERS, 4, stream, b"h" * 30) + frame(DATA, 0, stream, head + bytes(size - 10))


def test_messages_that_are_not_whole_are_held_up_to_a_sum_over_all_connections():
    guard = Guard(None, LIMITS.model_copy(update={"max_held_bytes": 50_000}), share_port=False)
    first, second = Connection(guard), Connection(guard)
    first.send(BEGIN + unfinished(3, 20_000) + unfinished(5, 20_000))
    second.send(BEGIN + unfinished(3, 20_000) + unfinished(5, 9_000))
    assert first.told == []
    assert [(kind, stream) for kind, stream, _ in second.told if kind != WINDOW] == [(HEADERS, 3), (RST, 3)]
    assert b"as many bytes of messages as it may" in second.outside.written
    assert guard.unfinished == 2 * 19_995 + 8_995
    first.send(frame(DATA, 1, 3, bytes(5)))  # whole
    first.send(frame(RST, 0, 5, bytes(4)))
    assert guard.unfinished == 8_995
    second.client.connection_lost(None)
    assert guard.unfinished == 0


def test_a_message_that_takes_too_long_ends_and_no_other():
    connection = Connection()
    connection.send(BEGIN + unfinished(3, 5_000))
    between = time.monotonic()
    connection.send(unfinished(5, 5_000))
    passed = len(connection.within.written)
    connection.client.end_late(between)
    assert [(kind, stream) for kind, stream, _ in connection.told] == [(HEADERS, 3), (RST, 3)]
    assert b"expected the whole message within 15.0191 s" in connection.outside.written
    assert frames(connection.within.written[passed:]) == [(RST, 3, (8).to_bytes(4, "big"))]
    connection.send(frame(DATA, 1, 3, bytes(5)) + frame(DATA, 1, 5, bytes(5)))
    assert frames(connection.within.written[passed:])[1:] == [(DATA, 5, bytes(5))]
    assert connection.client._guard.unfinished == 0


@pytest.mark.parametrize("rest", [frame(DATA, 0, 3, b"123")[:-1], frame(HEADERS, 0, 5, b"h")], ids=["data", "headers"])
def test_a_late_message_that_stopped_where_nothing_may_come_between_takes_its_connection_with_it_a_little_later(rest):
    connection = Connection()
    connection.send(BEGIN + unfinished(3, 5_000) + rest)
    connection.client.end_late(time.monotonic())
    assert not connection.outside.closed
    connection.client.end_late(time.monotonic() + 11)
    assert connection.outside.closed
