"""Gradients that hold the rows of used words only, as `tf.IndexedSlices`: added, rows merged."""

from __future__ import annotations

import tensorflow as tf


def summed_rows(gradient: tf.IndexedSlices) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradient of each distinct row: (rows [U], sums of their gradients [U, ...])."""
    rows, places = tf.unique(gradient.indices)
    return rows, tf.math.unsorted_segment_sum(gradient.values, places, tf.shape(rows)[0])


def merged(gradient: tf.Tensor | tf.IndexedSlices | None) -> tf.Tensor | tf.IndexedSlices | None:
    """A gradient with each row once: Keras' optimisers square repeated rows one by one."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, values = summed_rows(gradient)
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def added(
    first: tf.Tensor | tf.IndexedSlices, second: tf.Tensor | tf.IndexedSlices
) -> tf.Tensor | tf.IndexedSlices:
    """The sum of two gradients of one variable; rows that both have stand twice in it."""
    if not isinstance(first, tf.IndexedSlices):
        return first + second
    indices = tf.concat([first.indices, second.indices], axis=0)
    values = tf.concat([first.values, second.values], axis=0)
    return tf.IndexedSlices(values, indices, first.dense_shape)
