"""Gordo2017's figures: curves and scatter (2), heatmaps of pairs (3), ranked images (4 and 5)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

_DPI = 120
_QUERY, _PLAIN = "#c4390a", "#333333"
_PANELS = {
    "ndcg": "Are the best images found first?",
    "pcc": "Do the scores go with the captions?",
    "pairs": "Pairs of images, half of them near by captions",
}


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A query and what it found.

    Attributes:
        title: what stands above the query: its name, its words, or the method.
        query: [H, W, 3] uint8; None for a query of words alone.
        images: what was found, best first.
        captions: a line above each.
    """

    title: str
    query: np.ndarray | None
    images: Sequence[np.ndarray]
    captions: Sequence[str] = ()


def ranking_sheet(rows: Sequence[Ranking], *, columns: int = 7, title: str = "") -> Figure:
    """Draws rankings below each other, the query on the left.

    Args:
        rows: at least one; a long ranking takes several lines.
        columns: images a line beside the query.
        title: the heading: what the captions say.

    Raises:
        ValueError: if there are no rows.

    Reference: Gordo2017, Figures 4 and 5.
    """
    if not rows:
        raise ValueError("a sheet needs at least one ranking")
    lines = [max(1, math.ceil(len(row.images) / columns)) for row in rows]
    total = sum(lines)
    size = (1.55 * (columns + 1), 1.75 * total + 0.1 + 0.2 * len(title.split("\n")) * bool(title))
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(total, columns + 1, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    start = 0
    for row, height in zip(rows, lines, strict=True):
        first = grid[start, 0]
        if row.query is None:
            how = {"ha": "center", "va": "center", "wrap": True, "parse_math": False}
            first.text(0.5, 0.5, row.title, color=_QUERY, **how)
        else:
            first.imshow(row.query)
            first.set_title(_cut(row.title, 26), size=8, color=_QUERY, parse_math=False)
        for place, image in enumerate(row.images):
            axes = grid[start + place // columns, 1 + place % columns]
            axes.imshow(image)
            if place < len(row.captions):
                caption = _cut(row.captions[place], 26)
                axes.set_title(caption, size=6.5, color=_PLAIN, parse_math=False)
        start += height
    if title:
        figure.suptitle(title, size=9, ha="left", x=0.005, parse_math=False)
    return figure


def curves_figure(
    methods: Mapping[str, Mapping[str, float]], *, scatter: Mapping[str, tuple] | None = None
) -> Figure:
    """Draws NDCG@R and PCC@R of methods over R, and the scatter of similarities.

    Args:
        methods: name -> metrics with `ndcg@R` and `pcc@R`, in points of 100.
        scatter: name -> (relevance, score), arrays of some pairs of images, whose correlation
            stands in the legend; None draws none.

    Reference: Gordo2017, Figure 2.
    """
    panels = 2 + bool(scatter)
    figure = Figure(figsize=(4.8 * panels, 4), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, panels)
    for axes, metric in zip(grid, ("ndcg", "pcc"), strict=False):
        for name, values in methods.items():
            points = sorted(
                (int(key.split("@")[1]), value)
                for key, value in values.items()
                if key.startswith(f"{metric}@")
            )
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))  # 8, not 2^3
        axes.set_title(_PANELS[metric], size=10)
        axes.set_xlabel("retrieved images R")
        axes.set_ylabel(f"{metric.upper()}@R (points of 100)")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].legend(fontsize=8, frameon=False)
    for name, (relevance, score) in (scatter or {}).items():
        varies = np.ptp(relevance) > 0 and np.ptp(score) > 0
        correlation = np.corrcoef(relevance, score)[0, 1] if varies else 0.0
        label = f"{name} (r = {correlation:.2f})"
        grid[2].scatter(relevance, score, s=3, alpha=0.35, linewidths=0, label=label)
    if scatter:
        grid[2].set_title(_PANELS["pairs"], size=10)
        grid[2].set_xlabel("similarity of captions (tf-idf)")
        grid[2].set_ylabel("visual similarity")
        grid[2].legend(fontsize=8, frameon=False, markerscale=4)
        grid[2].spines[["top", "right"]].set_visible(False)
    return figure


def grounding_figure(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    titles: Sequence[str] = (),
) -> Figure:
    """Draws pairs of images with the heatmaps of what makes them similar.

    Args:
        pairs: first image [H, W, 3], its heatmap [h, w] in [0, 1], second image, its heatmap.
        titles: a line above each pair.

    Reference: Gordo2017, Figure 3.
    """
    figure = Figure(figsize=(9.6, 2.6 * len(pairs)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(pairs), 4, squeeze=False)
    for row, (first, first_heat, second, second_heat) in zip(grid, pairs, strict=True):
        row[0].imshow(first)
        row[2].imshow(second)
        for axes, image, heat in zip(
            row[1::2], (first, second), (first_heat, second_heat), strict=True
        ):
            axes.imshow(image)
            extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
            axes.imshow(
                heat, cmap="jet", alpha=0.45, vmin=0, vmax=1, extent=extent, interpolation="bicubic"
            )
        for axes in row:
            axes.set_axis_off()
    for row, title in zip(grid, titles, strict=False):
        row[0].set_title(_cut(title, 60), size=8, loc="left", parse_math=False)
    return figure


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
