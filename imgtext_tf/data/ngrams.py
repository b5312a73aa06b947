"""The character n-grams of fastText in the TensorFlow graph.

A model looks up an unknown word's n-gram buckets as it looks up words: their mean is the vector
that gensim and Facebook's fastText give the word.

Reference: Otto2020, Section 4.2.
"""

from __future__ import annotations

import tensorflow as tf

from imgtext_tf.data.text import PAD, UNKNOWN

# 32-bit FNV-1a.
_FNV_OFFSET = 2166136261
_FNV_PRIME = 16777619
_BYTES_OF_CHARACTER = 4


def ngram_ids(
    words: tf.RaggedTensor,
    word_ids: tf.Tensor,
    *,
    min_n: int,
    max_n: int,
    buckets: int,
    max_characters: int = 64,
) -> tf.Tensor:
    """The n-gram buckets of the unknown words, in the graph.

    The mean of the rows of `WordVectors.ngram_matrix` at a word's non-zero ids is gensim's vector
    of that word.

    Args:
        words: [B, (S), (W)] string: the words of `tokenize`.
        word_ids: [B, S, W] int32: their padded ids (`pad_text`).
        min_n: characters of the shortest n-gram.
        max_n: characters of the longest n-gram.
        buckets: number of buckets.
        max_characters: longer words are cut, for a word of a thousand characters would make the
            whole batch wide.

    Returns:
        [B, S, W, G] int32, 0 for padding and known words, else 1 + bucket; G at least 1.

    Reference: Otto2020, Section 4.2.
    """
    padded = words.to_tensor("", shape=tf.shape(word_ids))
    places = tf.where(word_ids == UNKNOWN)
    unknown = tf.strings.substr(tf.gather_nd(padded, places), 0, max_characters, unit="UTF8_CHAR")
    grams = _character_ngrams(unknown, min_n, max_n)
    buckets_of = tf.ragged.map_flat_values(lambda gram: 1 + _fnv1a(gram, max_n) % buckets, grams)
    rows = tf.cast(buckets_of, tf.int32).to_tensor(PAD)
    # A batch of short words, or of known ones, may have no n-gram at all.
    rows = tf.pad(rows, [[0, 0], [0, tf.maximum(1 - tf.shape(rows)[1], 0)]])
    shape = tf.concat([tf.shape(word_ids, tf.int64), tf.shape(rows, tf.int64)[1:]], axis=0)
    ids = tf.scatter_nd(places, rows, shape)
    return tf.ensure_shape(ids, [*word_ids.shape, None])


def _character_ngrams(words: tf.Tensor, min_n: int, max_n: int) -> tf.RaggedTensor:
    """[N] string -> [N, (G)] string: all n-grams of "<word>", but for a lone "<" or ">"."""
    characters = tf.strings.unicode_split(tf.strings.join(["<", words, ">"]), "UTF-8")
    grams = []
    for n in range(min_n, max_n + 1):
        grams.append(characters[:, 1:-1] if n == 1 else tf.strings.ngrams(characters, n, ""))
    return tf.concat(grams, axis=1)


def _fnv1a(strings: tf.Tensor, max_characters: int) -> tf.Tensor:
    """32-bit FNV-1a of [N] strings -> [N] int64, with fastText's twist that bytes are signed."""
    width = max_characters * _BYTES_OF_CHARACTER
    data = tf.io.decode_raw(strings, tf.int8, fixed_length=width)
    lengths = tf.strings.length(strings)
    hashes = tf.fill(tf.shape(lengths), tf.constant(_FNV_OFFSET, tf.int64))
    for position in range(width):
        byte = tf.cast(data[:, position], tf.int64) & 0xFFFFFFFF
        mixed = (tf.bitwise.bitwise_xor(hashes, byte) * _FNV_PRIME) & 0xFFFFFFFF
        hashes = tf.where(position < lengths, mixed, hashes)
    return hashes
