"""Bags of hashed n-grams, and the scores of a batch of text pairs against each other."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from imgtext_tf.layers import replicas

_OTHER = -1e9
_MAX_SCALE = 100.0


@keras.saving.register_keras_serializable(package="imgtext_tf")
class RowEmbedding(keras.layers.Layer):
    """Rows of a large table: ids [...] int -> [..., dim]; the row of id 0 (padding) is zeros.

    Keras' own embedding reads its whole table in every step; this gathers from the raw variable, so
    that the gradient has rows only (see `imgtext_tf.optimizers`).

    Args:
        rows: of the table, padding included.
        dim: of a row.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, rows, dim, **kwargs):
        """Stores the size; see the class."""
        super().__init__(**kwargs)
        self.rows, self.dim = rows, dim

    def build(self, inputs_shape):
        """Makes the table."""
        initializer = keras.initializers.RandomNormal(stddev=self.dim**-0.5)
        self.table = self.add_weight(
            (self.rows, self.dim), initializer=initializer, autocast=False, name="table"
        )
        self.table.rows_only = True  # Nothing that happens in every step may read the whole of it.

    def call(self, inputs):
        """See the class."""
        ids = tf.cast(inputs, tf.int64)
        rows = tf.gather(self.table.value, ids)
        return tf.cast(tf.where(ids[..., None] == 0, 0.0, rows), self.compute_dtype)

    def get_config(self):
        """The arguments of the constructor."""
        return super().get_config() | {"rows": self.rows, "dim": self.dim}


@keras.saving.register_keras_serializable(package="imgtext_tf")
class BagPooling(keras.layers.Layer):
    """Mean of the real places: states [B, N, D], real [B, N] bool -> [B, D]; zeros without any.

    Args:
        root: divide the sum by the root of the number of places, not by the number: the length of
            a bag then says how much is in it.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, *, root=False, **kwargs):
        """Stores the switch; see the class."""
        super().__init__(**kwargs)
        self.root = root

    def call(self, states, real):
        """See the class."""
        real = keras.ops.cast(real, states.dtype)[..., None]
        count = keras.ops.maximum(keras.ops.sum(real, axis=1), 1)
        total = keras.ops.sum(states * real, axis=1)
        return total / (keras.ops.sqrt(count) if self.root else count)

    def get_config(self):
        """The arguments of the constructor."""
        return super().get_config() | {"root": self.root}


@keras.saving.register_keras_serializable(package="imgtext_tf")
class PairScores(keras.layers.Layer):
    """s cos of each text with each other's partner: a [B, D], b [B, D], group [B] -> [B, B].

    Where several replicas train together, B counts the rows of all of them (see `OwnRows`).

    Row i's partner is column i; other columns of the same group are right as well, and masked. So
    are, where the numbers of the texts are given (`first_id`, `second_id`, [B] each), columns of
    pairs that have a text in common with row i: one text can stand in several groups.

    Args:
        scale: s, or its first value.
        learn_scale: learn s, up to 100.
        **kwargs: of `keras.layers.Layer`.

    Reference: Shah2019, Section 3.3.
    """

    def __init__(self, *, scale=20.0, learn_scale=False, **kwargs):
        """Stores the settings; see the class."""
        super().__init__(**kwargs)
        self.scale, self.learn_scale = scale, learn_scale

    def build(self, *shapes, **named):
        """Makes the scale, if it is learnt."""
        if self.learn_scale:
            first = keras.initializers.Constant(math.log(self.scale))
            self.log_scale = self.add_weight((), initializer=first, name="scale")

    def call(self, a, b, group, first_id=None, second_id=None):
        """See the class."""
        scale = self.scale
        if self.learn_scale:
            scale = keras.ops.minimum(keras.ops.exp(self.log_scale), _MAX_SCALE)
        a, b = (replicas.gather(keras.ops.normalize(vectors, axis=-1)) for vectors in (a, b))
        group = replicas.gather(group)
        scores = scale * keras.ops.cast(keras.ops.matmul(a, keras.ops.transpose(b)), "float32")
        size = keras.ops.shape(a)[0]
        other = keras.ops.logical_not(keras.ops.cast(keras.ops.eye(size), "bool"))
        same = keras.ops.equal(group[:, None], group[None])
        if first_id is not None:
            first_id, second_id = replicas.gather(first_id), replicas.gather(second_id)
            for one, two in ((first_id, first_id), (second_id, second_id), (first_id, second_id)):
                equal = keras.ops.equal(one[:, None], two[None])
                same = keras.ops.logical_or(same, equal)
        return keras.ops.where(keras.ops.logical_and(same, other), _OTHER, scores)

    def compute_output_shape(
        self, a_shape, b_shape, group_shape, first_id_shape=None, second_id_shape=None
    ):
        """[B, B]."""
        return (a_shape[0], a_shape[0])

    def get_config(self):
        """The arguments of the constructor."""
        return super().get_config() | {"scale": self.scale, "learn_scale": self.learn_scale}
