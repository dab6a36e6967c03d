"""The body of a request, within its limits."""

import asyncio
import gzip
import zlib

import pytest

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput, Overloaded, PayloadTooLarge, UnsupportedEncoding
from moorage_predictor.wire.http.answers import ClientGoneError
from moorage_predictor.wire.http.body import BodyReader

LIMITS = RequestLimits(max_body_bytes=4096, max_inflated_bytes=8192, max_held_bytes=10_000)


def source(*pieces, gone=False):
    """An ASGI `receive` with these pieces."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if gone:
        messages.append({"type": "http.disconnect"})
    elif messages:
        messages[-1]["more_body"] = False
    left = iter(messages)

    async def receive():
        return next(left)

    return receive


async def read(*pieces, gone=False, reader=None, scope=None, **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return bytes(
        await (reader or BodyReader(LIMITS)).read({} if scope is None else scope, given, source(*pieces, gone=gone))
    )


async def test_pieces_are_put_together_with_and_without_a_length():
    assert await read(b"abc") == b"abc"
    assert await read(b"a", b"", b"bc") == b"abc"
    assert await read(b"a", b"bc", content_length="3") == b"abc"
    assert await read(b"", content_length="0") == b""


async def test_a_body_is_refused_before_a_byte_of_it_is_read_if_it_says_that_it_is_too_long():
    async def never():
        raise AssertionError("read")

    with pytest.raises(PayloadTooLarge, match=r"^the body: expected at most 4096 bytes, found 4097$"):
        await BodyReader(LIMITS).read({}, {"content-length": "4097"}, never)


async def test_a_body_is_cut_off_at_the_limit():
    assert len(await read(b"x" * 4096)) == 4096
    for pieces in ([b"x" * 4097], [b"x" * 4000, b"x" * 97]):
        with pytest.raises(PayloadTooLarge, match="the body: expected at most 4096 bytes, found"):
            await read(*pieces)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate"])
async def test_compressed_bodies_are_inflated(encoding):
    plain = b"abc" * 100
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "deflate": zlib.compress(plain),
        "raw deflate": raw.compress(plain) + raw.flush(),
    }.get(encoding, gzip.compress(plain))
    assert await read(packed, content_encoding=encoding.removeprefix("raw ")) == plain
    assert await read(packed[:9], packed[9:], content_encoding=encoding.removeprefix("raw ")) == plain


async def test_identity_is_no_compression():
    assert await read(b"abc", content_encoding="identity") == b"abc"


async def test_what_inflates_beyond_the_limit_is_refused():
    assert len(await read(gzip.compress(b"x" * 8192), content_encoding="gzip")) == 8192
    for size in (8193, 10**7):
        with pytest.raises(PayloadTooLarge, match="at most 8192 bytes after gzip is undone, found more"):
            await read(gzip.compress(b"x" * size)[:4096], content_encoding="gzip")


@pytest.mark.parametrize(
    "body",
    [b"", b"abc", gzip.compress(b"abc")[:-1], gzip.compress(b"abc") + b"x", gzip.compress(b"abc")[:-8] + b"\0" * 8],
    ids=["empty", "plain", "cut", "followed", "wrong checksum"],
)
async def test_damaged_compressed_data_is_refused(body):
    with pytest.raises(
        InvalidInput, match="the body: expected gzip data as content-encoding says, found something else"
    ):
        await read(body, content_encoding="gzip")


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "", "x" * 10_000])
async def test_another_encoding_is_refused(encoding):
    with pytest.raises(UnsupportedEncoding) as caught:
        await read(b"abc", content_encoding=encoding)
    assert str(caught.value) == f"content-encoding: expected gzip or deflate, found {encoding[:40]}"


async def test_a_client_that_goes_is_told_from_one_that_is_too_slow():
    with pytest.raises(ClientGoneError) as caught:
        await read(b"a", gone=True)
    assert caught.value.status == 499
    with pytest.raises(ClientGoneError) as caught:
        await read(gone=True, scope={"moorage.status": 408})
    assert caught.value.status == 408


async def test_all_bodies_together_are_limited_and_given_back():
    reader = BodyReader(LIMITS)
    go = asyncio.Event()
    pieces, scope = iter([(b"x" * 4000, True), (b"", False)]), {}

    async def slow():
        body, more = next(pieces)
        if not more:
            await go.wait()
        return {"type": "http.request", "body": body, "more_body": more}

    first = asyncio.create_task(reader.read(scope, {}, slow))
    await asyncio.sleep(0)
    others = [{}, {}]
    assert len(await read(b"x" * 2000, b"x" * 2000, reader=reader, scope=others[0])) == 4000
    with pytest.raises(Overloaded, match="the server holds as many bytes of bodies as it may; try again"):
        await read(b"x" * 2000, b"x" * 2000, reader=reader, scope=others[1])
    reader.release(others[1])
    go.set()
    assert len(await first) == 4000
    for each in (scope, others[0]):  # not when they are read: when they are answered
        reader.release(each)
    assert len(await read(b"x" * 2000, b"x" * 2000, reader=reader)) == 4000


async def test_an_announced_length_costs_nothing():
    reader = BodyReader(RequestLimits())
    assert bytes(await reader.read({}, {"content-length": str(64 << 20)}, source(b"a", b"b"))) == b"ab"


async def test_a_body_shorter_than_it_says_is_what_came():
    # The parser of the connection never lets one through; an ASGI server of another kind may.
    assert await read(b"a", b"b", content_length="10") == b"ab"
