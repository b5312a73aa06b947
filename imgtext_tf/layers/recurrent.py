"""A GRU for training on CPUs: as Keras' GRU, several times as fast."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="imgtext_tf")
class MaskedGRU(keras.layers.Layer):
    """words [B, T, D] float, real [B, T] bool -> all states [B, T, H], or the last one [B, H].

    z_t = sigmoid(W_z x_t + b_z + U_z h + c_z) ;  r_t = sigmoid(W_r x_t + b_r + U_r h + c_r)
    n_t = tanh(W_n x_t + b_n + r_t * (U_n h + c_n)) ;  h_t = z_t * h + (1 - z_t) * n_t

    Where `real` is false, h_t = h: padding, wherever it stands, changes nothing, and the last state
    is that of the last real place. It is `keras.layers.GRU(reset_after=True)`, with the same
    weights in the same order. What makes it faster: W x of all places is one product, and so is
    each weight's gradient, where a loop's own gradient adds up a full matrix for every place.

    Args:
        units: H.
        return_sequences: whether all states are the output.
        backward: whether to read from the last place to the first; states keep their places.
        **kwargs: of `keras.layers.Layer`.

    Reference: Liu2019, Section 3 (Cho et al. 2014).
    """

    def __init__(self, units, *, return_sequences=False, backward=False, **kwargs):
        """Stores the sizes; see the class."""
        super().__init__(**kwargs)
        self.units = units
        self.return_sequences = return_sequences
        self.backward = backward

    def build(self, words_shape, real_shape=None):
        """Makes W, U and both biases in Keras' layout: gates z, r, n side by side."""
        gates = 3 * self.units
        self.kernel = self.add_weight(
            # Deviation 6: Keras' initial weights, not PyTorch's.
            shape=(words_shape[-1], gates),
            initializer="glorot_uniform",
            name="kernel",
        )
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, gates), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(
            shape=(2, gates), initializer="zeros", autocast=False, name="bias"
        )

    def call(self, words, real):
        """See the class."""
        dtype = self.compute_dtype
        # Places first, and flat: the gradient of a product of rank 3 would be one a batch row.
        words = tf.transpose(tf.cast(words, dtype), [1, 0, 2])
        keep = tf.transpose(1 - tf.cast(real, "float32"))[..., None]
        if self.backward:
            words, keep = words[::-1], keep[::-1]
        flat = tf.reshape(words, [-1, self.kernel.shape[0]])
        projected = tf.cast(tf.matmul(flat, tf.cast(self.kernel, dtype)), "float32")
        bias = tf.convert_to_tensor(self.bias)
        shape = tf.concat([tf.shape(words)[:2], [3 * self.units]], axis=0)
        recurrent = tf.cast(self.recurrent_kernel, dtype)
        states = _recurrence(tf.reshape(projected + bias[0], shape), keep, recurrent, bias[1])
        states = tf.cast(states, dtype)
        if not self.return_sequences:
            return states[-1]
        return tf.transpose(states[::-1] if self.backward else states, [1, 0, 2])

    def compute_output_shape(self, words_shape, real_shape=None):
        """[B, T, H] or [B, H]."""
        batch, places = words_shape[:2]
        return (batch, places, self.units) if self.return_sequences else (batch, self.units)

    def get_config(self):
        """What the constructor takes."""
        return super().get_config() | {
            "units": self.units,
            "return_sequences": self.return_sequences,
            "backward": self.backward,
        }


