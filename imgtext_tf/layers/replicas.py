"""Sums and rows over all replicas of a step, for losses that look at more than one row.

Under one replica, and outside of a training step, every function gives back what it was given.
"""

from __future__ import annotations

import keras
import tensorflow as tf


def count() -> int:
    """How many replicas take this step together."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def total(values):
    """The sum of a tensor over the replicas; gradients are summed in the same way."""
    if count() == 1:
        return values
    context = tf.distribute.get_replica_context()
    # TensorFlow keeps int32 off the GPU, where the sum is made.
    sent = tf.cast(values, tf.int64) if values.dtype == tf.int32 else tf.identity(values)
    return tf.cast(context.all_reduce(tf.distribute.ReduceOp.SUM, sent), values.dtype)


def gather(rows):
    """The rows of all replicas in the order of the global batch: [b, ...] -> [B, ...].

    Every replica then computes the same loss of the global batch. The gradient of a row is the sum
    over all replicas' losses, so each replica takes its loss divided by `count()`.

    Args:
        rows: int or float; replicas may hold different numbers of them.
    """
    first, size = place(rows)
    if size is None:
        return rows
    own = tf.shape(rows)[0]
    padding = [[first, size - first - own], *([0, 0] for _ in rows.shape[1:])]
    # A sum of disjoint rows: unlike TensorFlow's own gathering it has a gradient.
    found = total(tf.pad(rows, padding))
    return tf.ensure_shape(found, [None, *rows.shape[1:]])


def place(rows):
    """Where a replica's rows stand in the global batch: (first, number of all), int32.

    Returns:
        (0, None) under one replica.
    """
    if count() == 1:
        return 0, None
    context = tf.distribute.get_replica_context()
    number = tf.cast(context.replica_id_in_sync_group, tf.int32)
    sizes = total(tf.one_hot(number, count(), tf.shape(rows)[0], 0, dtype=tf.int32))
    return tf.reduce_sum(sizes[:number]), tf.reduce_sum(sizes)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class OwnRows(keras.layers.Layer):
    """The rows [b, ...] that are a replica's own, of rows [B, ...] of all replicas.

    `layer(rows, own)`: `own` [b, ...] is anything of this replica. Under one replica, the rows as
    they are.

    Args:
        **kwargs: of `keras.layers.Layer`.
    """

    def call(self, rows, own):
        """See the class."""
        first, size = place(own)
        return rows if size is None else rows[first : first + tf.shape(own)[0]]

    def compute_output_shape(self, rows_shape, own_shape):
        """[b, ...]."""
        return (own_shape[0], *rows_shape[1:])
