"""Layers that read text, alone or beside an image.

Padding is explicit: id 0 is padding, a boolean tensor `real` marks what counts; the rest leaves
every output as it was. Softmax runs in float32 also under mixed precision.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

UNKNOWN_ID = 1
# As wide as published vectors; within +-0.05, Keras' default, words and image meet far too late.
_WIDE = {"class_name": "RandomNormal", "config": {"stddev": 0.4}}


def masked_softmax(scores, real):
    """Softmax over the last axis, over real places only.

    Args:
        scores: [..., N] float.
        real: [..., N] bool.

    Returns:
        [..., N] float32 weights, zero where `real` is false; all zero (not NaN) where no place of
        a row is real.
    """
    scores = keras.ops.where(real, keras.ops.cast(scores, "float32"), -1e9)
    return keras.ops.softmax(scores, axis=-1) * keras.ops.cast(real, "float32")


@keras.saving.register_keras_serializable(package="imgtext_tf")
class WordEmbedding(keras.layers.Layer):
    """Word ids [...] int32 -> word vectors [..., dim] float; padding (id 0) becomes zeros.

    The unknown word (id 1) has one trained vector, whatever becomes of the others. With
    `ngram_buckets`, the layer is called with `(word_ids, ngram_ids)`, ngram_ids [..., G] int32 and
    0 = padding, and an unknown word that has n-grams becomes the mean of their vectors instead.

    Args:
        vocabulary_size: rows of the table, padding and unknown word included.
        dim: length of a word vector.
        ngram_buckets: rows of the n-gram table without its row 0, or 0 for no n-grams.
        train_table: whether the table is trained; n-gram vectors never are.
        **kwargs: of `keras.layers.Layer`.

    Reference: Otto2020, Section 4.2.
    """

    def __init__(self, vocabulary_size, dim=300, *, ngram_buckets=0, train_table=False, **kwargs):
        """Stores the shapes; see the class."""
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.dim = dim
        self.ngram_buckets = ngram_buckets
        self.train_table = train_table

    def build(self, input_shape):
        """Makes the table, the unknown vector and, with n-grams, their table."""
        self.table = self.add_weight(
            shape=(self.vocabulary_size, self.dim),
            initializer=_WIDE,
            trainable=self.train_table,
            autocast=False,  # Only the rows in use are cast, not the table.
            name="table",
        )
        # Checkpoints leave out what training cannot change (`training`).
        self.table.constant = not self.train_table
        self.unknown = self.add_weight(shape=(self.dim,), initializer=_WIDE, name="unknown")
        if self.ngram_buckets:
            self.ngrams = self.add_weight(
                shape=(self.ngram_buckets + 1, self.dim),
                initializer="zeros",
                trainable=False,
                autocast=False,
                name="ngrams",
            )
            self.ngrams.constant = True

    @classmethod
    def of(cls, vectors: np.ndarray, ngram_vectors: np.ndarray | None = None, **kwargs):
        """The layer with pre-trained vectors.

        Args:
            vectors: [vocabulary_size, dim] float; row 1 starts the unknown word's vector.
            ngram_vectors: [1 + ngram_buckets, dim] float, row 0 for padding.
            **kwargs: of the constructor.

        Raises:
            ValueError: if the n-gram vectors have another length.
        """
        buckets = 0 if ngram_vectors is None else len(ngram_vectors) - 1
        layer = cls(*vectors.shape, ngram_buckets=buckets, **kwargs)
        layer.build(None)
        layer.table.assign(vectors)
        layer.unknown.assign(vectors[UNKNOWN_ID])
        if buckets:
            layer.ngrams.assign(ngram_vectors)
        return layer

    def call(self, inputs):
        """See the class."""
        word_ids, ngram_ids = inputs if self.ngram_buckets else (inputs, None)
        unknown = keras.ops.cast(self.unknown, self.compute_dtype)
        if ngram_ids is not None:
            real = keras.ops.cast(keras.ops.not_equal(ngram_ids, 0), self.compute_dtype)[..., None]
            vectors = keras.ops.take(self.ngrams, ngram_ids, axis=0)
            vectors = keras.ops.cast(vectors, self.compute_dtype)
            count = keras.ops.sum(real, axis=-2)
            sums = keras.ops.sum(vectors * real, axis=-2)
            unknown = keras.ops.where(count > 0, sums / keras.ops.maximum(count, 1), unknown)
        words = keras.ops.cast(keras.ops.take(self.table, word_ids, axis=0), self.compute_dtype)
        is_unknown = keras.ops.equal(word_ids, UNKNOWN_ID)[..., None]
        real = keras.ops.cast(keras.ops.not_equal(word_ids, 0), self.compute_dtype)[..., None]
        return keras.ops.where(is_unknown, unknown, words) * real

    def get_config(self):
        """What the constructor takes."""
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "dim": self.dim,
            "ngram_buckets": self.ngram_buckets,
            "train_table": self.train_table,
        }


@keras.saving.register_keras_serializable(package="imgtext_tf")
class AttentionPooling(keras.layers.Layer):
    """Weighted mean of a sequence: states [B, N, H], real [B, N] bool -> [B, H] float.

    score(n) = v^T tanh(W h_n + b)          without a context (Yang2016: v is the learnt u_w)
    score(n) = v^T tanh(W h_n + b + U a)    with a context a [B, A]: it asks what to look for
    output = sum_n softmax(score)_n h_n     over real places; zeros where none is real

    Args:
        units: length of v.
        **kwargs: of `keras.layers.Layer`.

    Reference: Otto2020, Section 4.2.
    """

    def __init__(self, units=512, **kwargs):
        """Stores the size; see the class."""
        super().__init__(**kwargs)
        self.supports_masking = True  # Keras' own mask ends here: see compute_mask.
        self.units = units
        self.of_state = keras.layers.Dense(units, name="of_state", dtype=self.dtype_policy)
        self.of_context = keras.layers.Dense(
            units, use_bias=False, name="of_context", dtype=self.dtype_policy
        )
        self.score = keras.layers.Dense(1, use_bias=False, name="score", dtype=self.dtype_policy)

    def build(self, states_shape, real_shape=None, context_shape=None):
        """Builds W, v and, with a context, U."""
        self.of_state.build(states_shape)
        if context_shape is not None:
            self.of_context.build(context_shape)
        self.score.build((*states_shape[:-1], self.units))

    def attention(self, states, real, context=None):
        """The weights softmax(score) [B, N] float32; arguments as in the call."""
        hidden = self.of_state(states)
        if context is not None:
            hidden = hidden + self.of_context(context)[:, None]
        return masked_softmax(self.score(keras.ops.tanh(hidden))[..., 0], real)

    def compute_mask(self, *args, **kwargs):
        """None: the pooled axis is gone, and with it the mask that the GRU attached."""
        return None

    def call(self, states, real, context=None):
        """See the class."""
        weights = keras.ops.cast(self.attention(states, real, context), states.dtype)
        return keras.ops.sum(states * weights[..., None], axis=1)

    def get_config(self):
        """What the constructor takes."""
        return super().get_config() | {"units": self.units}


@keras.saving.register_keras_serializable(package="imgtext_tf")
class RegionAttention(keras.layers.Layer):
    """Joins each word [B, N, D] with the image regions [B, R, D] it points at -> [B, N, 2 D].

    c_n = sum_r softmax_r(x_n . r / sqrt(D)) r ;   output = [x_n ; c_n], or [x_n ; c_n ; x_n * c_n]

    Args:
        product: whether the product x_n * c_n is joined, too: [B, N, 3 D].
        **kwargs: of `keras.layers.Layer`.

    Reference: Otto2020, Section 4.2.
    """

    def __init__(self, *, product=False, **kwargs):
        """Stores the switch; see the class."""
        super().__init__(**kwargs)
        self.product = product

    def attention(self, words, regions):
        """The weights [B, N, R] float32 of the regions for each word."""
        scores = keras.ops.matmul(words, keras.ops.transpose(regions, (0, 2, 1)))
        scores = keras.ops.cast(scores, "float32") / words.shape[-1] ** 0.5
        return keras.ops.softmax(scores, axis=-1)

    def call(self, words, regions):
        """See the class."""
        weights = keras.ops.cast(self.attention(words, regions), regions.dtype)
        seen = keras.ops.matmul(weights, regions)
        common = [words * seen] if self.product else []
        return keras.ops.concatenate([words, seen, *common], axis=-1)

    def get_config(self):
        """The switch."""
        return super().get_config() | {"product": self.product}


@keras.saving.register_keras_serializable(package="imgtext_tf")
class SentenceEncoder(keras.layers.Layer):
    """Runs a word-level encoder over the sentences of each pair -> [B, S, H]; padding gives zeros.

    It is called with a dict: `word_ids` [B, S, W] int32 (0 = padding), `ngram_ids` [B, S, W, G]
    where the encoder takes them, and tensors [B, ...] of the pair, such as an image context, which
    each of its sentences is given.

    Args:
        encoder: keras.Model from a dict of the same names, without the axis S, to [N, H].
        compact: run the encoder on the batch's real sentences only (gathered, encoded and
            scattered back). False runs it on all places: equal results, static shapes, as XLA
            (`jit_compile=True`) needs them.
        **kwargs: of `keras.layers.Layer`.
    """

    PER_SENTENCE = ("word_ids", "ngram_ids")

    def __init__(self, encoder, *, compact=True, **kwargs):
        """Stores the encoder; see the class."""
        super().__init__(**kwargs)
        self.encoder = encoder
        self.compact = compact

    def build(self, input_shape):
        """Nothing to do: the encoder is built."""

    def call(self, inputs, training=None):
        """See the class."""
        word_ids = inputs["word_ids"]
        pairs, sentences = tf.unstack(tf.shape(word_ids)[:2])
        real = tf.reshape(tf.reduce_any(word_ids != 0, axis=-1), [-1])
        rows = tf.range(pairs * sentences)
        if self.compact:
            rows = tf.boolean_mask(rows, real)

        def of_each_sentence(name, value):
            if name not in self.PER_SENTENCE:
                return tf.gather(value, rows // sentences)
            flat = tf.reshape(value, tf.concat([[pairs * sentences], tf.shape(value)[2:]], 0))
            return tf.gather(flat, rows)

        inputs = {name: of_each_sentence(name, value) for name, value in inputs.items()}
        encoded = self.encoder(inputs, training=training)
        if self.compact:
            size = tf.stack([pairs * sentences, tf.shape(encoded)[-1]])
            encoded = tf.scatter_nd(rows[:, None], encoded, size)
        else:
            encoded = encoded * tf.cast(real, encoded.dtype)[:, None]
        return tf.reshape(encoded, [pairs, sentences, self.encoder.output_shape[-1]])

    def compute_output_shape(self, input_shape):
        """[B, S, H]."""
        return (*input_shape["word_ids"][:2], self.encoder.output_shape[-1])

    def get_config(self):
        """The encoder, serialised, and the switch."""
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return super().get_config() | {"encoder": encoder, "compact": self.compact}

    @classmethod
    def from_config(cls, config):
        """Rebuilds the encoder too."""
        encoder = keras.saving.deserialize_keras_object(config.pop("encoder"))
        return cls(encoder, **config)
