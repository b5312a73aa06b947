"""Classification metrics from label arrays or confusion matrices, in NumPy only.

A confusion matrix has one row per true class and one column per predicted class, as in Tables 4
and 5 of Otto2020; an extra last column counts predictions that are no class ("Undefined", label
-1), which only lower recall and accuracy.

No metric here is ever NaN: a ratio whose denominator is zero (the precision of a class never
predicted, the recall of a class without an example) is 0, and averages run over the classes that
have at least one example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, *, num_classes: int, undefined: bool = False
) -> np.ndarray:
    """Counts pairs of true and predicted labels.

    Args:
        truth: [N] integers in [0, num_classes).
        predicted: [N] integers in [0, num_classes), and -1 for "Undefined" if `undefined`.
        num_classes: number of classes C.
        undefined: whether to append the column of undefined predictions.

    Returns:
        [C, C] or, with `undefined`, [C, C + 1] int64.

    Raises:
        ValueError: if the shapes differ or a label is out of range.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise ValueError(
            f"truth {truth.shape} and predicted {predicted.shape} must be vectors of one length"
        )
    columns = num_classes + 1 if undefined else num_classes
    for name, labels, lowest in (("truth", truth, 0), ("predicted", predicted, -int(undefined))):
        wrong = labels[(labels < lowest) | (labels >= num_classes)]
        if wrong.size:
            raise ValueError(f"{name} holds the label {wrong[0]}, outside {lowest}..{num_classes}")
    matrix = np.zeros((num_classes, columns), np.int64)
    # Label -1 addresses the last column, which is the undefined one.
    np.add.at(matrix, (truth.astype(int), predicted.astype(int)), 1)
    return matrix


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def accuracy(matrix: np.ndarray) -> float:
    """The share of examples on the diagonal of a [C, C] or [C, C + 1] confusion matrix."""
    return float(_ratio(np.trace(matrix), matrix.sum()))


def precision_recall_f1(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Per-class metrics of a [C, C] or [C, C + 1] confusion matrix.

    Returns:
        `precision`, `recall`, `f1` ([C] float64 in [0, 1], zero where undefined), `support` (true
        examples) and `predicted` (predictions), both [C] int64.
    """
    classes = len(matrix)
    hits = np.diagonal(matrix)
    support = matrix.sum(axis=1)
    predicted = matrix[:, :classes].sum(axis=0)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + predicted),
        "support": support,
        "predicted": predicted,
    }


def macro(values: np.ndarray, support: np.ndarray) -> float:
    """The mean of per-class `values` [C] over the classes with `support` [C] above zero."""
    present = np.asarray(support) > 0
    return float(np.mean(np.asarray(values)[present])) if present.any() else 0.0


def group_metrics(matrix: np.ndarray, groups: Sequence[int]) -> dict[str, float]:
    """How much of an accuracy is telling groups of classes apart, such as the texts' sources.

    Args:
        matrix: [C, C] or [C, C + 1] confusion matrix; undefined predictions are in no group.
        groups: the group of each class, C numbers.

    Returns:
        `group_accuracy`: share of predictions in the truth's group; `accuracy_within_group`: share
        of these that are right; `group_oracle`: the accuracy of a model that knows the group and
        then always says its most frequent class.
    """
    groups = np.asarray(groups)
    same = groups[:, None] == groups[None]
    in_group = float(matrix[:, : len(matrix)][same].sum())
    support = matrix.sum(axis=1)
    oracle = sum(support[groups == group].max() for group in np.unique(groups))
    return {
        "group_accuracy": float(_ratio(in_group, matrix.sum())),
        "accuracy_within_group": float(_ratio(np.trace(matrix), in_group)),
        "group_oracle": float(_ratio(oracle, matrix.sum())),
    }


def majority_baseline(truth: np.ndarray, train_labels: np.ndarray | None = None) -> float:
    """The accuracy of always predicting one class: the most frequent, the lowest label on ties.

    Args:
        truth: [N] labels to score on.
        train_labels: [M] labels that choose the class; `truth` itself if None, which is the best
            that any constant prediction can reach.
    """
    truth = np.asarray(truth)
    labels, counts = np.unique(truth if train_labels is None else train_labels, return_counts=True)
    return float(np.mean(truth == labels[np.argmax(counts)]))


def classification_metrics(
    truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """All metrics of a classifier as one flat dict.

    Args:
        truth: [N] integer labels.
        predicted: [N] integer labels, -1 for "Undefined".
        class_names: the C names, in label order.

    Returns:
        `accuracy`, `macro_precision`, `macro_recall`, `macro_f1` and, per class name,
        `precision/<class>`, `recall/<class>`, `support/<class>`; `undefined`, the share of
        undefined predictions, only where there are any.
    """
    matrix = confusion_matrix(truth, predicted, num_classes=len(class_names), undefined=True)
    scores = precision_recall_f1(matrix)
    metrics = {"accuracy": accuracy(matrix)}
    for name in ("precision", "recall", "f1"):
        metrics[f"macro_{name}"] = macro(scores[name], scores["support"])
    for name in ("precision", "recall", "support"):
        metrics |= {
            f"{name}/{label}": float(value)
            for label, value in zip(class_names, scores[name], strict=True)
        }
    if matrix[:, -1].any():
        metrics["undefined"] = float(matrix[:, -1].sum() / matrix.sum())
    return metrics


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    seed: int,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of paired arrays.

    Rows are drawn with replacement, the same rows from every array, so that the difference of two
    models on the same examples gets a paired interval.

    Args:
        statistic: a function of the resampled arrays, such as
            `lambda truth, predicted: np.mean(truth == predicted)`.
        *arrays: arrays of one length N.
        seed: seed of the draws.
        resamples: number of draws.
        confidence: share of draws inside the interval.

    Raises:
        ValueError: if there are no rows or the lengths differ.
    """
    sizes = {len(array) for array in arrays}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"arrays of one length above zero are needed, not {sorted(sizes)}")
    arrays = [np.asarray(array) for array in arrays]
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        rows = rng.integers(0, len(arrays[0]), len(arrays[0]))
        draws.append(statistic(*(array[rows] for array in arrays)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
