"""Agreement on which of two images is more like a query: among users, and of a method with users.

An annotation is a row (user, triplet, answer); answer 0 chooses the first image, 1 the second, 2
says both alike and 3 neither. Of a triplet, `votes` holds o1, o2 (the first, the second chosen) and
o3 (no choice: both or neither).

The paper averages (share that agrees) x (share that made a choice) over the triplets. A method that
guesses then gets 50 x the mean share of choices, while the paper's random row has 50.0; divided by
the sum of the shares of choices it gets 50. Both are given: "plain" and "normalised".
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

FIRST, SECOND, BOTH, NEITHER = range(4)


def votes(
    users: Sequence[Hashable], triplets: np.ndarray, answers: np.ndarray, *, count: int
) -> np.ndarray:
    """Counts (o1, o2, o3) of each triplet; of a user's answers to one triplet the first counts.

    Args:
        users: [A] names.
        triplets: [A] int in [0, count).
        answers: [A] int, see the module.
        count: number of triplets T.

    Returns:
        [T, 3] int64.
    """
    kept = _first_answers(users, triplets)
    table = np.zeros((count, 3), np.int64)
    np.add.at(table, (np.asarray(triplets)[kept], np.minimum(np.asarray(answers)[kept], 2)), 1)
    return table


def method_agreement(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """How far a method's choices are those of the users, in points of 100.

    Args:
        first: [T] similarity of the query and the first image by the method.
        second: [T] the same of the second image; a tie counts half for each.
        counts: [T, 3] of `votes`.

    Returns:
        `plain` (mean over the triplets with an annotator), `normalised`, and `triplets`, the
        number of those.

    Raises:
        ValueError: if no triplet has an annotator.

    Reference: Gordo2017, Section 3.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum(axis=1)
    asked = total > 0
    if not asked.any():
        raise ValueError("no triplet was answered")
    chosen = 0.5 * (1 + np.sign(np.asarray(first, np.float64) - np.asarray(second, np.float64)))
    agreeing = (chosen * counts[:, 0] + (1 - chosen) * counts[:, 1])[asked] / total[asked]
    deciding = (counts[:, 0] + counts[:, 1])[asked] / total[asked]
    return {
        "plain": 100 * float(agreeing.mean()),
        "normalised": 100 * float(agreeing.sum() / deciding.sum()) if deciding.any() else 0.0,
        "triplets": float(asked.sum()),
    }


def user_agreement(
    users: Sequence[Hashable],
    triplets: np.ndarray,
    answers: np.ndarray,
    *,
    count: int,
    min_answers: int = 1,
) -> dict[str, float]:
    """How far each user agrees with all others (leave one out), in points of 100.

    s = w (o_i - 1) / (o1 + o2 - 1) with w = (o1 + o2 - 1) / (o1 + o2 + o3 - 1), over the triplets
    where the user and another user chose an image; a user's score is the mean of s ("plain") or
    the sum of s over that of w ("normalised").

    Args:
        users: see `votes`.
        triplets: see `votes`.
        answers: see `votes`.
        count: see `votes`.
        min_answers: users with fewer answers are left out (they still count as others).

    Returns:
        `plain`, `plain_std`, `normalised`, `normalised_std` over users; `users`, and `triplets`,
        the numbers of those that count.

    Raises:
        ValueError: if no user shares a decided triplet with another.

    Reference: Gordo2017, Section 3.
    """
    kept = _first_answers(users, triplets)
    names = np.asarray([str(users[place]) for place in kept])
    rows, choices = np.asarray(triplets)[kept], np.asarray(answers)[kept]
    counts = votes(names, rows, choices, count=count)[rows]
    others_decided = counts[:, 0] + counts[:, 1] - 1
    valid = (choices <= SECOND) & (others_decided >= 1)
    others = np.maximum(counts.sum(axis=1) - 1, 1)
    own = counts[np.arange(len(rows)), np.minimum(choices, 2)]
    agreeing, deciding = (own - 1) / others, others_decided / others
    plain, normalised, counted = [], [], set()
    for name in np.unique(names):
        mine = valid & (names == name)
        if mine.any() and (names == name).sum() >= min_answers:
            counted |= set(rows[mine].tolist())
            plain.append(agreeing[mine].mean())
            normalised.append(agreeing[mine].sum() / deciding[mine].sum())
    if not plain:
        raise ValueError("no user shares a decided triplet with another")
    return {
        "plain": 100 * float(np.mean(plain)),
        "plain_std": 100 * float(np.std(plain)),
        "normalised": 100 * float(np.mean(normalised)),
        "normalised_std": 100 * float(np.std(normalised)),
        "users": float(len(plain)),
        "triplets": float(len(counted)),
    }


def _first_answers(users: Sequence[Hashable], triplets: np.ndarray) -> list[int]:
    """The places of the first answer of each user to each triplet."""
    first: dict[tuple, int] = {}
    for place, key in enumerate(zip(map(str, users), np.asarray(triplets).tolist(), strict=True)):
        first.setdefault(key, place)
    return list(first.values())
