"""Scores of a text's words, each by itself."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="imgtext_tf")
class WordScores(keras.layers.Layer):
    """Word ids [B, S, W] int32 (0 = padding) -> the text's scores [B, units] float.

    scores = gain / sqrt(n) sum_w T[w]    over the n words of the text; zeros where it has none

    That is a linear model of the counts of words, all scores 0 at the start. Adam moves a weight by
    about the learning rate a step, so that a word met in a few batches only could not count without
    the gain.

    Args:
        vocabulary_size: rows of T, padding and unknown word included.
        units: number of scores.
        gain: factor of the scores.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, vocabulary_size, units, *, gain=10.0, **kwargs):
        """Stores the sizes; see the class."""
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.gain = gain

    def build(self, input_shape):
        """Makes T."""
        self.table = self.add_weight(
            shape=(self.vocabulary_size, self.units), initializer="zeros", name="table"
        )

    def call(self, word_ids):
        """See the class."""
        real = keras.ops.cast(keras.ops.not_equal(word_ids, 0), self.compute_dtype)
        scores = keras.ops.take(self.table, word_ids, axis=0) * real[..., None]
        count = keras.ops.sum(real, axis=(1, 2))[:, None]
        scale = self.gain / keras.ops.sqrt(keras.ops.maximum(count, 1))
        return scale * keras.ops.sum(scores, axis=(1, 2))

    def get_config(self):
        """What the constructor takes."""
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "units": self.units,
            "gain": self.gain,
        }
