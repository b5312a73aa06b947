"""Photos ranked for each phrase: trained vectors against prototypes, by the phrase's frequency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.phrase_data import Data
from imgtext_tf import search
from imgtext_tf.metrics import multilabel

_MOST_RANKED = 10_000  # phrases of a group that photos are ranked for
# Train photos of a phrase: (name, fewest, most).
_BUCKETS = (
    ("1-2", 1, 2),
    ("3-5", 3, 5),
    ("6-20", 6, 20),
    ("21-100", 21, 100),
    ("101-", 101, 10**9),
)


def by_frequency(
    data: Data, split: str, photos: np.ndarray, weights: search.Index, phrases: search.Index
) -> dict[str, float]:
    """w_c against phi_c for the same phrases, by how many train photos a phrase has.

    Of each phrase, the photos of the split are ranked by their cosine to it: its average precision
    does not depend on how frequent it is among all phrases. Phrases that only have a prototype, for
    they are too rare for the softmax or nobody asked for them, are right where captions hold them.
    """
    asked = _photos_of(data.queries[split])
    with_captions = _photos_of(data.right_phrases(split))
    tables = {
        method: ({name: place for place, name in enumerate(index.ids) if name in with_captions},
                 index.vectors)
        for method, index in (("weights", weights), ("prototypes", phrases))
    }  # fmt: skip
    weighted, named = tables["weights"][0], tables["prototypes"][0]
    groups = {
        bucket: ([name for name in named if name in weighted and name in asked
                  and fewest <= data.counts[name] <= most], asked)
        for bucket, fewest, most in _BUCKETS
    }  # fmt: skip
    groups["no_weights"] = ([name for name in named if name not in weighted], with_captions)
    rng = np.random.default_rng(data.settings.seed)
    found: dict[str, float] = {}
    for group, (names, photos_of) in groups.items():
        if not names:
            continue
        chosen = [names[place] for place in rng.permutation(len(names))[:_MOST_RANKED]]
        found[f"phrases/{group}"] = len(chosen)
        for method, (place_of, vectors) in tables.items():
            if chosen[0] in place_of:
                scores = _cosines(photos, vectors[[place_of[name] for name in chosen]])
                found[f"photo_ap/{method}/{group}"] = _mean_ap(scores, chosen, photos_of)
        shuffled = rng.random([len(photos), len(chosen)])
        found[f"photo_ap/chance/{group}"] = _mean_ap(shuffled, chosen, photos_of)
    return found


def _photos_of(phrases: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Phrase -> the rows of its photos."""
    found: dict[str, list[int]] = {}
    for row, own in enumerate(phrases):
        for name in set(own):
            found.setdefault(name, []).append(row)
    return found


def _cosines(photos: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    unit = photos / np.maximum(np.linalg.norm(photos, axis=1, keepdims=True), 1e-12)
    return unit @ vectors.T


def _mean_ap(scores: np.ndarray, names: list[str], photos_of: dict[str, list[int]]) -> float:
    """The mean over phrases of the average precision of the photos, ranked by their scores."""
    precisions = []
    for place, name in enumerate(names):
        relevant = np.zeros(len(scores), bool)
        relevant[photos_of[name]] = True
        precisions.append(multilabel.average_precision(scores[:, place], relevant))
    return float(np.mean(precisions))
