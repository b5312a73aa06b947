"""Images that keep their aspect: scaled to one longest side, and batched by shape."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from imgtext_tf.data import examples, images
from imgtext_tf.data.shards import ShardReader

_POOL = concurrent.futures.ThreadPoolExecutor()  # starts no thread before it is used


def scaled_shape(height: int, width: int, longest_side: int) -> tuple[int, int]:
    """The shape of an image whose longest side becomes so many pixels; 0 leaves it as it is.

    Reference: Gordo2017, Section 6.1 (576 pixels, the aspect kept).
    """
    if not longest_side:
        return height, width
    scale = longest_side / max(height, width)
    return tuple(max(1, round(side * scale)) for side in (height, width))


def image_batches(
    readers: Sequence[ShardReader],
    rows: Sequence[tuple[int, int]],
    *,
    longest_side: int,
    batch_size: int,
) -> Iterator[tuple[list[int], tf.Tensor]]:
    """Reads images, scales them and batches them by shape.

    Args:
        readers: of records with images.
        rows: (reader, row) of each image.
        longest_side: see `scaled_shape`.
        batch_size: most images of a batch.

    Yields:
        Places in `rows`, and the images [B, H, W, 3] float32 in [0, 1].
    """
    loaded = []
    for place, (number, row) in enumerate(rows):
        data = readers[number].read(np.array([row]))[0]
        record = examples.from_bytes(readers[number].record_kind, data)
        height, width = record["height"], record["width"]
        if min(height, width) < 1 or height * width > images.MAX_PIXELS:
            raise images.ImageError(
                f"the image of {record['id']!r} is said to have {height} x {width} pixels; verify "
                "the shards or build them again"
            )
        shape = scaled_shape(height, width, longest_side)
        loaded.append((shape, place, record["image"], record["id"]))
    loaded.sort(key=lambda one: one[:2])
    for _, group in itertools.groupby(loaded, key=lambda one: one[0]):
        members = list(group)
        for start in range(0, len(members), batch_size):
            part = members[start : start + batch_size]
            yield [place for _, place, _, _ in part], tf.stack(list(_POOL.map(_decode, part)))


def _decode(loaded: tuple[tuple[int, int], int, bytes, str]) -> tf.Tensor:
    shape, _, data, name = loaded
    try:
        return images.resize(tf.constant(images.checked_pixels(data)), shape)
    except images.ImageError as error:
        raise images.ImageError(f"the image of {name!r} cannot be decoded ({error})") from error
