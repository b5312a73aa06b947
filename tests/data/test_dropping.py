"""Words and sentences left out of training texts."""

import numpy as np
import tensorflow as tf

from imgtext_tf.data.dropping import drop_text

SEED = tf.constant([3, 4], tf.int64)
TEXTS = tf.ragged.constant(
    [[["a", "b", "c", "d"], ["e", "f"], ["g"]], [["h"]], [["i", "j"], ["k", "l", "m"]]] * 40
)


def test_without_rates_nothing_goes():
    assert drop_text(TEXTS, SEED).to_list() == TEXTS.to_list()


def test_shares_are_the_rates_and_order_stays():
    texts = tf.ragged.constant([[[f"{s}-{w}" for w in range(20)] for s in range(10)]] * 200)
    kept = drop_text(texts, SEED, sentence_rate=0.3, word_rate=0.2).to_list()
    sentences = np.mean([len(text) for text in kept]) / 10
    words = np.mean([len(sentence) for text in kept for sentence in text]) / 20
    # Standard errors: sqrt(0.21 / 2000) = 0.010 and sqrt(0.16 / 28000) = 0.002.
    assert abs(sentences - 0.7) < 0.04
    assert abs(words - 0.8) < 0.01
    for text in kept:
        for sentence in text:
            numbers = [tuple(map(int, word.split(b"-"))) for word in sentence]
            assert numbers == sorted(numbers)
            assert len({number for number, _ in numbers}) == 1  # words stay in their sentence
        assert text == sorted(text, key=lambda sentence: int(sentence[0].split(b"-")[0]))


def test_one_sentence_and_one_word_stay():
    kept = drop_text(TEXTS, SEED, sentence_rate=1.0, word_rate=1.0).to_list()
    assert all(len(text) == 1 and len(text[0]) == 1 for text in kept)
    assert len({text[0][0] for text in kept[::3]}) > 3  # not always the same one


def test_a_worker_drops_what_a_single_one_would():
    rates = {"sentence_rate": 0.5, "word_rate": 0.5}
    whole = drop_text(TEXTS, SEED, **rates).to_list()
    part = drop_text(TEXTS[50:90], SEED, batch_size=len(whole), first=50, **rates)
    assert part.to_list() == whole[50:90]
    other = drop_text(TEXTS, SEED + 1, **rates).to_list()
    assert other != whole
    empty = tf.ragged.constant([[], [["a"]]], ragged_rank=2, dtype=tf.string)
    assert drop_text(empty, SEED, sentence_rate=0.5, word_rate=0.5).to_list() == [[], [[b"a"]]]
