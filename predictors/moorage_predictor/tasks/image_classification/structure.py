"""Files that are small and would be dear to read, by how they are put together. Called by `images.opened`.

| in the file                        | what it would cost                                                              |
|------------------------------------|---------------------------------------------------------------------------------|
| a JPEG with many segments          | Pillow puts those of EXIF together one by one: 10 MB of them take 95 s          |
| a JPEG with many scans             | each goes over the whole picture: 1.4 MB of 35 bytes each take 45 s             |
| a PNG of tiny chunks               | Pillow reads them one by one: 10 MB of them take 2 s                            |
| a TIFF with tiles beyond the picture | libtiff unpacks whole tiles: a file of 2 MB takes 2 GB                        |

Widths and heights of the pictures themselves are looked at by `images`. What is broken here otherwise is left to Pillow to name.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final

from moorage_predictor.errors import ImageInvalid

MAX_SEGMENTS: Final = 1000
"""Of a JPEG before its pixels, and again among them; the profiles and previews of cameras take some hundred."""
MAX_SCANS: Final = 100
"""Encoders of progressive JPEGs write about ten; libtiff has the same limit."""
MAX_JUNK: Final = 1 << 16
"""Bytes between the segments, which readers skip one by one."""
PNG_CHUNKS: Final = 1000
"""And one for each KiB: encoders write pixels in chunks of 8 KiB and more."""

_JPEG: Final = b"\xff\xd8"
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])")
_MARKER_AMONG_PIXELS: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL: Final = (b"\xc0", b"\xc1")
"""Of such a frame libjpeg reads no further scan if the first one has all of its components."""
_SOS: Final = 0xDA
_EOI: Final = 0xD9
_WITHOUT_LENGTH: Final = frozenset([0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)])
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TIFF: Final = (b"II", b"MM")
_BIG_TIFF: Final = 43
_TILE_SIDES: Final = (322, 323)
_SHORT, _LONG = 3, 4


def check(data: bytes, *, name: str, max_side: int) -> None:
    """Before a reader sees it. `name` says in messages which image of the request it is.

    Raises:
        ImageInvalid: it would cost far more than an image of its size may.
    """
    if data.startswith(_JPEG):
        _check_jpeg(data, name)
    elif data.startswith(_PNG):
        _check_png(data, name)
    elif data.startswith(_TIFF) and any(side is None or side > -(-max_side // 16) * 16 for side in _tile_sides(data)):
        raise ImageInvalid(
            f"{name}: expected tiles of at most {max_side}x{max_side} pixels in a TIFF, found larger ones; save it without tiles"
        )


def _check_jpeg(data: bytes, name: str) -> None:
    at = skipped = 0
    frames: list[bytes] = []
    for _ in range(MAX_SEGMENTS):
        if (found := _MARKER.search(data, at)) is None:
            return
        skipped += found.end() - 2 - at
        if skipped > MAX_JUNK:
            break
        content, at = found.end() + 2, _end(data, found)
        if found[1][0] in _FRAMES:
            frames.append(found[1] + data[content + 5 : content + 6])
        elif found[1][0] == _SOS:
            if frames not in ([each + data[content : content + 1]] for each in _SEQUENTIAL):
                _check_scans(data, at, name)
            return
    raise ImageInvalid(
        f"{name}: expected at most {MAX_SEGMENTS} segments and {MAX_JUNK} bytes between them before the pixels of a JPEG, found "
        "more; save the image without its metadata"
    )


def _check_scans(data: bytes, at: int, name: str) -> None:
    """From the end of the first scan's header on."""
    if data.count(b"\xff\xda", at) < MAX_SCANS:
        return
    scans = 1
    for segments, found in enumerate(_among_pixels(data, at)):
        scans += found == _SOS
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            raise ImageInvalid(
                f"{name}: expected at most {MAX_SCANS} scans in a JPEG and {MAX_SEGMENTS} segments among them, found more; "
                "save the image anew"
            )


def _among_pixels(data: bytes, at: int) -> Iterator[int]:
    while (found := _MARKER_AMONG_PIXELS.search(data, at)) and found[1][0] != _EOI:
        yield found[1][0]
        at = _end(data, found)


def _end(data: bytes, found: re.Match[bytes]) -> int:
    """Of the segment with this marker."""
    at = found.end()
    return at if found[1][0] in _WITHOUT_LENGTH else at + max(2, int.from_bytes(data[at : at + 2], "big"))


def _check_png(data: bytes, name: str) -> None:
    at, most = len(_PNG), PNG_CHUNKS + len(data) // 1024
    for _ in range(most):
        if at >= len(data) or data[at + 4 : at + 8] == b"IEND":
            return
        at += int.from_bytes(data[at : at + 4], "big") + 12  # length, kind, content, checksum
    raise ImageInvalid(
        f"{name}: expected at most {most} chunks in a PNG of {len(data)} bytes, found more; save the image anew"
    )


def _tile_sides(data: bytes) -> Iterator[int | None]:
    """Of a TIFF's first picture, all that are said, for readers differ in which of several counts; None is no plain number."""
    order = "<" if data.startswith(b"II") else ">"
    big = _BIG_TIFF in data[2:4]
    first, many = ("Q", "Q") if big else ("I", "H")
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    try:
        (at,) = struct.unpack_from(order + first, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + many, data, at)
        at += struct.calcsize(order + many)
        for number in range(entries):
            tag, kind, count, value = entry.unpack_from(data, at + number * entry.size)
            if tag in _TILE_SIDES:
                plain = count == 1 and kind in (_SHORT, _LONG)
                yield struct.unpack_from(order + ("H" if kind == _SHORT else "I"), value)[0] if plain else None
    except (struct.error, OverflowError):
        return  # the file ends before; a reader says so
