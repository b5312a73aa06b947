"""Texts to hashed unigrams and bigrams in the graph: the words of the query encoder."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_text as tf_text

from imgtext_tf.data.text import PAD, tokenize


def gram_ids(texts: tf.Tensor, *, buckets: int, longest: int = 2, most: int = 64) -> tf.Tensor:
    """The hash buckets of a text's n-grams of words, unigrams first.

    Args:
        texts: [B] string, UTF-8.
        buckets: number of hash buckets; two n-grams may share one.
        longest: words of the longest n-gram; 2 in the paper.
        most: further n-grams of a text are cut off.

    Returns:
        [B, G] int32: 0 padding, else 1 + bucket; G is that of the longest text, at least 1.

    Reference: Shah2019, Section 3.3.
    """
    words = tokenize(texts)
    grams = [words] + [
        tf_text.ngrams(
            words, length, reduction_type=tf_text.Reduction.STRING_JOIN, string_separator=" "
        )
        for length in range(2, longest + 1)
    ]
    ids = tf.ragged.map_flat_values(
        lambda gram: 1 + tf.strings.to_hash_bucket_fast(gram, buckets), tf.concat(grams, 1)
    )
    dense = tf.cast(ids[:, :most], tf.int32).to_tensor(PAD)
    return tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)]])
