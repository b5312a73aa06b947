"""Metrics where a photo has several labels, or several right phrases, in NumPy only.

Labels are partial: 1 is verified to be there, 0 verified to be absent, -1 unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

UNKNOWN = -1


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    """The mean precision at the relevant places of a ranking, not interpolated.

    Args:
        scores: [N] float; of equal scores the first comes first.
        relevant: [N] bool.

    Returns:
        The average precision; NaN without a relevant item.
    """
    relevant = np.asarray(relevant, bool)[np.argsort(-np.asarray(scores), kind="stable")]
    if not relevant.any():
        return float("nan")
    places = np.flatnonzero(relevant) + 1
    return float(np.mean(np.arange(1, len(places) + 1) / places))


def average_precisions(
    scores: np.ndarray, labels: np.ndarray, *, unannotated: str = "ignore"
) -> np.ndarray:
    """The average precision of each label over the photos.

    Args:
        scores: [N, C] float.
        labels: [N, C] in {1, 0, -1}.
        unannotated: "ignore" leaves the photos out where a label is unknown; "negative" takes
            unknown for absent.

    Returns:
        [C] float; NaN for a label without a positive or, under "ignore", without a negative photo.

    Raises:
        ValueError: if the shapes differ, or `unannotated` is unknown.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape != labels.shape or unannotated not in ("ignore", "negative"):
        raise ValueError(f"scores {scores.shape}, labels {labels.shape}, {unannotated!r}")
    found = np.full(scores.shape[1], np.nan)
    for label in range(scores.shape[1]):
        known = np.ones(len(labels), bool)
        if unannotated == "ignore":
            known = labels[:, label] != UNKNOWN
        truth = labels[known, label] == 1
        if truth.any() and not truth.all():
            found[label] = average_precision(scores[known, label], truth)
    return found


def mean_average_precision(
    scores: np.ndarray, labels: np.ndarray, *, unannotated: str = "ignore"
) -> float:
    """The plain mean of `average_precisions` over the labels that have one; 0 if none has.

    Reference: Shah2019, Section 4.2.3.
    """
    found = average_precisions(scores, labels, unannotated=unannotated)
    return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0


def precision_recall(
    scores: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The curve over all verified (photo, label) cells, from the highest threshold down.

    Args:
        scores: any shape.
        labels: the same shape, in {1, 0, -1}; unknown cells are left out.

    Returns:
        Precision, recall and threshold at each distinct score.

    Reference: Shah2019, Fig. 4.
    """
    known = np.asarray(labels) != UNKNOWN
    flat, truth = np.asarray(scores)[known], np.asarray(labels)[known] == 1
    order = np.argsort(-flat, kind="stable")
    flat, hits = flat[order], np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(flat) != 0, True))  # of each run of equal scores
    return hits[last] / (last + 1), hits[last] / max(1, truth.sum()), flat[last]


def recall_at_precision(scores: np.ndarray, labels: np.ndarray, precision: float) -> float:
    """The largest recall whose precision is at least this one; 0 if none is.

    Reference: Shah2019, Section 4.2.3.
    """
    found, recall, _ = precision_recall(scores, labels)
    return float(recall[found >= precision].max(initial=0.0))


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of rows whose label is among the k best scores; of equals the first is best.

    Args:
        scores: [N, C] float.
        labels: [N] int.
        k: 1 or 5, say.
    """
    best = np.argsort(-np.asarray(scores), axis=1, kind="stable")[:, :k]
    return float(np.mean((best == np.asarray(labels)[:, None]).any(1)))


def precision_at(ranked: Sequence[Sequence], truth: Sequence[Collection], k: int) -> np.ndarray:
    """For each photo, the share of its first k phrases that are right: [N] float.

    Args:
        ranked: the phrases of each photo, best first; where there are fewer than k, the missing
            ones count as wrong.
        truth: the right phrases of each photo.
        k: 3 in the paper's pipeline.
    """
    return np.array(
        [
            sum(one in right for one in list(row)[:k]) / k
            for row, right in zip(ranked, truth, strict=True)
        ]
    )


def recall_at(ranked: Sequence[Sequence], truth: Sequence[Collection], k: int) -> np.ndarray:
    """For each photo, the share of its right phrases among its first k: [N] float; 0 if none."""
    return np.array(
        [
            len(set(list(row)[:k]) & set(right)) / max(1, len(right))
            for row, right in zip(ranked, truth, strict=True)
        ]
    )
