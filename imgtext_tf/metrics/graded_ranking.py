"""Rankings whose items are relevant by degrees: NDCG@R, PCC@R and the areas under their curves.

`relevance` and `scores` are [Q, N]: a row for each query, a column for each item of the database,
larger is better. A query's own column is left out by `exclude`. Of equal scores the item with the
lower column comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GAINS = ("linear", "exponential")
DISCOUNTS = ("log2", "jarvelin")
IDEALS = ("database", "retrieved")
# The paper does not print its values of R.
CUTOFFS = (1, 2, 4, 8, 16, 32, 64, 128)


def top_places(scores: np.ndarray, depth: int) -> np.ndarray:
    """The columns of the largest scores of each row, best first: [Q, N] -> [Q, depth] int64.

    Exactly what a stable sort gives, but it sorts only what it returns.

    Raises:
        ValueError: if there are fewer columns than `depth`, or a score is NaN.
    """
    if not 1 <= depth <= scores.shape[1]:
        raise ValueError(f"depth {depth} is not in [1, {scores.shape[1]}]")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    if depth == scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")
    places = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    values = np.take_along_axis(scores, places, axis=1)
    last = values.min(axis=1, keepdims=True)
    # Where equal scores stand on both sides of the cut, the partition chose any of them.
    tied = (scores == last).sum(axis=1) > (values == last).sum(axis=1)
    for row in np.flatnonzero(tied):
        places[row] = np.argsort(-scores[row], kind="stable")[:depth]
        values[row] = scores[row, places[row]]
    return np.take_along_axis(places, np.lexsort((places, -values), axis=1), axis=1)


def ranking(scores: np.ndarray, depth: int, *, exclude: np.ndarray | None = None) -> np.ndarray:
    """`top_places` without one column a row, such as the query itself.

    Args:
        scores: [Q, N].
        depth: items to retrieve, at most N, or N - 1 with `exclude`.
        exclude: [Q] int, the column to leave out of each row.

    Returns:
        [Q, depth] int64.
    """
    if exclude is not None:
        if depth >= scores.shape[1]:
            raise ValueError(f"depth {depth} leaves no item of {scores.shape[1]} to exclude")
        scores = np.array(scores, dtype=np.result_type(scores, np.float32))
        scores[np.arange(len(scores)), exclude] = -np.inf
    return top_places(scores, depth)


def ndcg(
    relevance: np.ndarray,
    scores: np.ndarray,
    cutoffs: Sequence[int] = CUTOFFS,
    *,
    exclude: np.ndarray | None = None,
    gain: str = "linear",
    discount: str = "log2",
    ideal: str = "database",
) -> np.ndarray:
    """Normalised discounted cumulative gain of each query at each cutoff R.

    DCG@R = sum over ranks i = 1..R of gain(relevance) / discount(i), over its largest value.

    Args:
        relevance: [Q, N], at least 0.
        scores: [Q, N].
        cutoffs: values of R.
        exclude: see `ranking`.
        gain: "linear", or "exponential" for 2^relevance - 1.
        discount: "log2" for log2(i + 1), "jarvelin" for max(1, log2 i).
        ideal: the best order of the whole "database", or of the "retrieved" R items only.

    Returns:
        [Q, cutoffs] float64 in [0, 1]; 0 where nothing is relevant.

    Raises:
        ValueError: if a choice is unknown or a cutoff larger than the database.

    Reference: Gordo2017, Section 6.1.
    """
    if gain not in GAINS or discount not in DISCOUNTS or ideal not in IDEALS:
        raise ValueError(f"use gain of {GAINS}, discount of {DISCOUNTS}, ideal of {IDEALS}")
    depth = max(cutoffs)
    retrieved = ranking(scores, depth, exclude=exclude)
    found = _gains(np.take_along_axis(relevance, retrieved, axis=1), gain)
    ranks = np.arange(1, depth + 1)
    weights = 1 / (np.log2(ranks + 1) if discount == "log2" else np.maximum(1, np.log2(ranks)))
    places = np.asarray(cutoffs) - 1
    reached = np.cumsum(found * weights, axis=1)[:, places]
    if ideal == "database":
        best = ranking(relevance, depth, exclude=exclude)
        order = _gains(np.take_along_axis(relevance, best, axis=1), gain)
        possible = np.cumsum(order * weights, axis=1)[:, places]
    else:
        possible = np.stack(
            [-np.sort(-found[:, :cutoff], axis=1) @ weights[:cutoff] for cutoff in cutoffs], axis=1
        )
    return np.divide(reached, possible, out=np.zeros_like(reached), where=possible > 0)


def pcc(
    relevance: np.ndarray,
    scores: np.ndarray,
    cutoffs: Sequence[int] = CUTOFFS[1:],
    *,
    exclude: np.ndarray | None = None,
) -> np.ndarray:
    """Pearson's correlation of relevance and score over the R best items of each query.

    Args:
        relevance: [Q, N].
        scores: [Q, N].
        cutoffs: values of R, at least 2.
        exclude: see `ranking`.

    Returns:
        [Q, cutoffs] float64; 0 where one of the two does not vary.

    Raises:
        ValueError: if a cutoff is below 2 or larger than the database.

    Reference: Gordo2017, Section 6.1.
    """
    if min(cutoffs) < 2:
        raise ValueError("a correlation needs two items: use cutoffs of 2 or more")
    retrieved = ranking(scores, max(cutoffs), exclude=exclude)
    pairs = [np.take_along_axis(values, retrieved, axis=1) for values in (relevance, scores)]
    return np.stack(
        [pearson(*(values[:, :cutoff] for values in pairs)) for cutoff in cutoffs], axis=1
    )


def pearson(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis; 0 where a side does not vary."""
    sides = [np.asarray(side, np.float64) for side in (first, second)]
    # A constant row has a mean that is off by a rounding, and would seem to vary.
    varies = np.all([np.ptp(side, axis=-1) > 0 for side in sides], axis=0)
    sides = [side - side.mean(axis=-1, keepdims=True) for side in sides]
    product = np.sum(sides[0] * sides[1], axis=-1)
    norm = np.sqrt(np.prod([np.sum(side**2, axis=-1) for side in sides], axis=0))
    return np.divide(product, norm, out=np.zeros_like(product), where=varies & (norm > 0))


