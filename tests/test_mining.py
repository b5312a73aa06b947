"""Triplets: the relevant images, the pool, and the hardest triplets against a loop."""

import numpy as np
import pytest
import scipy.sparse

from imgtext_tf import mining
from tests import reference

RNG = np.random.default_rng(0)


def unit_rows(*shape):
    rows = RNG.normal(size=shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype("float32")


def sparse_texts(count, size=40):
    dense = np.where(RNG.random([count, size]) < 0.2, RNG.random([count, size]), 0) + 1e-3
    return scipy.sparse.csr_matrix(dense / np.linalg.norm(dense, axis=1, keepdims=True), dtype="f4")


def test_relevant_images_are_the_nearest_texts(monkeypatch):
    monkeypatch.setattr(mining, "_ROWS_AT_ONCE", 7)
    texts = sparse_texts(30)
    found = mining.nearest_texts(texts, 5)
    similar = (texts @ texts.T).toarray()
    for row in range(30):
        others = [other for other in range(30) if other != row]
        assert found[row].tolist() == sorted(others, key=lambda o: (-similar[row, o], o))[:5]
    with pytest.raises(ValueError, match="smaller k"):
        mining.nearest_texts(texts, 30)


def test_a_pool_holds_queries_and_nine_relevant_images_of_each():
    neighbours = mining.nearest_texts(sparse_texts(200), 32)
    pool, positives = mining.draw_pool(neighbours, queries=20, positives=9, seed=3, number=0)
    assert len(set(pool.tolist())) == len(pool) and positives.shape == (20, 9)
    for query, places in enumerate(positives):
        drawn = pool[places]
        assert len(set(drawn.tolist())) == 9 and set(drawn) <= set(neighbours[pool[query]])
    again, _ = mining.draw_pool(neighbours, queries=20, positives=9, seed=3, number=0)
    other, _ = mining.draw_pool(neighbours, queries=20, positives=9, seed=3, number=1)
    np.testing.assert_array_equal(pool, again)
    assert pool[:20].tolist() != other[:20].tolist()
    with pytest.raises(ValueError, match="smaller numbers"):
        mining.draw_pool(neighbours, queries=201, positives=9, seed=0, number=0)


@pytest.mark.parametrize(
    "weights",
    [
        {"visual": 1.0},
        {"image_to_text": 1.0},
        {"visual": 1.0, "image_to_text": 1.0, "text_to_image": 0.5},
    ],
    ids=lambda weights: f"{len(weights)}{next(iter(weights))}",
)
def test_the_hardest_triplets_are_those_of_the_loop(weights):
    texts = sparse_texts(150)
    neighbours = mining.nearest_texts(texts, 12)
    pool, positives = mining.draw_pool(neighbours, queries=18, positives=4, seed=0, number=5)
    phi, theta = unit_rows(len(pool), 6), unit_rows(len(pool), 6)
    scores = mining.pool_scores(phi, theta, 18, weights)
    allowed = mining.may_be_negative(neighbours, pool, 18)
    found, losses = mining.hardest_triplets(scores, positives, allowed, margin=0.1, keep=7)
    expected = reference.hardest_triplets(scores, pool, positives, neighbours, margin=0.1, keep=7)
    assert [tuple(row) for row in found] == [row for row, _ in expected]
    np.testing.assert_allclose(losses, [loss for _, loss in expected], rtol=1e-6)
    # By Eq. 1 to 3 with the vectors themselves.
    q, p, n = found[11]
    sides = {"visual": (phi, phi), "image_to_text": (phi, theta), "text_to_image": (theta, phi)}
    loss = sum(
        w * 0.5 * max(0, 0.1 - sides[k][0][q] @ sides[k][1][p] + sides[k][0][q] @ sides[k][1][n])
        for k, w in weights.items()
    )
    assert losses[11] == pytest.approx(loss, rel=1e-5)


def test_relevant_images_and_the_query_are_no_negatives():
    neighbours = mining.nearest_texts(sparse_texts(60), 20)
    pool, _ = mining.draw_pool(neighbours, queries=10, positives=3, seed=0, number=0)
    allowed = mining.may_be_negative(neighbours, pool, 10)
    for query in range(10):
        relevant = {*neighbours[pool[query]].tolist(), pool[query]}
        assert [one not in relevant for one in pool] == allowed[query].tolist()


def test_triplets_by_direct_order():
    texts = sparse_texts(50)
    triplets = mining.ordered_triplets(texts, 300, seed=1, number=2)
    assert triplets.shape == (300, 3)
    similar = (texts @ texts.T).toarray()
    q, p, n = triplets.T
    assert (similar[q, p] > similar[q, n]).all() and (q != p).all() and (q != n).all()
    np.testing.assert_array_equal(triplets, mining.ordered_triplets(texts, 300, seed=1, number=2))
