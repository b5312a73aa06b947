"""The papers' figures, drawn with matplotlib's object-oriented interface (no global state)."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Blue and orange-red stay apart for the colour-blind; a tick or a cross says the same.
_RIGHT, _WRONG, _PLAIN = "#0b5fa5", "#c4390a", "#333333"
_DPI = 120
_HEADING_INCHES = 0.115  # a bold letter of the heading takes so much on average


@dataclasses.dataclass(frozen=True)
class PairTile:
    """One image-text pair on a `pair_sheet`.

    Attributes:
        image: [H, W, 3] uint8, or float in [0, 1].
        text: the text of the pair.
        truth: the true class.
        predicted: the predicted class; None where there is no prediction.
        probability: the probability of the predicted class.
        title: a line above the picture, such as the id.
    """

    image: np.ndarray
    text: str
    truth: str
    predicted: str | None = None
    probability: float | None = None
    title: str = ""


def confusion_matrix_figure(
    matrix: np.ndarray,
    class_names: Sequence[str],
    *,
    title: str = "",
    rows: str = "true class (pairs)",
    columns: str = "predicted class",
) -> Figure:
    """Draws counts shaded by their share of the row, with recall and precision in the margins.

    Args:
        matrix: [C, C] counts, rows are the truth; or [C, C + 1] with undefined predictions last.
        class_names: the C names, in label order.
        title: the heading.
        rows: what the rows are.
        columns: what the columns are.

    Raises:
        ValueError: if the matrix does not fit the names.

    Reference: Otto2020, Tables 4 and 5.
    """
    classes, width = matrix.shape
    if classes != len(class_names) or width - classes not in (0, 1):
        raise ValueError(f"a matrix of shape {matrix.shape} does not fit {len(class_names)} names")
    support, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    shares = matrix / np.maximum(support, 1)[:, None]
    names = [*class_names, "Undefined"][:width]
    size = 0.72 * (width + 1) + 2.2
    figure = Figure(figsize=(size, 0.62 * (classes + 1) + 2.2), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(classes):
        for column in range(width):
            if matrix[row, column]:
                axes.text(
                    column, row, f"{matrix[row, column]:,}", ha="center", va="center",
                    color="white" if shares[row, column] > 0.55 else "black",
                    weight="bold" if row == column else "normal",
                )  # fmt: skip
    margin = {"ha": "center", "va": "center", "color": _PLAIN, "size": 9}
    for row in range(classes):
        axes.text(width, row, _percent(matrix[row, row], support[row]), **margin)
    for column in range(classes):
        axes.text(column, classes, _percent(matrix[column, column], predicted[column]), **margin)
    accuracy = f"accuracy\n{_percent(np.trace(matrix), matrix.sum())}"
    axes.text(width, classes, accuracy, **{**margin, "weight": "bold"})
    axes.set_xlim(-0.5, width + 0.5)
    axes.set_ylim(classes + 0.5, -0.5)
    labels = [textwrap.fill(name, 18, break_long_words=False) for name in names]
    axes.set_xticks(
        range(width + 1), [*labels, "Recall"], rotation=45, ha="right", rotation_mode="anchor"
    )
    counted = [
        f"{name} ({count:,})" for name, count in zip(class_names, support.tolist(), strict=True)
    ]
    axes.set_yticks(range(classes + 1), [*counted, "Precision"])
    axes.set_xlabel(columns)
    axes.set_ylabel(rows)
    _rule_off(axes, classes, width)
    # Few classes make a picture that is narrower than most headings.
    heading = textwrap.fill(title, int(size / _HEADING_INCHES))
    figure.suptitle(heading, weight="bold", parse_math=False)
    return figure


def _rule_off(axes: Axes, classes: int, columns: int) -> None:
    """Draws the lines of a confusion matrix."""
    # White lines keep the cells apart; a dark one sets the margins off.
    axes.set_xticks(np.arange(columns) + 0.5, minor=True)
    axes.set_yticks(np.arange(classes) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.plot([columns - 0.5] * 2, [-0.5, classes + 0.5], color=_PLAIN, linewidth=1)
    axes.plot([-0.5, columns + 0.5], [classes - 0.5] * 2, color=_PLAIN, linewidth=1)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def thinned(image: np.ndarray, pixels: int = 320) -> np.ndarray:
    """A copy with every n-th pixel, so that no side has more than `pixels`: all a sheet can show.

    Args:
        image: [H, W, 3] of any dtype; some photos have a hundred million pixels.
        pixels: most pixels of a side.
    """
    step = max(1, -(-max(image.shape[:2]) // pixels))
    return image[::step, ::step].copy()


def pair_sheet(
    tiles: Sequence[PairTile], *, columns: int = 4, title: str = "", text_lines: int = 8
) -> Figure:
    """Draws pairs as a contact sheet: picture, truth and prediction, wrapped text.

    Args:
        tiles: the pairs; at least one.
        columns: tiles in a row.
        title: the heading.
        text_lines: lines of text a tile; a longer text ends in an ellipsis.

    Raises:
        ValueError: if there are no tiles.
    """
    if not tiles:
        raise ValueError("a sheet needs at least one pair")
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    # All lengths are inches; the sheet is laid out from its upper left corner.
    width, picture, line, gap, head = 2.9, 2.1, 0.145, 0.18, 0.45 if title else 0.1
    height = picture + line * (text_lines + 4)
    sheet = (columns * (width + gap) + gap, rows * height + head)
    figure = Figure(figsize=sheet, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def place(x: float, y: float) -> tuple[float, float]:
        return x / sheet[0], 1 - y / sheet[1]

    if title:
        figure.text(*place(gap, 0.28), title, size=13, weight="bold", parse_math=False)
    for index, tile in enumerate(tiles):
        x = gap + index % columns * (width + gap)
        y = head + index // columns * height
        figure.text(
            *place(x, y + line), _cut(tile.title, 44), size=7, color="#666666", parse_math=False
        )
        left, bottom = place(x, y + 1.4 * line + picture)
        axes = figure.add_axes((left, bottom, width / sheet[0], picture / sheet[1]), anchor="NW")
        axes.imshow(tile.image)
        axes.set_axis_off()
        y += 2.6 * line + picture
        for words, colour in _verdict(tile):
            figure.text(*place(x, y), words, size=8.5, weight="bold", color=colour)
            y += 1.15 * line
        # Tokenised captions have a space before the full stop, which must not begin a line.
        text = re.sub(r" (?=[.,;:!?]+( |$))", "\xa0", " ".join(tile.text.split()))
        lines = textwrap.wrap(text, 50) or ["(no text)"]
        if len(lines) > text_lines:
            lines = [*lines[: text_lines - 1], _cut(lines[text_lines - 1] + " …", 50)]
        figure.text(
            *place(x, y - 0.6 * line), "\n".join(lines), size=7.5, va="top", linespacing=1.2,
            color=_PLAIN, parse_math=False,
        )  # fmt: skip
    return figure


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _verdict(tile: PairTile) -> list[tuple[str, str]]:
    """The lines (words, colour) on truth and prediction of a tile."""
    if tile.predicted is None:
        return [(tile.truth, _PLAIN)]
    sure = "" if tile.probability is None else f"  {100 * tile.probability:.0f} %"
    if tile.predicted == tile.truth:
        return [(f"✓ {tile.predicted}{sure}", _RIGHT)]
    return [(f"✗ {tile.predicted}{sure}", _WRONG), (f"   truth: {tile.truth}", _PLAIN)]


def save(figure: Figure, path: str | os.PathLike) -> Path:
    """Writes a figure in the format of the path's suffix, atomically; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        figure.savefig(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def to_image(figure: Figure) -> np.ndarray:
    """Draws a figure into [H, W, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_to_board(
    board: Any,
    step: int,
    *,
    matrix: np.ndarray,
    class_names: Sequence[str],
    tiles: Sequence[PairTile] = (),
) -> None:
    """Writes a confusion matrix and example predictions for TensorBoard.

    Args:
        board: a `training.Board`.
        step: the training step.
        matrix: see `confusion_matrix_figure`.
        class_names: the names, in label order.
        tiles: example predictions, as a picture and as a table of texts.
    """
    figure = confusion_matrix_figure(matrix, class_names, title=f"step {step}")
    board.image(step, "val/confusion_matrix", to_image(figure))
    if tiles:
        board.image(step, "val/examples", to_image(pair_sheet(tiles)))
        rows = [
            f"| {tile.title} | {tile.truth} | {tile.predicted} | {_cell(tile.text)} |"
            for tile in tiles
        ]
        head = ["| id | truth | prediction | text |", "|---|---|---|---|"]
        board.text(step, "val/examples", "\n".join([*head, *rows]))


def _cell(text: str) -> str:
    """A text on one line without the column mark of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
