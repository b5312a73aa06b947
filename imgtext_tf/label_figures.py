"""Figures of classifiers with several labels: precision and recall, gains by label frequency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_NAMED = 6


def precision_recall_figure(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Precision against recall, a line for each of name -> (precision, recall).

    Reference: Shah2019, Fig. 4.
    """
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    for name, (precision, recall) in curves.items():
        axes.plot(recall, precision, label=name, linewidth=1)
    axes.axhline(0.8, color="0.7", linewidth=0.8, linestyle=":")
    axes.legend(fontsize="small")
    return figure


def gain_figure(counts: np.ndarray, gains: np.ndarray, names: Sequence[str]) -> Figure:
    """The gain in average precision of each label against its number of positive photos.

    Args:
        counts: [C] positives.
        gains: [C] float; labels with NaN are left out.
        names: [C] of the labels; the largest gains and losses are named.

    Reference: Shah2019, Section 4.2.3.
    """
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="positive photos", ylabel="gain in AP", xscale="log")
    known = np.flatnonzero(np.isfinite(gains) & (counts > 0))
    axes.scatter(counts[known], gains[known], s=12)
    axes.axhline(0, color="0.7", linewidth=0.8)
    order = known[np.argsort(gains[known])]
    for place in {*order[: _NAMED // 2].tolist(), *order[-_NAMED // 2 :].tolist()}:
        axes.annotate(names[place], (counts[place], gains[place]), fontsize="small")
    return figure
