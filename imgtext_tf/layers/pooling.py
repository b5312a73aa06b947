"""Poolings of a feature map into one l2-normalised descriptor."""

from __future__ import annotations

import keras

from imgtext_tf.layers.embedding import l2_normalize


@keras.saving.register_keras_serializable(package="imgtext_tf")
class MAC(keras.layers.Layer):
    """The l2-normalised maximum of each channel: [B, H, W, C] -> [B, C]."""

    def call(self, maps):
        """See the class."""
        pooled = l2_normalize(keras.ops.max(maps, axis=(1, 2)))
        return keras.ops.cast(pooled, self.compute_dtype)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class GeM(keras.layers.Layer):
    """The l2-normalised generalised mean of each channel: [B, H, W, C] -> [B, C].

    mean(x^p)^(1/p) over the map, with x at least 1e-6 and p trained: 1 is the mean, and the larger
    p is, the nearer the maximum.

    Args:
        power: p at the start.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, power=3.0, **kwargs):
        """Stores the power; see the class."""
        super().__init__(**kwargs)
        self.initial_power = power

    def build(self, input_shape):
        """Makes p."""
        start = keras.initializers.Constant(self.initial_power)
        # In 16 bits x^p would leave the range.
        self.power = self.add_weight(shape=(), initializer=start, autocast=False, name="power")

    def call(self, maps):
        """See the class."""
        maps = keras.ops.maximum(keras.ops.cast(maps, "float32"), 1e-6)
        # Divided by the maximum first, so that no power of a large activation overflows.
        peak = keras.ops.max(maps, axis=(1, 2), keepdims=True)
        mean = keras.ops.mean(keras.ops.power(maps / peak, self.power), axis=(1, 2))
        pooled = peak[:, 0, 0] * keras.ops.power(mean, 1.0 / self.power)
        return keras.ops.cast(l2_normalize(pooled), self.compute_dtype)

    def get_config(self):
        """The power at the start."""
        return super().get_config() | {"power": self.initial_power}
