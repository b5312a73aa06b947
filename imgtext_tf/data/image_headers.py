"""What the header of an image file announces, so that no decoder is let loose on a bomb.

A few bytes can announce 60,000 x 60,000 pixels, and a GIF holds frames of other sizes than its
screen's. Headers are read as the decoders read them, in Python, since that takes microseconds.
"""

from __future__ import annotations

import struct

# Decoders unpack all frames of a GIF, a byte a pixel, though the first one is used.
_FRAMES = 4
# A JPEG may hold its pixels in many scans, and each costs a pass over all of them, however short it
# is. Photos of today's sizes have a dozen.
_PASSES = 32
_SCAN = b"\xff\xda"
# The JPEG markers of frames (SOF0 to SOF15 but for DHT, JPG and DAC), and those without a length.
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))


class ImageError(ValueError):
    """Image bytes that cannot be used."""


def check(data: bytes, max_pixels: int) -> None:
    """Sees that the bytes begin as an image of a size that can be decoded.

    Raises:
        ImageError: if they are empty, of another format, cut in the header, or if the image has no
            pixel or more than `max_pixels`.
    """
    try:
        height, width, frames = _announced(data)
    except (struct.error, IndexError) as error:
        raise ImageError("the image is truncated in its header; fetch it again") from error
    if height <= 0 or width <= 0:
        raise ImageError(f"the image has {height} x {width} pixels; leave it out")
    if height * width > max_pixels:
        raise ImageError(
            f"the image has {height} x {width} pixels, more than {max_pixels}; scale it down"
        )
    if frames > _FRAMES * max_pixels:
        raise ImageError(f"the frames of the image have {frames} pixels; keep the first one only")
    # Among pixels no marker can stand by chance; counting is dear only where it could be too many.
    most = _PASSES * max_pixels // (height * width)
    if data[:2] == b"\xff\xd8" and len(data) > most * len(_SCAN):
        if (scans := data.count(_SCAN)) > most:
            raise ImageError(f"the {height} x {width} pixels of the image come in {scans} scans; "
                             "save it again")  # fmt: skip


def _announced(data: bytes) -> tuple[int, int, int]:
    """(height, width) of the largest frame, and the pixels of all of them."""
    if data[:3] == b"\xff\xd8\xff":
        height, width = _jpeg(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack(">II", data[16:24])
    elif data[:6] in (b"GIF87a", b"GIF89a"):
        return _gif(data)
    elif data[:2] == b"BM":
        width, height = struct.unpack("<ii", data[18:26])
        height = abs(height)  # negative: the rows stand top down
    else:
        what = "empty" if not data else f"no JPEG, PNG, GIF or BMP (it starts {data[:8]!r})"
        raise ImageError(f"the image is {what}; convert it, or leave it out")
    return height, width, height * width


def _jpeg(data: bytes) -> tuple[int, int]:
    """(height, width) of the first frame header; garbage between segments is skipped."""
    place = 2
    while True:
        while data[place] != 0xFF:
            place += 1
        while data[place] == 0xFF:
            place += 1
        marker, place = data[place], place + 1
        if marker in _SOF:
            return struct.unpack(">HH", data[place + 3 : place + 7])
        if marker == 0xDA:  # pixels begin, and no frame was announced
            raise IndexError
        if marker and marker not in _BARE:
            (length,) = struct.unpack(">H", data[place : place + 2])
            place += max(length, 2)


def _gif(data: bytes) -> tuple[int, int, int]:
    """The largest of the screen and the frames, and the pixels of all frames."""
    width, height = struct.unpack("<HH", data[6:10])
    largest, frames = (height, width), 0
    place = 13 + _table(data[10])
    # A file that ends too early is for the decoder to refuse: the frames before count.
    while place < len(data) and data[place] in (0x21, 0x2C):
        if data[place] == 0x21:
            place += 2
        else:
            if len(data) < place + 10:
                break
            width, height = struct.unpack("<HH", data[place + 5 : place + 9])
            frames += height * width
            largest = max(largest, (height, width), key=lambda size: size[0] * size[1])
            place += 10 + _table(data[place + 9]) + 1
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    return *largest, frames


def _table(flags: int) -> int:
    """The bytes of a colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
