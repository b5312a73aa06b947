"""NDCG, PCC and their areas: values worked out by hand, scikit-learn, and loop forms."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from imgtext_tf.metrics import graded_ranking

RELEVANCE = np.array([[0.9, 0.5, 0.1, 0.3, 0.0]])
SCORES = np.array([[0.2, 0.8, 0.6, 0.4, 0.1]])
RNG = np.random.default_rng(0)
# NDCG at 1, 2, 3 and 5 of the pair above, by hand.
VARIANTS = {
    ("linear", "log2", "database"): (0.5556, 0.4633, 0.5222, 0.7815),
    ("exponential", "log2", "database"): (0.4783, 0.4076, 0.4627, 0.7442),
    ("linear", "jarvelin", "database"): (0.5556, 0.4286, 0.4966, 0.7560),
    ("linear", "log2", "retrieved"): (1.0, 1.0, 0.9646, 0.7815),
}


@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_ndcg_by_hand(variant):
    choices = dict(zip(("gain", "discount", "ideal"), variant, strict=True))
    found = graded_ranking.ndcg(RELEVANCE, SCORES, (1, 2, 3, 5), **choices)
    np.testing.assert_allclose(found[0], VARIANTS[variant], atol=5e-5)


def test_ndcg_equals_scikit_learns():
    relevance, scores = RNG.random([20, 50]), RNG.random([20, 50])
    found = graded_ranking.ndcg(relevance, scores, (1, 7, 30))
    for column, cutoff in enumerate((1, 7, 30)):
        expected = [
            ndcg_score(relevance[row : row + 1], scores[row : row + 1], k=cutoff, ignore_ties=True)
            for row in range(20)
        ]
        np.testing.assert_allclose(found[:, column], expected, atol=1e-12)


def test_the_query_is_left_out_of_ranking_and_ideal():
    relevance = RNG.random([5, 5])
    np.fill_diagonal(relevance, 1)
    scores = RNG.random([5, 5])
    np.fill_diagonal(scores, 9)
    found = graded_ranking.ndcg(relevance, scores, (1, 3), exclude=np.arange(5))
    for row in range(5):
        kept = np.arange(5) != row
        expected = graded_ranking.ndcg(relevance[row, kept][None], scores[row, kept][None], (1, 3))
        np.testing.assert_allclose(found[row], expected[0], atol=1e-12)


def test_without_relevance_ndcg_is_zero():
    assert not graded_ranking.ndcg(np.zeros([1, 3]), RNG.random([1, 3]), (1, 2)).any()


def test_pcc_by_hand():
    # Retrieved in the order 0.5, 0.1, 0.3, 0.9, 0.0 with scores 0.8, 0.6, 0.4, 0.2, 0.1.
    found = graded_ranking.pcc(RELEVANCE, SCORES, (2, 3, 5))
    np.testing.assert_allclose(found[0], [1.0, 0.5, 0.0098], atol=5e-5)


def test_pcc_equals_numpys_and_is_zero_without_variance():
    relevance, scores = RNG.random([6, 40]), RNG.random([6, 40])
    relevance[0] = 0.1
    found = graded_ranking.pcc(relevance, scores, (10,))[:, 0]
    assert found[0] == 0
    for row in range(1, 6):
        top = np.argsort(-scores[row])[:10]
        expected = np.corrcoef(relevance[row, top], scores[row, top])[0, 1]
        assert found[row] == pytest.approx(expected)


@pytest.mark.parametrize("depth", [1, 4, 29, 30])
def test_top_places_is_a_stable_sort_also_among_ties(depth):
    scores = RNG.integers(0, 4, [50, 30]).astype("float32")
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    np.testing.assert_array_equal(graded_ranking.top_places(scores, depth), expected)


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        graded_ranking.top_places(np.array([[1, np.nan]]), 1)
    with pytest.raises(ValueError, match="depth 3"):
        graded_ranking.ndcg(np.ones([1, 3]), np.ones([1, 3]), (3,), exclude=np.array([0]))
    with pytest.raises(ValueError, match="2 or more"):
        graded_ranking.pcc(RELEVANCE, SCORES, (1, 2))
    with pytest.raises(ValueError, match="gain"):
        graded_ranking.ndcg(RELEVANCE, SCORES, (1,), gain="cubic")


def test_area():
    assert graded_ranking.area([1.0, 3.0], (1, 4)) == 2
    # Trapezoids: 1 x 2 and 2 x 3 over 3; on log2 R 2 and 3 over 2.
    assert graded_ranking.area([1.0, 3.0, 3.0], (1, 2, 4), scale="linear") == pytest.approx(8 / 3)
    assert graded_ranking.area([1.0, 3.0, 3.0], (1, 2, 4), scale="log") == pytest.approx(2.5)
    assert graded_ranking.area(np.ones(8), graded_ranking.CUTOFFS, scale="linear") == 1
    with pytest.raises(ValueError, match="rising"):
        graded_ranking.area([1, 2], (2, 1))


def test_the_oracle_has_100_points_and_chance_little():
    relevance = RNG.random([30, 400]) ** 6
    oracle = graded_ranking.ranking_metrics(relevance, relevance)
    chance = graded_ranking.ranking_metrics(relevance, RNG.random([30, 400]))
    assert oracle["ndcg_auc"] == pytest.approx(100) and oracle["pcc_auc"] == pytest.approx(100)
    assert chance["ndcg_auc"] < 40 and abs(chance["pcc_auc"]) < 15
    assert {"ndcg@1", "ndcg@128", "pcc@2"} <= set(oracle) and "pcc@1" not in oracle
