"""Bilinear fusion of two vectors: MLB and MUTAN, which Shah2019 names beside concatenation."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="imgtext_tf")
class Mlb(keras.layers.Layer):
    """Kim et al. 2017: a [B, A], b [B, C] -> P (tanh(U a) * tanh(V b)) + p, [B, units].

    Args:
        units: of the output.
        rank: of the common space; None for `units`.
        **kwargs: of `keras.layers.Layer`.

    Reference: Shah2019, Section 3.5.
    """

    def __init__(self, units, *, rank=None, **kwargs):
        """Makes the three maps; see the class."""
        super().__init__(**kwargs)
        self.units, self.rank = units, rank or units
        policy = {"dtype": self.dtype_policy}
        self.of_a = keras.layers.Dense(self.rank, activation="tanh", name="of_a", **policy)
        self.of_b = keras.layers.Dense(self.rank, activation="tanh", name="of_b", **policy)
        self.project = keras.layers.Dense(units, name="project", **policy)

    def build(self, a_shape, b_shape):
        """Builds U, V and P."""
        self.of_a.build(a_shape)
        self.of_b.build(b_shape)
        self.project.build((None, self.rank))

    def call(self, a, b):
        """See the class."""
        return self.project(self.of_a(a) * self.of_b(b))

    def get_config(self):
        """The arguments of the constructor."""
        return super().get_config() | {"units": self.units, "rank": self.rank}


@keras.saving.register_keras_serializable(package="imgtext_tf")
class Mutan(keras.layers.Layer):
    """Ben-Younes et al. 2017: a [B, A], b [B, C] -> sum_r (M_r a') * (N_r b'), [B, units].

    a' = tanh(U a), b' = tanh(V b); the sum is a Tucker core of rank `rank` in each slice.

    Args:
        units: of the output.
        hidden: length of a' and b'; None for `units`.
        rank: number of products.
        **kwargs: of `keras.layers.Layer`.

    Reference: Shah2019, Section 3.5.
    """

    def __init__(self, units, *, hidden=None, rank=5, **kwargs):
        """Makes the maps; see the class."""
        super().__init__(**kwargs)
        self.units, self.hidden, self.rank = units, hidden or units, rank
        policy = {"dtype": self.dtype_policy}
        self.of_a = keras.layers.Dense(self.hidden, activation="tanh", name="of_a", **policy)
        self.of_b = keras.layers.Dense(self.hidden, activation="tanh", name="of_b", **policy)
        self.core_a = keras.layers.Dense(units * rank, name="core_a", **policy)
        self.core_b = keras.layers.Dense(units * rank, name="core_b", **policy)

    def build(self, a_shape, b_shape):
        """Builds U, V, M and N."""
        self.of_a.build(a_shape)
        self.of_b.build(b_shape)
        self.core_a.build((None, self.hidden))
        self.core_b.build((None, self.hidden))

    def call(self, a, b):
        """See the class."""
        product = self.core_a(self.of_a(a)) * self.core_b(self.of_b(b))
        product = keras.ops.reshape(product, (-1, self.rank, self.units))
        return keras.ops.sum(product, axis=1)

    def get_config(self):
        """The arguments of the constructor."""
        return super().get_config() | {
            "units": self.units, "hidden": self.hidden, "rank": self.rank,
        }  # fmt: skip
