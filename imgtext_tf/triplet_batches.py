"""Batches of B triplets as 3B rows: B queries, then B relevant, then B irrelevant images.

What a batch holds says `models.semantic_retrieval.TripletModel`.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

# Parts of a batch share these inputs.
_WHOLE = ("pixels", "chunks")


def part_of(
    inputs: Mapping[str, tf.Tensor | tf.SparseTensor],
    start: int | tf.Tensor,
    stop: int | tf.Tensor,
    triplets: int | tf.Tensor,
) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """The inputs of the triplets from `start` to `stop`, of a batch of so many triplets."""
    return {
        name: tensor if name in _WHOLE else _rows(tensor, start, stop, triplets)
        for name, tensor in inputs.items()
    }


def _rows(tensor, start, stop, triplets):
    """The rows of some triplets in all three parts of a batch, dense or sparse."""
    if isinstance(tensor, tf.SparseTensor):
        size = tensor.dense_shape[1]
        parts = [
            tf.sparse.slice(tensor, [first, 0], [tf.cast(stop - start, tf.int64), size])
            for first in (tf.cast(start + offset * triplets, tf.int64) for offset in range(3))
        ]
        return tf.sparse.concat(0, parts)
    parts = [tensor[start + offset * triplets : stop + offset * triplets] for offset in range(3)]
    return tf.concat(parts, axis=0)


def cut_triplets(batch: tuple, number: int, count: int) -> tuple:
    """A part of the triplets of a training batch, for `training.fit`.

    Pixels stay whole: a replica embeds all images of its worker and takes its own rows of them.

    Args:
        batch: (inputs, weights).
        number: of the part.
        count: of all parts.
    """
    if count == 1:
        return batch
    inputs, weights = batch
    triplets = tf.shape(weights)[0]
    start, stop = triplets * number // count, triplets * (number + 1) // count
    return part_of(inputs, start, stop, triplets), weights[start:stop]


def images_of(inputs: Mapping[str, tf.Tensor], number: int | tf.Tensor) -> tf.Tensor:
    """The images of a chunk of a batch's pixels: [n, H, W, 3] float32 in [0, 1]."""
    first, rows, height, width = tf.unstack(inputs["chunks"][number])
    size = rows * height * width * 3
    flat = tf.cast(inputs["pixels"][first : first + size], tf.float32) / 255.0
    return tf.reshape(flat, [rows, height, width, 3])
