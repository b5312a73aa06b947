"""The taxonomy of Otto2020: three metrics and the eight image-text relation classes they form.

A pair has a cross-modal mutual information `cmi` in {0, 1}, a semantic correlation `sc` in
{-1, 0, 1} and a status `stat` in {"T", "0", "I"} (the image is subordinate to the text, both are
equal, the text is subordinate to the image). Eight of the 18 combinations are classes; the other
ten cannot occur and map to `UNDEFINED`.

Reference: Otto2020, Sections 3.1 to 3.3 and Fig. 4.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

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

# Which classes come from the same texts (Section 4.1): the number of the positive class.
SOURCE_GROUPS: tuple[int, ...] = tuple(
    RELATIONS.index({new: old for old, new in NEGATIVE_OF.items()}.get(relation, relation))
    for relation in RELATIONS
)

# The values of each metric; a label's index is its place here.
METRIC_VALUES: dict[str, tuple] = {"cmi": (0, 1), "sc": (-1, 0, 1), "stat": ("T", "0", "I")}

# All 18 leaves of Fig. 4, valid or not.
LEAVES: dict[tuple[int, int, str], str] = {
    leaf: UNDEFINED for leaf in itertools.product(*METRIC_VALUES.values())
} | {metrics: relation for relation, metrics in METRICS_OF_RELATION.items()}

# Levels of CMI that Henning and Ewerth annotated (0 to 7) -> the five they learnt; the others they
# left out.
PREDECESSOR_CMI: dict[int, int] = {0: 0, 5: 1, 4: 2, 3: 3, 2: 4}


def from_predecessor(cmi: int, sc: float) -> tuple[int, int]:
    """Maps the predecessor's five levels of CMI and SC to this paper's values.

    Args:
        cmi: 0 to 4, as `PREDECESSOR_CMI` gives it.
        sc: -1, -0.5, 0, 0.5 or 1.

    Returns:
        (cmi, sc): 0, 1, 2 become 0 and 3, 4 become 1; +-0.5 become +-1.

    Raises:
        ValueError: if a level is none of these.

    Reference: Otto2020, Section 5.1.
    """
    if cmi not in range(5) or sc not in (-1, -0.5, 0, 0.5, 1):
        raise ValueError(f"(cmi, sc) = ({cmi!r}, {sc!r}): use 0..4 and -1, -0.5, 0, 0.5, 1")
    return int(cmi >= 3), (sc > 0) - (sc < 0)


def metric_parts() -> np.ndarray:
    """Which metric values make up which class: [8 values, 8 classes] float32 of 0 and 1.

    The rows are the values of CMI, SC and STAT in the order of `METRIC_VALUES`.

    Reference: Otto2020, Fig. 4.
    """
    return np.array(
        [
            [METRICS_OF_RELATION[relation][place] == value for relation in RELATIONS]
            for place, values in enumerate(METRIC_VALUES.values())
            for value in values
        ],
        np.float32,
    )


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


def cascade(
    predicted: Mapping[str, Sequence[Any]], *, order: Sequence[str] = tuple(METRIC_VALUES)
) -> list[str]:
    """Turns the answers of the three metric classifiers into classes, one metric after the other.

    Each metric keeps the classes that have its value; what is left after the third is the class,
    and `UNDEFINED` where none is left. The paper calls the order arbitrary, and so it is.

    Args:
        predicted: "cmi", "sc" and "stat" -> [N] values of `METRIC_VALUES`, row by row of one pair.
        order: the three metrics in the order of their use; the paper's is CMI, SC, STAT.

    Returns:
        [N] class names or `UNDEFINED`.

    Raises:
        ValueError: if the order is no order of the three metrics, a metric is missing or has
            another number of pairs, or a value is none of its metric's.

    Reference: Otto2020, Section 4.2 and Fig. 4.
    """
    if sorted(order) != sorted(METRIC_VALUES):
        raise ValueError(f"order is {tuple(order)}: give {', '.join(METRIC_VALUES)} in some order")
    if missing := sorted(set(METRIC_VALUES) - set(predicted)):
        raise ValueError(f"no values of {', '.join(missing)}: the cascade needs all three metrics")
    sizes = {metric: len(predicted[metric]) for metric in order}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"the metrics were predicted of different numbers of pairs: {sizes}")
    places = {metric: place for place, metric in enumerate(METRIC_VALUES)}
    classes = []
    for pair in range(sizes[order[0]]):
        left = list(METRICS_OF_RELATION.items())
        for metric in order:
            value = predicted[metric][pair]
            if value not in METRIC_VALUES[metric]:
                raise ValueError(
                    f"pair {pair} has {metric} = {value!r}: use one of {METRIC_VALUES[metric]}"
                )
            left = [item for item in left if item[1][places[metric]] == value]
        classes.append(left[0][0] if left else UNDEFINED)
    return classes


def marginals(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """The probabilities of each metric's values, summed over the classes that have the value.

    Args:
        probabilities: [..., 8] of the classes, in the order of `RELATIONS`.

    Returns:
        "cmi" [..., 2], "sc" [..., 3] and "stat" [..., 3], in the order of `METRIC_VALUES`.
    """
    of_values = np.asarray(probabilities) @ metric_parts().T
    ends = np.cumsum([len(values) for values in METRIC_VALUES.values()])
    return dict(zip(METRIC_VALUES, np.split(of_values, ends[:-1], axis=-1), strict=True))
