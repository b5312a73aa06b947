"""EXIF in the graph: what `images.upright` reads by PIL, and that no damage is of consequence."""

import io
import struct
import warnings
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from imgtext_tf.data import exif, images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, [5, 7, 3], np.uint8)
SHORT = 3


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def orientation(data):
    return exif.orientation(data)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode(data):
    return exif.upright(images.decode_pixels(data), data)


@tf.function(input_signature=[tf.TensorSpec(PIXELS.shape, tf.uint8), tf.TensorSpec([], tf.string)])
def upright(pixels, data):
    return exif.upright(pixels, data)


def by_pil(data):
    """What the eager code makes of the same file; PIL warns of damage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return images.upright(images.decode_pixels(tf.constant(data)).numpy(), data)


def photo(kind="JPEG", value=None):
    """A file by PIL, its EXIF with another entry before and one behind the orientation."""
    file, tags = io.BytesIO(), PIL.Image.Exif()
    if value is not None:
        tags[0x010F], tags[0x0112], tags[0x0131] = "Maker", value, "Software 1.0"
    PIL.Image.fromarray(PIXELS).save(file, kind, exif=tags)
    return file.getvalue()


def directory(*entries, order="<", offset=8, count=None):
    """A TIFF block by hand, of entries (tag, type, count, value)."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", offset)
    count = len(entries) if count is None else count
    body = struct.pack(order + "H", count)
    for tag, kind, number, value in entries:
        body += struct.pack(order + "HHI", tag, kind, number)
        body += struct.pack(order + ("H2x" if kind == SHORT else "I"), value)
    return head + bytes(offset - 8) + body + bytes(4)


def jpeg(*segments):
    """A JPEG with segments (marker, content) directly after its start."""
    data = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
        for marker, content in segments
    )
    plain = tf.io.encode_jpeg(PIXELS).numpy()
    return plain[:2] + data + plain[2:]


def tagged(block):
    return jpeg((0xE1, b"Exif\0\0" + block))


