"""Small files that would be dear to read are refused before anybody reads them; what cameras and encoders write is not."""

import struct
import time
import zlib

import pytest
from PIL import Image

from moorage_predictor.errors import ImageInvalid
from moorage_predictor.tasks.image_classification import images, structure
from moorage_predictor.tasks.image_classification import jpeg as jpeg_module

SIDE = 64
TILE_WIDTH, TILE_LENGTH = 322, 323


def opened(data):
    images.harden_pillow(4096)
    with images.opened(data, name="image 0", max_bytes=10 << 20, max_side=4096) as image:
        return image.size


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


def scan():
    """Without one bit of pixels: libjpeg-turbo would go over the whole picture."""
    return segment(0xDA, bytes([1, 1, 0, 1, 63, 0]))


def with_segments(jpeg, added):
    return jpeg[:2] + added + jpeg[2:]


def with_scans(jpeg, count):
    return jpeg[:-2] + scan() * count + jpeg[-2:]


@pytest.fixture
def jpeg(encode):
    return encode(Image.new("RGB", (SIDE, SIDE), (9, 99, 199)), "JPEG", progressive=True)


def tiff(*sides, order="<", big=False):
    """One grey pixel; the header of its first picture with `sides` as widths and lengths of its tiles, in turn, each a LONG."""
    magic = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42)
    pairs = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (277, 1)]
    pairs += [((TILE_WIDTH, TILE_LENGTH)[number % 2], side) for number, side in enumerate(sides)]
    if big:
        head = magic + struct.pack(order + "HHQ", 8, 0, 16) + struct.pack(order + "Q", len(pairs))
        return head + b"".join(struct.pack(order + "HHQI4x", tag, 4, 1, value) for tag, value in pairs) + bytes(8)
    head = magic + struct.pack(order + "I", 8) + struct.pack(order + "H", len(pairs))
    return head + b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in pairs) + bytes(4)


@pytest.mark.parametrize("marker", [0xE1, 0xFE, 0xDB, 0xE0], ids=["APP1", "comment", "table", "APP0"])
def test_a_jpeg_with_very_many_segments_is_refused(jpeg, marker):
    content = {0xE1: b"Exif\0\0A", 0xDB: bytes([0] + [1] * 64)}.get(marker, b"")
    assert opened(with_segments(jpeg, segment(marker, content) * 300)) == (SIDE, SIDE)
    with pytest.raises(
        ImageInvalid, match=r"^image 0: expected at most 1000 segments .* save the image without its metadata$"
    ):
        opened(with_segments(jpeg, segment(marker, content) * 2000))


@pytest.mark.parametrize(
    "junk", [b"\xff" * 70_000, b"x" * 70_000, b"\xff\x00" * 35_000, b"\xff\xf0" * 2000, b"\xff\xd9" * 2000]
)
def test_a_jpeg_with_much_between_its_segments_is_refused(jpeg, junk):
    with pytest.raises(ImageInvalid, match="bytes between them before the pixels of a JPEG, found more"):
        opened(with_segments(jpeg, junk))


def test_a_segment_that_claims_to_be_longer_than_it_may_hides_no_others(jpeg):
    """Readers take no length after the markers of extensions."""
    hidden = b"\xff\xf0\xff\xff" + segment(0xE1, b"Exif\0\0A") * 2000
    with pytest.raises(ImageInvalid, match="expected at most 1000 segments"):
        opened(with_segments(jpeg, hidden + bytes(70_000)))


def test_a_jpeg_with_very_many_scans_is_refused(jpeg):
    assert opened(with_scans(jpeg, 80)) == (SIDE, SIDE)
    with pytest.raises(ImageInvalid, match=r"^image 0: expected at most 100 scans in a JPEG"):
        opened(with_scans(jpeg, 101))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_baseline_jpeg_has_no_further_scans_that_could_cost_anything(encode, monkeypatch, mode):
    baseline = encode(Image.new(mode, (SIDE, SIDE)), "JPEG")
    monkeypatch.setattr(structure, "_check_scans", None)  # which takes time
    assert opened(with_scans(baseline, 101)) == (SIDE, SIDE)
    with images.opened(with_scans(baseline, 101), name="image 0", max_bytes=10**6, max_side=SIDE) as image:
        assert jpeg_module.decode(with_scans(baseline, 101), image) is None, "libjpeg-turbo expects the end"