def area(curve: np.ndarray, cutoffs: Sequence[int], *, scale: str = "mean") -> float:
    """The area under a curve over R, divided by its width, so that a curve of ones has area 1.

    Args:
        curve: [cutoffs].
        cutoffs: values of R, rising.
        scale: "mean", the mean over the cutoffs; or the trapezoid rule over "linear" R or "log" R.

    Raises:
        ValueError: if the scale is unknown or the cutoffs do not rise.

    Reference: Gordo2017, Table 2.
    """
    curve, cutoffs = np.asarray(curve, np.float64), np.asarray(cutoffs, np.float64)
    if scale not in ("mean", "linear", "log") or np.any(np.diff(cutoffs) <= 0):
        raise ValueError(f"scale {scale!r}: use mean, linear or log, and rising cutoffs")
    if scale == "mean" or len(cutoffs) == 1:
        return float(curve.mean())
    places = cutoffs if scale == "linear" else np.log2(cutoffs)
    return float(np.trapezoid(curve, places) / (places[-1] - places[0]))


def ranking_metrics(
    relevance: np.ndarray,
    scores: np.ndarray,
    cutoffs: Sequence[int] = CUTOFFS,
    *,
    exclude: np.ndarray | None = None,
    scale: str = "mean",
    **choices: str,
) -> dict[str, float]:
    """The numbers of Table 2 and the curves of Figure 2, in points of 100 as the paper prints them.

    Args:
        relevance: [Q, N].
        scores: [Q, N].
        cutoffs: values of R; the correlation leaves out 1.
        exclude: see `ranking`.
        scale: see `area`.
        **choices: of `ndcg`.

    Returns:
        `ndcg_auc`, `pcc_auc`, `ndcg@R` and `pcc@R` for each R, means over the queries.
    """
    of_pairs = [cutoff for cutoff in cutoffs if cutoff >= 2]
    gains = 100 * ndcg(relevance, scores, cutoffs, exclude=exclude, **choices).mean(axis=0)
    correlations = 100 * pcc(relevance, scores, of_pairs, exclude=exclude).mean(axis=0)
    return {
        "ndcg_auc": area(gains, cutoffs, scale=scale),
        "pcc_auc": area(correlations, of_pairs, scale=scale),
        **{f"ndcg@{r}": float(v) for r, v in zip(cutoffs, gains, strict=True)},
        **{f"pcc@{r}": float(v) for r, v in zip(of_pairs, correlations, strict=True)},
    }


def _gains(relevance: np.ndarray, gain: str) -> np.ndarray:
    relevance = np.asarray(relevance, np.float64)
    return relevance if gain == "linear" else np.exp2(relevance) - 1
