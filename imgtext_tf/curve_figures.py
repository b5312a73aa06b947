"""Curves of a training: loss, accuracies and recall of each class over its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_DPI = 120


def training_curves(history: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Draws loss, accuracies and per-class recall over training steps.

    Args:
        history: rows with `step` and metrics named `train/...` and `val/...`, as in `history.csv`;
            empty values are left out.
        title: the heading.

    Raises:
        ValueError: if there are no rows.
    """
    if not history:
        raise ValueError("the history has no rows: the run was not evaluated")
    names = list(dict.fromkeys(name for row in history for name in row))
    panels = {
        "loss": [name for name in ("train/loss", "val/loss") if name in names],
        "accuracy": [
            name for name in names if name.endswith("accuracy") or name == "val/macro_recall"
        ],
        "recall by class": [name for name in names if name.startswith("val/recall/")],
    }
    panels = {panel: lines for panel, lines in panels.items() if lines}
    figure = Figure(figsize=(4.6 * max(len(panels), 1), 3.8), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (panel, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for name in lines:
            filled = [row for row in history if row.get(name) not in (None, "")]
            points = [(int(row["step"]), float(row[name])) for row in filled]
            label = name.removeprefix("val/recall/").replace("/", " ").replace("_", " ")
            style = "--" if name.startswith("train/") else "-"
            axes.plot(*zip(*points, strict=True), style, marker=".", label=label)
        axes.set_title(panel)
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if panel != "loss":
            axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if len(lines) > 4:  # too many to lie among the curves
            axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        else:
            axes.legend(fontsize=8, frameon=False)
    figure.suptitle(title, weight="bold", parse_math=False)
    return figure
