"""Confusion matrices of relations and metrics, drawn in a run's folder of figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imgtext_tf import figures, runs
from imgtext_tf.metrics import classification


def draw(
    run_dir: runs.RunDirectory,
    part: str,
    truth: np.ndarray,
    predicted: np.ndarray,
    labels: Sequence[str],
    *,
    of: str,
    name: str = "",
    undefined: bool = False,
) -> np.ndarray:
    """Draws `figures/<part>[_<name>]_confusion_matrix.png`.

    Args:
        run_dir: of the run.
        part: of the data, such as "test_balanced".
        truth: [N] int, places in `labels`.
        predicted: the same; with `undefined` also `len(labels)`.
        labels: the C names.
        of: what predicted, for the heading.
        name: what tells this picture of a part from others.
        undefined: whether a column of undefined predictions follows the others.

    Returns:
        [C, C] or, with `undefined`, [C, C + 1] counts; rows are the truth.
    """
    matrix = classification.confusion_matrix(
        truth, predicted, num_classes=len(labels), undefined=undefined
    )
    title = f"{part}, {of}: {classification.accuracy(matrix):.1%} of {matrix.sum():,} pairs"
    stem = f"{part}_{name}" if name else part
    figure = figures.confusion_matrix_figure(matrix, labels, title=title)
    figures.save(figure, run_dir.figures / f"{stem}_confusion_matrix.png")
    return matrix