@tf.custom_gradient
def _recurrence(projected, keep, kernel, bias):
    """W x + b of all places [T, B, 3 H], keep [T, B, 1], U [H, 3 H], c [3 H] -> states [T, B, H].

    Where `keep` is 1, not 0, z is 1: the state stays, and all gradients there become zero. All is
    float32 but U: products with it are computed in its type.
    """
    units = kernel.shape[0]
    places, batch = tf.shape(projected)[0], tf.shape(projected)[1]
    start = tf.zeros([batch, units])

    def product(values, matrix):
        return tf.cast(tf.matmul(tf.cast(values, kernel.dtype), matrix), tf.float32)

    def step(place, state, saved):
        of_state = product(state, kernel) + bias
        now = projected[place]
        gates = tf.sigmoid(now[:, : 2 * units] + of_state[:, : 2 * units])
        z, r = tf.maximum(gates[:, :units], keep[place]), gates[:, units:]
        hidden = of_state[:, 2 * units :]
        candidate = tf.tanh(now[:, 2 * units :] + r * hidden)
        new = candidate + z * (state - candidate)
        values = (new, z, r, candidate, hidden)
        saved = tuple(one.write(place, value) for one, value in zip(saved, values, strict=True))
        return place + 1, new, saved

    arrays = tuple(tf.TensorArray(tf.float32, places) for _ in range(5))
    _, _, saved = tf.while_loop(lambda place, *_: place < places, step, (0, start, arrays))
    states, z, r, candidate, hidden = (one.stack() for one in saved)
    before = tf.concat([start[None], states[:-1]], axis=0)

    def gradient(upstream):
        transposed = tf.transpose(kernel)

        def step_back(place, later, of_inputs, of_states):
            error = later + upstream[place]
            z_t, r_t, n_t = z[place], r[place], candidate[place]
            replaced = error * (1 - z_t)
            of_candidate = replaced * (1 - n_t * n_t)
            of_z = replaced * z_t * (before[place] - n_t)
            of_r = of_candidate * hidden[place] * r_t * (1 - r_t)
            through_state = tf.concat([of_z, of_r, of_candidate * r_t], axis=1)
            of_inputs = of_inputs.write(place, tf.concat([of_z, of_r, of_candidate], axis=1))
            of_states = of_states.write(place, through_state)
            return place - 1, error * z_t + product(through_state, transposed), of_inputs, of_states

        arrays = tuple(tf.TensorArray(tf.float32, places) for _ in range(2))
        *_, of_inputs, of_states = tf.while_loop(
            lambda place, *_: place >= 0, step_back, (places - 1, tf.zeros_like(start), *arrays)
        )
        of_states = tf.reshape(of_states.stack(), [-1, 3 * units])
        of_kernel = tf.matmul(
            tf.cast(tf.reshape(before, [-1, units]), kernel.dtype),
            tf.cast(of_states, kernel.dtype),
            transpose_a=True,
        )
        return of_inputs.stack(), None, of_kernel, tf.reduce_sum(of_states, axis=0)

    return states, gradient


@keras.saving.register_keras_serializable(package="imgtext_tf")
class MaskedPooling(keras.layers.Layer):
    """The mean or maximum over real places: states [B, T, H], real [B, T] bool -> [B, H].

    A row without any real place gives zeros.

    Args:
        mode: "mean" or "max".
        **kwargs: of `keras.layers.Layer`.

    Reference: Liu2019, Section 3.
    """

    def __init__(self, mode="mean", **kwargs):
        """Stores the mode; see the class."""
        super().__init__(**kwargs)
        if mode not in ("mean", "max"):
            raise ValueError(f"unknown mode {mode!r}: use mean or max")
        self.mode = mode

    def call(self, states, real):
        """See the class."""
        counts = keras.ops.cast(real, states.dtype)[..., None]
        if self.mode == "mean":
            total = keras.ops.sum(states * counts, axis=1)
            return total / keras.ops.maximum(keras.ops.sum(counts, axis=1), 1)
        least = keras.ops.where(real[..., None], states, states.dtype.min)
        any_real = keras.ops.any(real, axis=1, keepdims=True)
        return keras.ops.where(any_real, keras.ops.max(least, axis=1), 0)

    def compute_mask(self, *args, **kwargs):
        """None: the pooled axis is gone."""
        return None

    def get_config(self):
        """The mode."""
        return super().get_config() | {"mode": self.mode}
