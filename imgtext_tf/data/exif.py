"""How a photo's camera was held, read in the graph: for models that take image files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

_ORIENTATION, _SHORT = 0x0112, 3
_ENTRY = 12  # bytes of an entry of a TIFF directory
_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
# Cameras write EXIF among the first parts of a file; a hostile file may have millions of parts.
_PARTS = 100


def upright(pixels: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    """Turns a decoded photo as its camera was held: `images.upright` with TensorFlow's own ops.

    Args:
        pixels: [H, W, 3] of any dtype, of a decoder.
        data: [] string, the file.

    Returns:
        [H, W, 3] or [W, H, 3] of the same dtype.
    """

    def transposed() -> tf.Tensor:
        # In the branches, for most photos are upright and large.
        return tf.transpose(pixels, [1, 0, 2])

    turned = tf.switch_case(
        orientation(data) - 1,
        [
            lambda: tf.identity(pixels),
            lambda: tf.reverse(pixels, [1]),
            lambda: tf.reverse(pixels, [0, 1]),
            lambda: tf.reverse(pixels, [0]),
            transposed,
            lambda: tf.reverse(transposed(), [1]),
            lambda: tf.reverse(transposed(), [0, 1]),
            lambda: tf.reverse(transposed(), [0]),
        ],
    )
    return tf.ensure_shape(turned, [None, None, 3])


def orientation(data: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of an image file: [] string -> [] int32 in 1..8.

    It is read from a JPEG's APP1 segment or from a PNG's eXIf chunk before the pixels. Whatever
    the bytes are, nothing is raised: what is absent, damaged or no orientation counts as 1.
    """
    octets = tf.io.decode_raw(data, tf.uint8)
    block = tf.case(
        [
            (_starts_with(octets, b"\xff\xd8"), lambda: _block_of_jpeg(octets)),
            (_starts_with(octets, _PNG), lambda: _block_of_png(octets)),
        ],
        default=lambda: octets[:0],
    )
    little, big = _starts_with(block, b"II*\0"), _starts_with(block, b"MM\0*")
    directory = _number(_window(block, 4, 4), little)
    count = _number(_window(block, directory, 2), little)
    # A slice ends where its tensor ends, so a false offset or count finds fewer entries.
    entries = block[directory + 2 :][: count * _ENTRY]
    whole = tf.size(entries) // _ENTRY * _ENTRY
    entries = tf.cast(tf.reshape(entries[:whole], [-1, _ENTRY]), tf.int64)
    values = _number(entries[:, 4:8], little)  # one; of two the first counts, as with PIL
    is_it = (
        (_number(entries[:, :2], little) == _ORIENTATION)
        & (_number(entries[:, 2:4], little) == _SHORT)
        & ((values == 1) | (values == 2))
        & (little | big)
    )
    found = tf.boolean_mask(_number(entries[:, 8:10], little), is_it)
    value = tf.concat([tf.cast(found, tf.int32), [1]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _block_of_jpeg(octets: tf.Tensor) -> tf.Tensor:
    """The TIFF block of the first APP1 segment of EXIF: [N] uint8 -> [M] uint8, or empty."""

    def head(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Marker, length and whether it is EXIF, of the segment at a place."""
        window = _window(octets, place, 4 + len(_EXIF))
        marker, length = _number(window[:2]), _number(window[2:4])
        return marker, length, (marker == 0xFFE1) & _starts_with(window[4:], _EXIF)

    def is_passed(place: tf.Tensor) -> tf.Tensor:
        marker, length, found = head(place)
        # From the start of scan (0xFFDA) on there are no segments but the pixels.
        return (marker >= 0xFF01) & (marker != 0xFFDA) & (length >= 2) & ~found

    place = _walk(is_passed, lambda place: place + 2 + head(place)[1], 2)
    _, length, found = head(place)
    return octets[place + 4 + len(_EXIF) : tf.where(found, place + 2 + length, 0)]


def _block_of_png(octets: tf.Tensor) -> tf.Tensor:
    """The TIFF block of a chunk eXIf before the pixels: [N] uint8 -> [M] uint8, or empty."""

    def head(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Length and type of the chunk at a place."""
        window = _window(octets, place, 8)
        return _number(window[:4]), window[4:]

    def is_passed(place: tf.Tensor) -> tf.Tensor:
        _, kind = head(place)
        return ~(
            _starts_with(kind, b"eXIf") | _starts_with(kind, b"IDAT") | _starts_with(kind, bytes(4))
        )

    # A chunk is its length, type, data and checksum.
    place = _walk(is_passed, lambda place: place + 12 + head(place)[0], len(_PNG))
    length, kind = head(place)
    found = _starts_with(kind, b"eXIf")
    block = octets[place + 8 : tf.where(found, place + 8 + length, 0)]
    # Some writers keep the prefix that JPEG wants.
    return block[tf.where(_starts_with(block, _EXIF), len(_EXIF), 0) :]


def _walk(
    is_passed: Callable[[tf.Tensor], tf.Tensor],
    following: Callable[[tf.Tensor], tf.Tensor],
    start: int,
) -> tf.Tensor:
    """The place of the first part that is not passed, or of the last that is seen: [] int64."""
    start = tf.constant(start, tf.int64)
    (place,) = tf.while_loop(
        is_passed, lambda place: (following(place),), (start,), maximum_iterations=_PARTS
    )
    return place


def _window(octets: tf.Tensor, start: int | tf.Tensor, size: int) -> tf.Tensor:
    """Some octets from a place on, zeros after the last: [N] uint8 -> [size] int64."""
    found = tf.cast(octets[start : start + size], tf.int64)
    return tf.ensure_shape(tf.pad(found, [[0, size - tf.size(found)]]), [size])


def _starts_with(octets: tf.Tensor, prefix: bytes) -> tf.Tensor:
    """Whether the first octets are these: [N] uint8 or int64 -> [] bool."""
    return tf.reduce_all(_window(octets, 0, len(prefix)) == list(prefix))


def _number(octets: tf.Tensor, little: bool | tf.Tensor = False) -> tf.Tensor:
    """Unsigned numbers of 2 or 4 octets in either byte order: [..., size] int64 -> [...]."""
    as_little = np.array([256**power for power in range(octets.shape[-1])], np.int64)
    return tf.reduce_sum(octets * tf.where(little, as_little, as_little[::-1]), -1)
