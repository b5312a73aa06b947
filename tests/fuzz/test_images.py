"""Damaged image files, and those that announce more than they hold."""

import io
import os
import struct
import types
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from experiments import common_flags, phrase_generation, retrieval_search, search_matching
from imgtext_tf.data import images, pairs
from tests.fuzz.damage import damaged_bytes
from tests.fuzz.test_readers import run

PIXELS = np.random.default_rng(0).integers(0, 255, [9, 12, 3], np.uint8)


def encoded(kind: str, **how) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(buffer, kind, **how)
    return buffer.getvalue()


IMAGES = {
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
}


def png_bomb(side: int = 60_000) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def jpeg_bomb(side: int = 60_000) -> bytes:
    data = bytearray(IMAGES["jpeg"])
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", side, side)
    # Padding and garbage between the segments, as decoders skip them.
    return bytes(data[:place] + b"\x00garbage\xff\xff\xff" + data[place:])


def scans_bomb(side: int = 9_000, scans: int = 5_000) -> bytes:
    """A progressive JPEG whose last scan, of no more than "nothing changes", stands there often."""
    data = bytearray(IMAGES["progressive"])
    place = data.index(b"\xff\xc2")
    data[place + 5 : place + 9] = struct.pack(">HH", side, side)
    last = bytes(data[data.rindex(b"\xff\xda") : -2])
    return bytes(data[:-2]) + last * scans + bytes(data[-2:])


def gif_bomb(side: int = 60_000, frames: int = 1) -> bytes:
    """A screen of 1 x 1, and frames that are larger."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00"
    return screen + b"\x21\xf9\x04" + bytes(4) + b"\x00" + frame * frames + b"\x3b"


def bmp_bomb(side: int = 60_000) -> bytes:
    data = bytearray(IMAGES["bmp"])
    data[18:26] = struct.pack("<ii", side, -side)
    return bytes(data)


BOMBS = {
    "png": png_bomb(),
    "jpeg": jpeg_bomb(),
    "gif": gif_bomb(),
    "many frames": gif_bomb(9_000, 20),
    "bmp": bmp_bomb(),
    "scans": scans_bomb(),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(kind, monkeypatch):
    monkeypatch.setattr(images, "_decode_eagerly", lambda data: pytest.fail("was decoded"))
    with pytest.raises(images.ImageError, match="pixels"):
        images.checked_pixels(BOMBS[kind])
    with pytest.raises(tf.errors.OpError) as found:
        tf.function(images.decode_named)(tf.constant(BOMBS[kind]), tf.constant("r7"))
    # What a command says of it, without TensorFlow's traceback.
    message = common_flags.data_fault(found.value)
    assert message.startswith("the image of 'r7' cannot be decoded") and "pixels" in message
    assert not common_flags.data_fault(tf.errors.InternalError(None, None, "out of luck"))


def test_a_photo_in_many_scans_is_none_in_too_many():
    data = scans_bomb(side=9, scans=200)
    assert images.check_image(data) == (9, 9)
    with pytest.raises(images.ImageError, match="of the image come in 2.. scans"):
        images.check_image(data, max_pixels=81 * 6)


def test_headers_say_what_the_decoder_finds():
    for kind, data in IMAGES.items():
        assert images.check_image(data) == PIXELS.shape[:2], kind


@pytest.mark.parametrize(
    "examples", [pytest.param(30, id="few"), pytest.param(4000, id="many", marks=pytest.mark.heavy)]
)
@pytest.mark.parametrize("kind", IMAGES)
def test_a_damaged_image_is_decoded_or_refused(kind, examples):
    def survives(data):
        try:
            pixels = images.checked_pixels(data)
            assert pixels.ndim == 3 and pixels.shape[2] == 3
            images.upright(pixels, data)
        except images.ImageError as error:
            assert len(str(error)) < 1000

    run(examples, survives, data=damaged_bytes(IMAGES[kind]))


@pytest.fixture
def openers():
    """How each command opens an image file."""
    searcher = types.SimpleNamespace(longest_side=64)
    generator = types.SimpleNamespace(image_size=8, central_fraction=1.0)
    return [
        lambda path: retrieval_search.Searcher.read_image(searcher, path),
        lambda path: phrase_generation.PhraseGenerator.read(generator, path),
        search_matching._decoded,
    ]


def test_commands_name_the_image_that_they_cannot_open(openers, tmp_path):
    (tmp_path / "bomb.jpg").write_bytes(BOMBS["jpeg"])
    (tmp_path / "cut.jpg").write_bytes(IMAGES["jpeg"][:200])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in sorted(tmp_path.iterdir()):
        for opener in openers:
            with pytest.raises((images.ImageError, OSError), match=path.name):
                opener(path)


def test_loops_of_links_end_a_walk(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "1.jpg").write_bytes(IMAGES["jpeg"])
    (tmp_path / "a" / "1.txt").write_text("A dog.")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "b.jpg")
    found = list(pairs.read(tmp_path))
    assert [item.id for item in found] == ["b", "a/1"]
