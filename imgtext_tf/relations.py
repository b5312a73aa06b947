"""The taxonomy of Otto2020: three metrics and the eight image-text relation classes they form.

A pair has a cross-modal mutual information `cmi` in {0, 1}, a semantic correlation `sc` in
{-1, 0, 1} and a status `stat` in {"T", "0", "I"} (the image is subordinate to the text, both are
equal, the text is subordinate to the image). Eight of the 18 combinations are classes; the other
ten cannot occur and map to `UNDEFINED`.

Reference: Otto2020, Sections 3.1 to 3.3 and Fig. 4.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

UNDEFINED = "Undefined"

# (cmi, sc, stat) of each class, in the order of the paper's Table 1.
METRICS_OF_RELATION: dict[str, tuple[int, int, str]] = {
    "Uncorrelated": (0, 0, "0"),
    "Interdependent": (0, 1, "0"),
    "Complementary": (1, 1, "0"),
    "Illustration": (1, 1, "T"),
    "Anchorage": (1, 1, "I"),
    "Contrasting": (1, -1, "0"),
    "Bad Illustration": (1, -1, "T"),
    "Bad Anchorage": (1, -1, "I"),
}
RELATIONS: tuple[str, ...] = tuple(METRICS_OF_RELATION)

# The class made from each positive class by swapping keywords for their opposites (Section 4.1).
NEGATIVE_OF: dict[str, str] = {
    "Complementary": "Contrasting",
    "Illustration": "Bad Illustration",
    "Anchorage": "Bad Anchorage",
}

# The values of each metric; a label's index is its place here.
METRIC_VALUES: dict[str, tuple] = {"cmi": (0, 1), "sc": (-1, 0, 1), "stat": ("T", "0", "I")}

# All 18 leaves of Fig. 4, valid or not.
LEAVES: dict[tuple[int, int, str], str] = {
    leaf: UNDEFINED for leaf in itertools.product(*METRIC_VALUES.values())
} | {metrics: relation for relation, metrics in METRICS_OF_RELATION.items()}


def relation_of(cmi: int, sc: int, stat: str) -> str:
    """Maps three metric values to their class, or to `UNDEFINED`.

    Args:
        cmi: 0 or 1.
        sc: -1, 0 or 1.
        stat: "T", "0" or "I".

    Raises:
        ValueError: if a value is none of the above.

    Reference: Otto2020, Fig. 4.
    """
    try:
        return LEAVES[(cmi, sc, stat)]
    except KeyError:
        raise ValueError(
            f"(cmi, sc, stat) = ({cmi!r}, {sc!r}, {stat!r}) is no leaf of the categorisation; "
            f"allowed values: {METRIC_VALUES}"
        ) from None


def labels_of(target: str, own: Sequence[str] = ()) -> tuple[str, ...]:
    """The class names of a target: "relation", "cmi", "sc" or "stat", in label order.

    Args:
        target: what is predicted.
        own: the class names of data with classes of their own, which have no metrics.

    Raises:
        ValueError: if the target is unknown, or the data has none.
    """
    if target != "relation" and target not in METRIC_VALUES:
        raise ValueError(f"unknown target {target!r}: use relation, {', '.join(METRIC_VALUES)}")
    if own and target != "relation":
        raise ValueError(
            f"the data has classes of its own ({', '.join(own)}), and these have no {target!r}: "
            "predict their relation"
        )
    if target == "relation":
        return tuple(own) or RELATIONS
    return tuple(f"{target} {value}" for value in METRIC_VALUES[target])


def label_index(target: str, relation: str, own: Sequence[str] = ()) -> int:
    """The label of a pair of class `relation` for a target of `labels_of`.

    Raises:
        ValueError: if the class or the target is unknown.
    """
    labels = labels_of(target, own)
    known = tuple(own) or RELATIONS
    if relation not in known:
        raise ValueError(f"unknown relation {relation!r}: use one of {', '.join(known)}")
    if target == "relation":
        return labels.index(relation)
    metrics = dict(zip(METRIC_VALUES, METRICS_OF_RELATION[relation], strict=True))
    return METRIC_VALUES[target].index(metrics[target])


def marginals(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """The probabilities of each metric's values, summed over the classes that have the value.

    Args:
        probabilities: [..., 8] of the classes, in the order of `RELATIONS`.

    Returns:
        "cmi" [..., 2], "sc" [..., 3] and "stat" [..., 3], in the order of `METRIC_VALUES`.
    """
    probabilities = np.asarray(probabilities)
    result = {}
    for place, (metric, values) in enumerate(METRIC_VALUES.items()):
        has = [[leaf[place] == value for value in values] for leaf in METRICS_OF_RELATION.values()]
        result[metric] = probabilities @ np.array(has, probabilities.dtype)
    return result
