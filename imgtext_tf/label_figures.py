"""Figures of classifiers with several labels: precision and recall, gains by label frequency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_NAMED, _GROUPS = 6, 3
# Room of a name, as shares of a panel.
_WIDE, _HIGH = 0.3, 0.04


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

    Lines are the means of the labels with the fewest photos, of those with more, and with the most.

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
        for part in np.array_split(known[np.argsort(counts[known], kind="stable")], _GROUPS):
            if len(part):
                ends = [counts[part].min(), counts[part].max()]
                axes.plot(ends, [values[part].mean()] * 2, color="C3", linewidth=2)
        for place in _named(counts, values, known):
            axes.annotate(
                names[place], (counts[place], values[place]),
                xytext=(4, 3), textcoords="offset points", size="small",
            )  # fmt: skip
    panels[0].set_ylabel("gain in average precision")
    mean = Line2D([], [], color="C3", linewidth=2, label="mean of a third of the labels")
    panels[-1].legend(handles=[mean], frameon=False, loc="upper right")
    return figure


def _named(counts: np.ndarray, values: np.ndarray, known: np.ndarray) -> list[int]:
    """The labels of the largest losses and gains; of names that would overlap, one."""
    if not len(known):
        return []
    across = np.log(np.maximum(counts, 1))
    wide, high = _WIDE * np.ptp(across[known]), _HIGH * np.ptp(values[known])
    order = known[np.argsort(values[known])].tolist()
    found: list[int] = []
    for ends in (order, order[::-1]):
        most = len(found) + _NAMED // 2
        for place in ends:
            aside = np.abs(across[found] - across[place]) > wide
            above = np.abs(values[found] - values[place]) > high
            if len(found) < most and (aside | above).all():
                found.append(place)
    return found
