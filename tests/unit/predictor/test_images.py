"""Bytes of one file -> RGB pixels, or a reason why not."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from moorage_predictor.errors import ImageInvalid, PayloadTooLarge
from moorage_predictor.tasks.image_classification import images


def decode(data, max_bytes=10 << 20, max_side=4096):
    images.harden_pillow(max_side)
    with images.opened(data, name="image 0", max_bytes=max_bytes, max_side=max_side) as image:
        return images.upright(image, name="image 0")


def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_the_five_formats_decode_to_rgb(encode, format):
    image = decode(encode(Image.new("RGB", (5, 3), (200, 10, 10)), format))
    assert (image.mode, image.size) == ("RGB", (5, 3))


@pytest.mark.parametrize("format", ["GIF", "ICO", "PPM", "TGA"])
def test_other_formats_are_refused(encode, format):
    with pytest.raises(ImageInvalid, match="image 0: not an image in one of the formats"):
        decode(encode(Image.new("RGB", (32, 32)), format))


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"],
)
def test_what_is_not_an_image_is_refused(data):
    with pytest.raises(ImageInvalid, match="image 0"):
        decode(data)


@pytest.mark.parametrize("photo", ["chelsea.png", "rocket.jpg"])
def test_a_truncated_image_is_refused(photos, photo):
    data = (photos / photo).read_bytes()
    with pytest.raises(ImageInvalid, match="truncated or corrupt"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("size", [(4097, 1), (1, 4097), (9000, 9000), (60_000, 60_000)])
def test_more_pixels_than_allowed_are_refused_from_the_header(size):
    with pytest.raises(ImageInvalid, match="expected at most 4096x4096 pixels"):
        decode(png_of_size(*size))


def test_the_largest_allowed_size_passes_the_header_check(encode):
    assert decode(encode(Image.new("L", (4096, 16)))).size == (4096, 16)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_the_models_own_limit_decides_where_it_is_wider_than_pillows(encode, monkeypatch, format):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encode(Image.new("RGB", (40, 40)), format)
    with pytest.raises(ImageInvalid, match="expected at most 39x39 pixels"):
        decode(data, max_side=39)
    assert decode(data, max_side=40).size == (40, 40)


def test_a_tile_may_be_as_large_as_tiles_around_the_largest_picture_are(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    images.harden_pillow(33)
    assert Image.MAX_IMAGE_PIXELS == 48 * 48


def test_a_narrower_limit_leaves_pillows_as_it_is(encode):
    decode(encode(Image.new("RGB", (4, 4))), max_side=4)
    assert Image.MAX_IMAGE_PIXELS > 80_000_000


def test_more_bytes_than_allowed_are_refused():
    with pytest.raises(PayloadTooLarge, match="image 0: expected at most 100 bytes, found 101"):
        decode(b"x" * 101, max_bytes=100)


def test_a_single_pixel_is_an_image(encode):
    assert decode(encode(Image.new("RGB", (1, 1)))).size == (1, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_pixel_types_become_rgb_as_pillow_does_it(encode, mode):
    source = Image.effect_mandelbrot((16, 12), (-2, -1, 1, 1), 50).convert("RGB").convert(mode)
    format = "TIFF" if mode == "CMYK" else "PNG"
    data = encode(source, format)
    assert decode(data).tobytes() == source.convert("RGB").tobytes()


def test_sixteen_bit_grey_keeps_its_upper_eight_bits(encode):
    values = np.array([[0, 255, 256], [1 << 14, 1 << 15, 65535]], dtype=np.uint16)
    image = decode(encode(Image.fromarray(values)))
    assert np.asarray(image)[..., 0].tolist() == [[0, 0, 1], [64, 128, 255]]


def grey_tiff(values, bits=16, photometric=1, signed=False, order="<"):
    """Without compression; of 12 bits two values share three bytes."""
    height, width = values.shape
    if bits == 12:
        one, other = values.reshape(-1, 2).T.astype(int)
        pixels = np.stack([one >> 4, (one & 15) << 4 | other >> 8, other & 255], axis=1).astype(np.uint8).tobytes()
    else:
        pixels = values.astype(f"{order}u2").tobytes()
    fields = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 0,
        277: 1,
        278: height,
        279: len(pixels),
    }
    fields[339] = 2 if signed else 1
    fields[273] = 8 + 2 + 12 * len(fields) + 4
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(fields))
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in fields.items()]
    return start + b"".join(entries) + bytes(4) + pixels


def test_twelve_bit_grey_keeps_its_upper_eight_bits():
    values = np.array([[0, 15, 16], [1 << 10, 1 << 11, 4095]])
    image = decode(grey_tiff(values.reshape(1, 6), bits=12))
    assert np.asarray(image)[..., 0].tolist() == [[0, 0, 1, 64, 128, 255]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_tiff_is_the_same_in_both_byte_orders(order):
    image = decode(grey_tiff(np.array([[0, 1 << 14], [1 << 15, 65535]]), order=order))
    assert np.asarray(image)[..., 0].tolist() == [[0, 64], [128, 255]]


def test_sixteen_bit_grey_in_which_zero_is_white_is_no_negative():
    image = decode(grey_tiff(np.array([[0, 1 << 14], [1 << 15, 65535]]), photometric=0))
    assert np.asarray(image)[..., 0].tolist() == [[255, 191], [127, 0]]


def test_signed_pixels_are_refused():
    with pytest.raises(ImageInvalid, match="without a sign, found signed"):
        decode(grey_tiff(np.array([[0, 1]]), signed=True))


def test_float_pixels_are_refused(encode):
    with pytest.raises(ImageInvalid, match="found signed, 32-bit or float ones"):
        decode(encode(Image.new("F", (2, 2)), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_turned_upright(encode, orientation):
    upright = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(encode(stored, exif=exif)).tobytes() == upright.tobytes()


def test_of_several_frames_the_first_is_taken(encode):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    for format in ("TIFF", "PNG"):
        data = encode(first, format, save_all=True, append_images=[second])
        assert decode(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"SIMPLE  =                    T" + b" " * 2850,
        b"8BPS\x00\x01" + b"\0" * 100,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\xff\xfe\x00\x02\x00\x02" + b"\0" * 100,
        b"GIF89a\x01\x00\x01\x00",
        b"PK\x03\x04" + b"\0" * 100,
    ],
    ids=["FITS", "PSD", "EPS", "GD", "GIF", "ZIP"],
)
def test_formats_that_pillow_knows_and_nobody_needs_are_refused(data):
    with pytest.raises(ImageInvalid, match="not an image in one of the formats"):
        decode(data)


def test_a_jpeg_with_an_archive_behind_it_is_that_jpeg(encode):
    data = encode(Image.new("RGB", (8, 8), (200, 10, 10)), "JPEG")
    assert np.array_equal(decode(data + b"PK\x03\x04" + b"\0" * 500), decode(data))


def test_two_megabytes_of_exif_do_not_hide_the_orientation(encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x9286] = b"x" * (2 << 20)
    data = encode(Image.new("RGB", (5, 3)), "PNG", exif=exif)
    assert len(data) < 10 << 20
    assert decode(data).size == (3, 5)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_a_chunk_that_would_inflate_beyond_measure_costs_no_memory(kind):
    """64 MiB of zeros in 64 KiB: refused, or read without that chunk."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    bomb = kind.lower() + b"\0\0" + zlib.compress(b"\0" * (64 << 20), 9)
    pixels = zlib.compress(b"\0\1\2\3")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*each) for each in ((b"IHDR", header), (kind, bomb), (b"IDAT", pixels), (b"IEND", b""))
    )
    tracemalloc.start()
    try:
        assert decode(data).getpixel((0, 0)) == (1, 2, 3)
    except ImageInvalid:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("transparency", [0, b"\0\x80"])
def test_a_palette_with_transparency_becomes_its_colours(encode, transparency):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    found = decode(encode(image, "PNG", transparency=transparency))
    assert (found.mode, found.getpixel((1, 1))) == ("RGB", (200, 100, 50))