@pytest.mark.parametrize("value", [None, *range(1, 9)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_every_orientation_equals_the_eager_code(kind, value):
    data = photo(kind, value)
    found = decode(tf.constant(data))
    assert found.dtype == tf.uint8
    np.testing.assert_array_equal(found, by_pil(data))
    assert orientation(tf.constant(data)) == ((value or 1) if kind in ("JPEG", "PNG") else 1)


@pytest.mark.parametrize("offset", [8, 26])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders(order, offset):
    for value in range(1, 9):
        block = directory((0x0100, 4, 1, 70000), (0x0112, SHORT, 1, value), order=order)
        data = tagged(block)
        assert orientation(tf.constant(data)) == value
        np.testing.assert_array_equal(decode(tf.constant(data)), by_pil(data))
    far = directory((0x0112, SHORT, 1, 6), order=order, offset=offset)
    assert orientation(tf.constant(tagged(far))) == 6


def test_it_is_found_behind_other_segments_only_where_it_belongs():
    block = b"Exif\0\0" + directory((0x0112, SHORT, 1, 6))
    xmp = (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    profile = (0xE2, b"ICC_PROFILE\0" + bytes(60000))
    behind = jpeg(xmp, profile, profile, (0xE1, block))
    assert orientation(tf.constant(behind)) == 6
    np.testing.assert_array_equal(decode(tf.constant(behind)), by_pil(behind))
    # The same bytes in a comment, or after the pixels, are no EXIF of this photo.
    comment, after = jpeg((0xFE, block)), jpeg() + b"\xff\xe1\0\x50" + block
    for data in (comment, after):
        assert orientation(tf.constant(data)) == 1
        np.testing.assert_array_equal(decode(tf.constant(data)), by_pil(data))


@pytest.mark.parametrize(
    "block",
    [
        directory(),
        directory((0x0112, SHORT, 1, 0)),
        directory((0x0112, SHORT, 1, 9)),
        directory((0x0112, SHORT, 1, 65535)),
        directory((0x0112, SHORT, 0, 6)),
        directory((0x0112, 2, 1, 6)),
        directory((0x1201, SHORT, 1, 6)),
        b"XX*\0" + directory((0x0112, SHORT, 1, 6))[4:],
        directory((0x0112, SHORT, 1, 6))[:4] + b"\xff\xff\xff\xff" + bytes(40),
        directory((0x0112, SHORT, 1, 6))[:4] + b"\xff\xff\xff\x7f" + bytes(40),
        directory((0x0112, SHORT, 1, 6), count=0),
    ],
)
def test_what_is_no_orientation_leaves_the_pixels(block):
    data = tagged(block)
    assert orientation(tf.constant(data)) == 1
    np.testing.assert_array_equal(decode(tf.constant(data)), images.decode_pixels(data))
    np.testing.assert_array_equal(decode(tf.constant(data)), by_pil(data))


@pytest.mark.parametrize(
    "block",
    [
        directory((0x0112, SHORT, 1, 6), count=65535),
        directory((0x0112, SHORT, 2, 6)),
        directory((0x0112, SHORT, 1, 6), (0x0112, SHORT, 1, 3)),
    ],
    ids=["too many entries", "two values", "twice"],
)
def test_small_faults_are_no_hindrance(block):
    data = tagged(block)
    assert orientation(tf.constant(data)) == 6
    np.testing.assert_array_equal(decode(tf.constant(data)), by_pil(data))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_truncated_block_leaves_the_pixels(order):
    """At every length: in a file that goes on behind it, and in one that ends there."""
    block = directory((0x0100, 4, 1, 7), (0x0112, SHORT, 1, 6), order=order)
    last = len(block) - 4  # the end of the entry
    for length in range(len(block)):
        data = tagged(block[:length])
        assert orientation(tf.constant(data)) == (6 if length >= last else 1)
        np.testing.assert_array_equal(decode(tf.constant(data)), by_pil(data))
    data = tagged(block)
    start = data.index(block)
    for length in range(start + last):
        np.testing.assert_array_equal(upright(PIXELS, tf.constant(data[:length])), PIXELS)


def test_a_truncated_png_leaves_the_pixels():
    block = directory((0x0112, SHORT, 1, 6))
    chunk = b"eXIf" + block
    plain = tf.io.encode_png(PIXELS).numpy()
    end = 8 + 12 + 13  # of the signature and the header
    wrapped = struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = plain[:end] + wrapped + plain[end:]
    np.testing.assert_array_equal(decode(tf.constant(data)), by_pil(data))
    assert orientation(tf.constant(data)) == 6
    for length in range(data.index(block) + len(block) - 4):
        np.testing.assert_array_equal(upright(PIXELS, tf.constant(data[:length])), PIXELS)


def test_random_bytes_leave_the_pixels():
    heads = [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\0\xffExif\0\0", b"\x89PNG\r\n\x1a\n"]
    heads += [heads[2] + b"II*\0", heads[2] + b"MM\0*\0\0\0\x08", heads[3] + b"\0\0\0\x40eXIf"]
    for head in heads:
        for length in (0, 1, 7, 30, 300, 3000):
            data = head + RNG.bytes(length)
            np.testing.assert_array_equal(upright(PIXELS, tf.constant(data)), PIXELS)


def test_damaged_octets_never_raise():
    data = np.frombuffer(photo("JPEG", 6)[:120], np.uint8)
    for _ in range(300):
        damaged = data.copy()
        damaged[RNG.integers(0, len(data), 3)] = RNG.integers(0, 256, 3)
        assert 1 <= orientation(tf.constant(damaged.tobytes())) <= 8


def test_a_file_of_very_many_segments_is_not_walked_to_its_end():
    block = b"Exif\0\0" + directory((0x0112, SHORT, 1, 6))
    segments = [(0xFE, b"")] * 50
    assert orientation(tf.constant(jpeg(*segments, (0xE1, block)))) == 6
    assert orientation(tf.constant(jpeg(*segments * 10, (0xE1, block)))) == 1


def test_pixels_may_be_floats():
    found = exif.upright(tf.constant(PIXELS, tf.float32), tf.constant(photo("JPEG", 6)))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, np.rot90(PIXELS, -1))
