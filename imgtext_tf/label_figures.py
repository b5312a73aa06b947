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
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1))
    for name, (precision, recall) in curves.items():
        # The first cells make a curve jump; below one in a hundred it says nothing.
        shown = recall >= min(0.01, recall.max())
        axes.plot(recall[shown], precision[shown], label=name, linewidth=1.4)
    axes.set_ylim(top=1.01)
    axes.axhline(0.8, color="0.5", linewidth=0.8, linestyle=":")
    axes.text(0.99, 0.805, "80 % precision", ha="right", va="bottom", size="small", color="0.4")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    return figure


def gain_figure(
    counts: np.ndarray, gains: Mapping[str, np.ndarray], names: Sequence[str]
) -> Figure:
    """The gain in average precision of each label against its number of train photos.

    Args:
        counts: [C] train photos.
        gains: title of a panel -> [C] float; labels with NaN are left out.
        names: [C] of the labels; the largest gains and losses are named.

    Reference: Shah2019, Section 4.2.3.
    """
    figure = Figure(figsize=(1 + 4.6 * len(gains), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(gains), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(panels, gains.items(), strict=True):
        known = np.flatnonzero(np.isfinite(values) & (counts > 0))
        axes.scatter(counts[known], values[known], s=14, alpha=0.7, linewidths=0)
        axes.axhline(0, color="0.7", linewidth=0.8)
        axes.set(title=title, xlabel="train photos of the label", xscale="log")
        axes.spines[["top", "right"]].set_visible(False)
        order = known[np.argsort(values[known])]
        for place in {*order[: _NAMED // 2].tolist(), *order[-_NAMED // 2 :].tolist()}:
            axes.annotate(
                names[place], (counts[place], values[place]),
                xytext=(4, 3), textcoords="offset points", size="small",
            )  # fmt: skip
    panels[0].set_ylabel("gain in average precision")
    return figure
