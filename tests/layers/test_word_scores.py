import numpy as np

from imgtext_tf import layers
from tests.layer_checks import check_layer


def test_word_scores_in_loop_form(tmp_path):
    # Three words in two sentences, one of them twice; one word; none.
    word_ids = np.array([[[2, 5, 0], [2, 0, 0]], [[1, 0, 0], [0, 0, 0]], [[0] * 3] * 2], "int32")
    table = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")

    def make():
        layer = layers.WordScores(6, 4, gain=3.0)
        layer.build(None)
        layer.table.assign(table)
        return layer

    _, output = check_layer(make, word_ids, tmp_path=tmp_path)
    expected = [
        3 * (2 * table[2] + table[5]) / 3**0.5,
        3 * table[1],
        np.zeros(4),
    ]
    np.testing.assert_allclose(output, expected, rtol=1e-5)


def test_all_words_score_nothing_at_the_start():
    output = layers.WordScores(6, 4)(np.array([[[2, 3]]], "int32"))
    np.testing.assert_array_equal(np.asarray(output), np.zeros((1, 4)))
