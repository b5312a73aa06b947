"""Gordo2017's triplets: which images are relevant to a query, and mining of the hardest triplets.

Places are rows of the train split's arrays. Everything is a pure function of its arguments, seeds
included, so that a stopped training mines the same triplets again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse

from imgtext_tf.metrics.graded_ranking import top_places

_ROWS_AT_ONCE = 1024  # of similarities held densely
_QUERIES_AT_ONCE = 16  # each with an array of its pairs by the pool


def nearest_texts(texts: scipy.sparse.csr_matrix, neighbours: int) -> np.ndarray:
    """The images with the most similar texts: the relevant ones of each image.

    Args:
        texts: [N, V] l2-normalised tf-idf vectors.
        neighbours: k; the paper's 32.

    Returns:
        [N, k] int32, most similar first; an image is not its own neighbour.

    Raises:
        ValueError: if there are no more than k images.

    Reference: Gordo2017, Section 5.1.
    """
    count = texts.shape[0]
    if count <= neighbours:
        raise ValueError(f"{count} images have no {neighbours} neighbours: use a smaller k")
    found = np.empty([count, neighbours], np.int32)
    transposed = texts.T.tocsr()
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, count))
        similar = (texts[rows] @ transposed).toarray()
        similar[np.arange(len(similar)), np.arange(rows.start, rows.stop)] = -np.inf
        found[rows] = top_places(similar, neighbours)
    return found


def draw_pool(
    neighbours: np.ndarray, *, queries: int, positives: int, seed: int, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a pool of images: queries, and for each some of its relevant images.

    Args:
        neighbours: [N, k] of `nearest_texts`.
        queries: the paper's 500.
        positives: relevant images a query; the paper's 9.
        seed: of the training.
        number: of the pool.

    Returns:
        [P] the pool's images, the queries first, each image once; and [queries, positives], the
        places in the pool of the images drawn for each query. Both int64.

    Raises:
        ValueError: if there are fewer images or neighbours than are to be drawn.

    Reference: Gordo2017, Section 6.1.
    """
    count, k = neighbours.shape
    if queries > count or positives > k:
        raise ValueError(f"cannot draw {queries} queries of {count} images with {positives} of {k} "
                         "neighbours: use smaller numbers")  # fmt: skip
    rng = np.random.default_rng([seed, number, 0])
    chosen = rng.permutation(count)[:queries]
    columns = np.argsort(rng.random([queries, k]), axis=1)[:, :positives]
    relevant = np.take_along_axis(neighbours[chosen], columns, axis=1)
    others = np.setdiff1d(relevant, chosen)
    pool = np.concatenate([chosen, others]).astype(np.int64)
    place_of = np.full(count, -1, np.int64)
    place_of[pool] = np.arange(len(pool))
    return pool, place_of[relevant]


def may_be_negative(neighbours: np.ndarray, pool: np.ndarray, queries: int) -> np.ndarray:
    """Which images of a pool are irrelevant to each query: [queries, P] bool.

    All of a query's k neighbours are relevant, whether they were drawn for it or not.
    """
    place_of = np.full(len(neighbours), -1, np.int64)
    place_of[pool] = np.arange(len(pool))
    allowed = np.ones([queries, len(pool)], bool)
    places = place_of[neighbours[pool[:queries]]]
    rows, columns = np.nonzero(places >= 0)
    allowed[rows, places[rows, columns]] = False
    allowed[np.arange(queries), np.arange(queries)] = False
    return allowed


def pool_scores(
    phi: np.ndarray, theta: np.ndarray | None, queries: int, losses: Mapping[str, float]
) -> list[tuple[float, np.ndarray]]:
    """The products that each loss compares: (weight, [queries, P] float32).

    Args:
        phi: [P, D] embeddings of the pool's images.
        theta: [P, D] of their texts; None for the visual loss alone.
        queries: number of them; they come first.
        losses: weights of "visual" (Eq. 1), "image_to_text" (Eq. 2), "text_to_image" (Eq. 3).
    """
    sides = {
        "visual": (phi, phi),
        "image_to_text": (phi, theta),
        "text_to_image": (theta, phi),
    }
    return [
        (weight, sides[name][0][:queries] @ sides[name][1].T)
        for name, weight in losses.items()
        if weight
    ]


