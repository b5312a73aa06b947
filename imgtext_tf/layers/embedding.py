"""Layers around a joint embedding of images and texts."""

from __future__ import annotations

import keras
import tensorflow as tf


def l2_normalize(vectors):
    """Divides vectors by their length: [..., D] -> [..., D] float32; zeros stay zeros.

    The gradient at a zero vector is zero, not NaN.
    """
    vectors = keras.ops.cast(vectors, "float32")
    squares = keras.ops.sum(keras.ops.square(vectors), axis=-1, keepdims=True)
    real = squares > 1e-24
    scale = keras.ops.rsqrt(keras.ops.where(real, squares, 1.0))
    return keras.ops.where(real, vectors * scale, 0.0)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class L2Normalize(keras.layers.Layer):
    """x [..., D] float -> x / ||x|| along the last axis; zeros stay zeros, with a zero gradient.

    Args:
        **kwargs: of `keras.layers.Layer`.

    Reference: Liu2019, Section 3 (Faghri et al. 2017).
    """

    def call(self, inputs):
        """See the class."""
        return keras.ops.cast(l2_normalize(inputs), self.compute_dtype)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class GradientReversal(keras.layers.Layer):
    """x -> x, whose gradient is multiplied by -lambda on the way back.

    lambda is a weight that is saved but not trained, so that a schedule may change it during
    training: `layer.strength.assign(value)`.

    Args:
        strength: lambda at the start.
        **kwargs: of `keras.layers.Layer`.

    Reference: Liu2019, Section 3 (Ganin and Lempitsky 2015).
    """

    def __init__(self, strength=1.0, **kwargs):
        """Stores lambda; see the class."""
        super().__init__(**kwargs)
        self.initial_strength = float(strength)
        self.strength = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(strength),
            trainable=False,
            autocast=False,
            name="strength",
        )

    def call(self, inputs):
        """See the class."""
        strength = tf.convert_to_tensor(self.strength)

        @tf.custom_gradient
        def reverse(values):
            return tf.identity(values), lambda error: -tf.cast(strength, error.dtype) * error

        return reverse(inputs)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """What the constructor takes."""
        return super().get_config() | {"strength": self.initial_strength}


def dann_ramp(progress):
    """Lambda of a training that is `progress` in [0, 1] done: 2 / (1 + exp(-10 p)) - 1.

    Args:
        progress: [...] float.

    Returns:
        [...] float32 in [0, 1), from 0 at the start to 0.9999 at the end.

    Reference: Liu2019, Section 3 (Ganin et al. 2016).
    """
    return 2.0 / (1.0 + keras.ops.exp(-10.0 * keras.ops.cast(progress, "float32"))) - 1.0