def test_a_baseline_jpeg_whose_components_come_one_by_one_may_have_as_many_scans_as_others(encode):
    baseline = encode(Image.new("RGB", (SIDE, SIDE)), "JPEG")
    at = baseline.index(b"\xff\xda")
    one_by_one = baseline[: at + 2] + struct.pack(">H", 8) + bytes([1]) + baseline[at + 5 :]
    with pytest.raises(ImageInvalid, match="scans in a JPEG"):
        opened(with_scans(one_by_one, 101))
    second_frame = baseline[:2] + segment(0xC2, bytes([8, 0, 8, 0, 8, 3])) + baseline[2:]
    with pytest.raises(ImageInvalid, match="scans in a JPEG"):
        structure.check(with_scans(second_frame, 101), name="image 0", max_side=SIDE)


def test_very_many_segments_among_the_scans_are_refused(jpeg):
    with pytest.raises(ImageInvalid, match="1000 segments among them"):
        opened(jpeg[:-2] + (segment(0xFE, b"") * 20 + scan()) * 95 + jpeg[-2:] + b"\xff\xda" * 10)


def test_what_comes_behind_a_jpeg_or_inside_a_segment_of_it_does_not_count(jpeg):
    behind = jpeg + b"\xff\xda" * 5000
    inside = with_segments(jpeg, segment(0xE2, b"\xff\xda\xff\xe1" * 5000))
    assert opened(behind) == opened(inside) == (SIDE, SIDE)


def test_looking_at_ten_megabytes_of_hostile_jpeg_takes_no_time(jpeg):
    started = time.process_time()
    for added in (segment(0xE1, b"Exif\0\0" + b"A" * 10) * 500_000, b"\xff" * 10**7, b"x" * 10**7):
        with pytest.raises(ImageInvalid):
            structure.check(with_segments(jpeg, added), name="image 0", max_side=4096)
    with pytest.raises(ImageInvalid):
        structure.check(with_scans(jpeg, 10**6), name="image 0", max_side=4096)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("at", [33, -12], ids=["before the pixels", "behind them"])
def test_a_png_of_very_many_chunks_is_refused(encode, at):
    png = encode(Image.new("RGB", (SIDE, SIDE)))
    chunk = struct.pack(">I4sI", 0, b"teSt", zlib.crc32(b"teSt"))
    assert opened(png[:at] + chunk * 900 + png[at:]) == (SIDE, SIDE)
    with pytest.raises(ImageInvalid, match=r"^image 0: expected at most 1117 chunks in a PNG of 120[0-9]{3} bytes"):
        opened(png[:at] + chunk * 10_000 + png[at:])
    assert opened(png + chunk * 10_000) == (SIDE, SIDE), "what comes behind a PNG does not count"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize("sides", [(8192, 16), (16, 8192), (8192, 16, 16, 16), (16, 16, 16, 8192)], ids=str)
def test_a_tiff_with_tiles_larger_than_a_picture_may_be_is_refused(sides, order, big):
    with pytest.raises(ImageInvalid, match=r"^image 0: expected tiles of at most 4096x4096 pixels in a TIFF"):
        structure.check(tiff(*sides, order=order, big=big), name="image 0", max_side=4096)
    structure.check(tiff(*[min(side, 4096) for side in sides], order=order, big=big), name="image 0", max_side=4096)


def test_a_tiff_whose_tile_is_no_plain_number_is_refused():
    data = bytearray(tiff(16, 16))
    at = data.index(struct.pack("<HHI", TILE_WIDTH, 4, 1))
    data[at + 2 : at + 4] = struct.pack("<H", 16)  # a LONG8, whose value is elsewhere
    with pytest.raises(ImageInvalid, match="in a TIFF"):
        structure.check(bytes(data), name="image 0", max_side=4096)


@pytest.mark.parametrize(
    "data", [b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0+" + b"\xff" * 12, b"\xff\xd8", tiff(16)[:40]]
)
def test_of_what_ends_before_its_header_a_reader_says_what_is_wrong(data):
    structure.check(data, name="image 0", max_side=4096)
    with pytest.raises(ImageInvalid, match="not an image in one of the formats"):
        opened(data)
