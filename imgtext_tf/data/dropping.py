"""Leaves out words and sentences of training texts, so that a model cannot know them by heart."""

from __future__ import annotations

import tensorflow as tf


def drop_text(
    words: tf.RaggedTensor,
    seed: tf.Tensor,
    *,
    sentence_rate: float = 0.0,
    word_rate: float = 0.0,
    limits: tuple[int, int] = (30, 50),
    batch_size: int | None = None,
    first: int | tf.Tensor = 0,
) -> tf.RaggedTensor:
    """Drops sentences of texts and words of sentences; one of each always stays.

    What a row loses depends on the seed and its place in the global batch only, so that a worker
    that holds a slice of the batch drops what a single worker would.

    Args:
        words: [B, (S), (W)] string, cut to the limits.
        seed: [2] int64, of the step.
        sentence_rate: share of a text's sentences that goes.
        word_rate: share of a sentence's words that goes.
        limits: most sentences of a text and words of a sentence.
        batch_size: rows of the global batch; None for B.
        first: place in the global batch of this slice's first row.

    Returns:
        [B, (S), (W)] string without the dropped ones, in the same order.
    """
    rows = words.nrows(out_type=tf.int32)
    batch_size = rows if batch_size is None else batch_size

    def draws(stream: int, *shape: int) -> tf.Tensor:
        shape = tf.stack([batch_size, *shape])
        of_all = tf.random.stateless_uniform(shape, tf.random.fold_in(seed, stream))
        return of_all[first : first + rows]

    dense = words.to_tensor("")
    sentences, length = tf.unstack(tf.shape(dense)[1:])
    real = dense != ""
    has_words = tf.reduce_any(real, axis=-1)
    keep_sentence = _keep(draws(0, limits[0])[:, :sentences], has_words, sentence_rate)
    keep_word = _keep(draws(1, *limits)[:, :sentences, :length], real, word_rate)
    kept = tf.ragged.boolean_mask(dense, keep_word & keep_sentence[:, :, None])
    return tf.ragged.boolean_mask(kept, kept.row_lengths(axis=2) > 0)


def _keep(draws: tf.Tensor, real: tf.Tensor, rate: float) -> tf.Tensor:
    """Which real places stay, [..., N] bool: where the draw is `rate` or more, or the highest."""
    draws = tf.where(real, draws, -1.0)
    return real & ((draws >= rate) | (draws == tf.reduce_max(draws, axis=-1, keepdims=True)))