def hardest_triplets(
    scores: list[tuple[float, np.ndarray]],
    positives: np.ndarray,
    allowed: np.ndarray,
    *,
    margin: float,
    keep: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """The triplets of largest loss of every query and relevant image.

    The loss is the weighted sum of 1/2 max(0, m - s(q, +) + s(q, -)) over the scores s. Triplets
    without a loss are left out; of equal ones the negative with the lower place stays.

    Args:
        scores: of `pool_scores`.
        positives: [Q, n] places of relevant images, of `draw_pool`.
        allowed: [Q, P] of `may_be_negative`.
        margin: m.
        keep: triplets a pair; the paper's 100.

    Returns:
        [T, 3] int64 places of query, relevant and irrelevant image, sorted by query and then by
        falling loss within each pair; and their losses [T] float32.

    Reference: Gordo2017, Section 6.1.
    """
    keep = min(keep, allowed.shape[1])
    mine = _hardest_of_one if len(scores) == 1 else _hardest_of_several
    triplets, losses = [], []
    for start in range(0, len(positives), _QUERIES_AT_ONCE):
        rows = np.arange(start, min(start + _QUERIES_AT_ONCE, len(positives)))
        parts = [(weight, values[rows].astype(np.float64)) for weight, values in scores]
        negatives, loss = mine(parts, positives[rows], allowed[rows], margin, keep)
        query, pair, column = np.nonzero(loss > 0)
        chosen = negatives[query, pair, column]
        triplets.append(np.stack([rows[query], positives[rows[query], pair], chosen], axis=1))
        losses.append(loss[query, pair, column].astype(np.float32))
    return np.concatenate(triplets), np.concatenate(losses)


def _hardest_of_one(
    scores: list[tuple[float, np.ndarray]],
    positives: np.ndarray,
    allowed: np.ndarray,
    margin: float,
    keep: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Places and losses [q, n, keep]; with one score all pairs of a query have the same order."""
    ((weight, values),) = scores
    masked = np.where(allowed, values, -np.inf)
    chosen = top_places(masked, keep)
    irrelevant = np.take_along_axis(masked, chosen, axis=1)[:, None]
    relevant = np.take_along_axis(values, positives, axis=1)[:, :, None]
    loss = weight * 0.5 * np.maximum(0, margin - relevant + irrelevant)
    return np.broadcast_to(chosen[:, None], loss.shape), loss


def _hardest_of_several(
    scores: list[tuple[float, np.ndarray]],
    positives: np.ndarray,
    allowed: np.ndarray,
    margin: float,
    keep: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Places and losses [q, n, keep]."""
    loss = np.zeros([*positives.shape, allowed.shape[1]])
    for weight, values in scores:
        relevant = np.take_along_axis(values, positives, axis=1)[:, :, None]
        loss += weight * 0.5 * np.maximum(0, margin - relevant + values[:, None])
    loss *= allowed[:, None]
    chosen = top_places(loss.reshape(-1, loss.shape[-1]), keep).reshape(*positives.shape, keep)
    return chosen, np.take_along_axis(loss, chosen, axis=2)


def ordered_triplets(
    texts: scipy.sparse.csr_matrix, count: int, *, seed: int, number: int
) -> np.ndarray:
    """Triplets by direct order: q, d+ and d- drawn at random such that s(q, d+) > s(q, d-).

    What the paper tried first, and found not to help.

    Args:
        texts: [N, V] l2-normalised tf-idf vectors.
        count: triplets to draw.
        seed: of the training.
        number: of the draw.

    Returns:
        [count, 3] int64.

    Reference: Gordo2017, Section 5.1.
    """
    rng = np.random.default_rng([seed, number, 1])
    kept: list[np.ndarray] = []
    missing = count
    while missing > 0:
        drawn = rng.integers(texts.shape[0], size=[2 * missing, 3])
        first, second = (
            np.asarray(texts[drawn[:, 0]].multiply(texts[drawn[:, place]]).sum(axis=1)).ravel()
            for place in (1, 2)
        )
        drawn[second > first] = drawn[second > first][:, [0, 2, 1]]
        distinct = (first != second) & (drawn[:, 0] != drawn[:, 1]) & (drawn[:, 0] != drawn[:, 2])
        kept.append(drawn[distinct][:missing])
        missing -= len(kept[-1])
    return np.concatenate(kept)
