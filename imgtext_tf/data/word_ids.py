"""Sentences -> the ids that models take: the same for training, predictions and exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from imgtext_tf.data import fasttext
from imgtext_tf.data.text import Vocabulary, pad_text, tokenize


def text_inputs(
    sentences: tf.RaggedTensor,
    vocabulary: Vocabulary,
    *,
    max_sentences: int = 30,
    max_words: int = 50,
    ngrams: Mapping[str, int] | None = None,
    fixed: bool = False,
    drop: Callable[[tf.RaggedTensor], tf.RaggedTensor] | None = None,
) -> dict[str, tf.Tensor]:
    """What models take of texts: the same here, in predictions and in exported models.

    Args:
        sentences: [B, (S)] string.
        vocabulary: gives the word ids.
        max_sentences: further sentences are cut off.
        max_words: further words of a sentence are cut off.
        ngrams: see `relation_dataset`.
        fixed: pad to these limits, not to the longest of the batch.
        drop: leaves out some of the words [B, (S), (W)] string, for training.

    Returns:
        `word_ids` [B, S, W] int32 and, with n-grams, `ngram_ids` [B, S, W, G] int32.
    """
    limits = {"max_sentences": max_sentences, "max_words": max_words}
    words = tokenize(sentences[:, :max_sentences])[:, :, :max_words]
    if drop is not None:
        words = drop(words)
    inputs = {"word_ids": pad_text(vocabulary.ids(words), fixed=fixed, **limits)}
    if ngrams is not None:
        inputs["ngram_ids"] = fasttext.ngram_ids(words, inputs["word_ids"], **ngrams)
    return inputs


def longest_sentences(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """The words of each text's longest sentence, counted as for the ids: [B] int64, before a cut.

    Args:
        texts: their sentences, one or more each.
    """
    words = tokenize(tf.ragged.constant([list(text) for text in texts], tf.string, ragged_rank=1))
    return tf.reduce_max(words.row_lengths(axis=2), axis=1).numpy()
