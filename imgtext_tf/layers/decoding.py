"""Layers that write a text from one vector, to learn that vector without labels."""

from __future__ import annotations

import keras
import tensorflow as tf


def _unit(vectors):
    """Vectors of length 1, [..., D]; zeros stay zeros."""
    norm = keras.ops.sqrt(keras.ops.sum(vectors**2, axis=-1, keepdims=True))
    return vectors / keras.ops.maximum(norm, 1e-6)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class TextDecoder(keras.layers.Layer):
    """Article embedding [B, A] and the text's word ids [B, S, W] -> word logits [B, S, W, V].

    s_n = LSTM(a, a, ...)_n;  h_nw = LSTM(s_n, s_n, ...)_w;  logits = scale * cos(h_nw, e_v)

    Of the word ids only the shape of the text is used, its sentences and words, never the words.

    Args:
        vocabulary_size: rows V of the output's word vectors, padding and unknown word included.
        sentence_units: size of s.
        word_units: size of h and of a word vector e.
        scale: of the cosines; with 1 the softmax over thousands of words could hardly be but flat.
        dropout: rate on a, s and h.
        seed: of the dropout; None draws it from Keras' global seed.
        **kwargs: of `keras.layers.Layer`.

    Reference: Henning and Ewerth (2018), text decoder.
    """

    def __init__(
        self,
        vocabulary_size,
        *,
        sentence_units=600,
        word_units=300,
        scale=20.0,
        dropout=0.1,
        seed=None,
        **kwargs,
    ):
        """Stores the sizes; see the class."""
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.sentence_units, self.word_units = sentence_units, word_units
        self.scale, self.rate, self.seed = scale, dropout, seed
        own = {"return_sequences": True, "dtype": self.dtype_policy}
        self.of_sentences = keras.layers.LSTM(sentence_units, name="sentences", **own)
        self.of_words = keras.layers.LSTM(word_units, name="words", **own)
        self.dropout = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, article_shape, word_ids_shape=None):
        """Makes both LSTMs and the output's word vectors."""
        self.of_sentences.build((None, None, article_shape[-1]))
        self.of_words.build((None, None, self.sentence_units))
        self.vectors = self.add_weight(
            shape=(self.vocabulary_size, self.word_units),
            initializer=keras.initializers.RandomUniform(-0.08, 0.08),
            name="vectors",
        )

    def call(self, article, word_ids, training=None):
        """See the class."""
        pairs, sentences, words = tf.unstack(tf.shape(word_ids))
        article = self.dropout(article, training=training)
        repeated = tf.repeat(article[:, None], sentences, axis=1)
        states = self.dropout(self.of_sentences(repeated, training=training), training=training)
        states = tf.reshape(states, [pairs * sentences, 1, self.sentence_units])
        hidden = self.of_words(tf.repeat(states, words, axis=1), training=training)
        hidden = self.dropout(hidden, training=training)
        vectors = _unit(keras.ops.cast(self.vectors, self.compute_dtype))
        logits = self.scale * keras.ops.matmul(_unit(hidden), keras.ops.transpose(vectors))
        return tf.reshape(logits, [pairs, sentences, words, self.vocabulary_size])

    def compute_output_shape(self, article_shape, word_ids_shape=None):
        """[B, S, W, V]."""
        return (*word_ids_shape, self.vocabulary_size)

    def get_config(self):
        """What the constructor takes."""
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "sentence_units": self.sentence_units,
            "word_units": self.word_units,
            "scale": self.scale,
            "dropout": self.rate,
            "seed": self.seed,
        }
