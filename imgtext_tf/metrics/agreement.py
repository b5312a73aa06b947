"""How far annotators agree: Krippendorff's alpha, majority labels, votes against given labels.

Votes are an array [N, A] of N pairs and A annotators that holds label numbers from 0 on, `MISSING`
where an annotator did not see a pair and `UNSURE` where they could not tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MISSING = -1
UNSURE = -2


def coincidence_matrix(votes: np.ndarray, *, num_labels: int) -> np.ndarray:
    """Counts the pairs of equal and unequal votes within each unit.

    o[c, k] = sum over units u of (ordered pairs of votes c and k in u) / (m_u - 1), where m_u is
    the number of votes of u. A unit with fewer than two votes pairs with nothing and is left out.

    Args:
        votes: [N, A] integers in [0, num_labels), negative where there is no vote.
        num_labels: number of labels C.

    Returns:
        [C, C] float64, symmetric; it sums to the number of votes that can be paired.

    Raises:
        ValueError: if the votes are no matrix or a label is out of range.

    Reference: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), Section C.
    """
    counts = _counts(votes, num_labels).astype(np.float64)
    size = counts.sum(axis=1)
    counts, size = counts[size > 1], size[size > 1]
    # A vote makes no pair with itself.
    weighted = counts / (size - 1)[:, None]
    return weighted.T @ counts - np.diag(weighted.sum(axis=0))


def krippendorff_alpha(votes: np.ndarray, *, num_labels: int) -> float:
    """Krippendorff's alpha for nominal labels, with any number of annotators and missing votes.

    alpha = 1 - D_o / D_e = 1 - (n - 1) * sum_{c != k} o[c, k] / sum_{c != k} n[c] n[k]

    Args:
        votes: [N, A] integers in [0, num_labels), negative where there is no vote.
        num_labels: number of labels C.

    Returns:
        1 for full agreement, 0 for that of chance; at most 1 and possibly negative. 0 if there is
        nothing to tell apart: no pair of votes, or a single label throughout.

    Raises:
        ValueError: as `coincidence_matrix`.

    Reference: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), Section C.
    """
    observed = coincidence_matrix(votes, num_labels=num_labels)
    totals = observed.sum(axis=1)
    number = totals.sum()
    expected = number**2 - (totals**2).sum()
    if expected == 0:
        return 0.0
    disagreement = observed.sum() - np.trace(observed)
    return float(1 - (number - 1) * disagreement / expected)


def alpha_of_label(votes: np.ndarray, label: int, *, num_labels: int) -> float:
    """Alpha of one label against all others: which classes the annotators can tell.

    Args:
        votes: as in `krippendorff_alpha`.
        label: the label in question.
        num_labels: number of labels C.
    """
    _counts(votes, num_labels)
    votes = np.asarray(votes)
    return krippendorff_alpha(np.where(votes < 0, MISSING, votes == label), num_labels=2)


def majority_labels(votes: np.ndarray, *, num_labels: int) -> np.ndarray:
    """The label that more than half of a pair's votes name.

    Args:
        votes: [N, A] integers in [0, num_labels), `UNSURE` or `MISSING`. A missing vote does not
            count; an unsure one does, so that it can keep a label from its majority.
        num_labels: number of labels C.

    Returns:
        [N] int64: the label, `UNSURE` if that has the majority, `MISSING` if nothing has.

    Reference: Otto2020, Section 5.1.
    """
    counts = np.column_stack([_counts(votes, num_labels), (np.asarray(votes) == UNSURE).sum(1)])
    best = counts.argmax(axis=1)
    labels = np.where(best == num_labels, UNSURE, best)
    return np.where(2 * counts.max(axis=1) > counts.sum(axis=1), labels, MISSING)


def vote_counts(
    given: Sequence[int] | np.ndarray, votes: np.ndarray, *, num_labels: int
) -> dict[str, np.ndarray]:
    """Compares given labels with single votes, not with their majority.

    Args:
        given: [N] labels in [0, num_labels), such as those of an automatic build.
        votes: [N, A] integers in [0, num_labels), `UNSURE` or `MISSING`.
        num_labels: number of labels C.

    Returns:
        [C] arrays: `hits` (votes for the given label), `given` (votes on pairs with the given
        label, the unsure ones included), `cast` (votes for the label), int64; `precision` =
        hits / given and `recall` = hits / cast, float64, 0 where undefined.

    Raises:
        ValueError: if the lengths differ or a label is out of range.

    Reference: Otto2020, Table 3, whose 16 figures are such counts of 2,400 votes.
    """
    given, votes = np.asarray(given), np.asarray(votes)
    cast = _counts(votes, num_labels)
    if given.shape != votes.shape[:1]:
        raise ValueError(f"{given.shape} labels were given for {votes.shape[0]} pairs")
    if given.size and not (0 <= given.min() and given.max() < num_labels):
        raise ValueError(f"a given label lies outside of 0..{num_labels - 1}")
    is_label = given[:, None] == np.arange(num_labels)
    counts = {
        "hits": (cast * is_label).sum(axis=0),
        "given": ((votes != MISSING).sum(axis=1)[:, None] * is_label).sum(axis=0),
        "cast": cast.sum(axis=0),
    }
    for name, whole in (("precision", "given"), ("recall", "cast")):
        counts[name] = counts["hits"] / np.maximum(counts[whole], 1)
    return counts


def _counts(votes: np.ndarray, num_labels: int) -> np.ndarray:
    """[N, C] int64: how many votes of each pair name each label."""
    votes = np.asarray(votes)
    if votes.ndim != 2:
        raise ValueError(f"votes of shape {votes.shape}: give [pairs, annotators]")
    if votes.size and not (UNSURE <= votes.min() and votes.max() < num_labels):
        raise ValueError(f"a vote lies outside of {UNSURE}..{num_labels - 1}")
    return (votes[:, :, None] == np.arange(num_labels)).sum(axis=1)
