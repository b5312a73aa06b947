"""The figures of Otto2020 that show the classes, the metrics, the network and its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from imgtext_tf import relations

_DPI = 130
_GREY, _BLUE, _GREEN = "#eeeeee", "#dde9f5", "#e3f0de"
_INK, _FAINT, _EDGE = "#222222", "#9a9a9a", "#5b6b7a"
# One tint a kind: positive, negative, without correlation.
_TINTS = {1: "#d6e8d4", -1: "#f6d8cc", 0: "#e4e4ea"}
_USES = {
    "Uncorrelated": "find pairs put together by mistake",
    "Interdependent": "find advertisements, comics, memes",
    "Complementary": "find news and stories; enrich one side by the other",
    "Illustration": "pick exchangeable pictures for textbooks",
    "Anchorage": "caption pictures; describe them for the blind",
    "Contrasting": "check stories and news for contradictions",
    "Bad Illustration": "check teaching material for wrong pictures",
    "Bad Anchorage": "check captions for wrong details",
}
_METRICS = (
    "CMI: cross-modal mutual information.  SC: semantic correlation.  STAT: which of both is "
    "subordinate,\nthe image to the text (T), the text to the image (I), or neither (0).  Green: "
    "they agree; red: they contradict each other."
)
# The letters of Section 3.3 for the combinations that cannot occur.
_METRIC_NAMES = tuple(relations.METRIC_VALUES)
_CASES = {(0, -1): "A", (0, 0): "B", (0, 1): "C", (1, 0): "D"}


def _canvas(width: float, height: float, title: str) -> Axes:
    """Axes in inches, y downwards, without ticks."""
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.text(0.3, 0.38, title, size=13, weight="bold", va="center", color=_INK)
    return axes


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, text: str, **style: str
) -> None:
    """A rounded box with centred text; `color` fills it, `ink` writes."""
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=style.get("color", "white"), edgecolor=_EDGE, linewidth=1,
    )  # fmt: skip
    axes.add_patch(shape)
    axes.text(
        x + width / 2, y + height / 2, text, ha="center", va="center", size=8.5,
        color=style.get("ink", _INK), linespacing=1.35,
    )  # fmt: skip


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": _EDGE, "lw": 1.1})


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    axes.plot([start[0], end[0]], [start[1], end[1]], color=color, linewidth=1, zorder=0)


def classes_figure() -> Figure:
    """The eight classes, their metric values and a use of each.

    Reference: Otto2020, Fig. 3.
    """
    rows = list(relations.METRICS_OF_RELATION.items())
    axes = _canvas(9.4, 1.75 + 0.42 * len(rows), "Image-text classes, their metrics and uses")
    places = {"class": 0.3, "CMI": 2.2, "SC": 3.0, "STAT": 3.8, "use": 4.7}
    for name, x in places.items():
        is_metric = name.lower() in relations.METRIC_VALUES
        axes.text(
            x + (0.2 if is_metric else 0.05), 0.85, name, size=9, weight="bold", va="center",
            ha="center" if is_metric else "left", color=_INK,
        )  # fmt: skip
    for number, (relation, (cmi, sc, stat)) in enumerate(rows):
        y = 1.1 + 0.42 * number
        _box(axes, places["class"], y, 1.7, 0.34, relation, color=_TINTS[sc])
        for name, value in (("CMI", cmi), ("SC", sc), ("STAT", stat)):
            axes.text(places[name] + 0.2, y + 0.17, _minus(value), size=9, va="center", ha="center")
        axes.text(places["use"] + 0.05, y + 0.17, _USES[relation], size=9, va="center", color=_INK)
    axes.text(0.3, 1.35 + 0.42 * len(rows), _METRICS, size=7.5, va="center", color=_INK)
    return axes.figure


def _minus(value: object) -> str:
    return str(value).replace("-", "−")


def categorization_figure() -> Figure:
    """The tree of the 18 combinations: eight classes, and the letters of the discarded cases.

    Reference: Otto2020, Fig. 4.
    """
    step, left = 0.62, 0.35
    leaves = list(relations.LEAVES.items())
    axes = _canvas(left * 2 + step * len(leaves), 5.2, "Categorization of image-text relations")
    levels = dict(zip(_METRIC_NAMES, (1.75, 2.55, 3.35), strict=True))
    known_leaves = relations.METRICS_OF_RELATION.values()
    centre = {leaf: left + step * (place + 0.5) for place, (leaf, _) in enumerate(leaves)}

    def middle(prefix: tuple) -> float:
        return float(np.mean([x for leaf, x in centre.items() if leaf[: len(prefix)] == prefix]))

    _box(axes, middle(()) - 0.7, 0.8, 1.4, 0.34, "image-text pair")
    prefixes = dict.fromkeys(leaf[:depth] for depth in (1, 2, 3) for leaf in centre)
    for prefix in prefixes:
        dead = not any(known[: len(prefix)] == prefix for known in known_leaves)
        name, y = list(levels.items())[len(prefix) - 1]
        top = 1.14 if len(prefix) == 1 else levels[_METRIC_NAMES[len(prefix) - 2]] + 0.15
        tint = _FAINT if dead else _EDGE
        _line(axes, (middle(prefix[:-1]), top), (middle(prefix), y - 0.15), tint)
        axes.text(
            middle(prefix), y, f"{name.upper()} {_minus(prefix[-1])}", size=7.5, ha="center",
            va="center", color=_FAINT if dead else _INK,
        )  # fmt: skip
    for leaf, relation in leaves:
        valid = relation != relations.UNDEFINED
        axes.text(
            centre[leaf], 3.6, relation if valid else f"✕  case {_CASES[leaf[:2]]}", size=8,
            rotation=90, ha="center", va="top", color=_INK if valid else _FAINT,
            weight="bold" if valid else "normal",
        )  # fmt: skip
    note = "A to D: combinations that cannot occur (Section 3.3); a cascade's answer is Undefined."
    axes.text(left, 4.95, note, size=8, va="center", color=_INK)
    return axes.figure


def model_figure(sizes: Mapping[str, Any]) -> Figure:
    """The network, with the sizes of a model.

    Args:
        sizes: `backbone`, `feature_shape` (h, w, C), `word_dim`, `text_dim`, `fc_units`, `classes`,
            `image_attention`, `image_dropout`, `text_dropout`; where they are not the paper's also
            `inputs`, `fusion`, `image_dim`, `word_scores` and `metric_logits`, as the settings of a
            run have them.

    Reference: Otto2020, Fig. 8.
    """
    inputs, fusion = sizes.get("inputs", "both"), sizes.get("fusion", "concat")
    title = "The classifier" if inputs == "both" else f"The classifier of the {inputs} alone"
    if inputs == "both":
        title += f", image_attention={sizes['image_attention']}"
        title += f", fusion={fusion}" * (fusion != "concat")
    axes = _canvas(11.2, 4.8, title)
    arrows = []
    if inputs != "text":
        arrows += _image_branch(axes, sizes)
    if inputs != "image":
        arrows += _text_branch(axes, sizes)
    middle = {"both": "joined", "text": "text only", "image": "image only"}[inputs]
    middle = "joined, with\ntheir product" if fusion == "product" and inputs == "both" else middle
    _box(axes, 7.5, 1.65, 1.1, 0.9, middle, color=_GREY)
    layers = "\n".join(f"FC {units}" for units in sizes["fc_units"])
    _box(axes, 8.9, 1.3, 0.9, 1.6, layers, color=_GREY)
    last = "softmax" if not sizes.get("metric_logits") else "sum of its\nthree metrics,\nsoftmax"
    _box(axes, 10.1, 1.65, 0.9, 0.9, f"{last}\n{sizes['classes']}", color=_GREY)
    arrows += [((8.6, 2.1), (8.9, 2.1)), ((9.8, 2.1), (10.1, 2.1))]
    if inputs == "both" and sizes["image_attention"] != "none":
        _box(axes, 1.8, 2.1, 1.7, 0.6, f"1×1 convolution\n→ {sizes['word_dim']}", color=_BLUE)
        arrows += [((2.65, 1.7), (2.65, 2.1)), ((3.5, 2.4), (4.65, 3.05))]
        if sizes["image_attention"] == "context":
            arrows.append(((3.5, 2.4), (6.45, 3.05)))
    for start, end in arrows:
        _arrow(axes, start, end)
    return axes.figure


def _image_branch(axes: Axes, sizes: Mapping[str, Any]) -> list[tuple]:
    """Draws what becomes of the image; the arrows."""
    height, width, depth = sizes["feature_shape"]
    encoder = f"{sizes['backbone']}\n{height}×{width}×{depth}"
    if dim := sizes.get("image_dim"):
        encoder, depth = f"{encoder}\n1×1 convolution, ReLU", dim
    _box(axes, 0.3, 0.9, 1.1, 0.8, "image", color=_GREY)
    _box(axes, 1.8, 0.9, 1.7, 0.8, encoder, color=_BLUE)
    _box(axes, 3.9, 0.9, 1.9, 0.8, f"mean, dropout {sizes['image_dropout']}\n{depth}", color=_BLUE)
    return [((1.4, 1.3), (1.8, 1.3)), ((3.5, 1.3), (3.9, 1.3)), ((5.8, 1.3), (7.5, 1.95))]


def _text_branch(axes: Axes, sizes: Mapping[str, Any]) -> list[tuple]:
    """Draws what becomes of the text; the arrows."""
    _box(axes, 0.3, 3.2, 1.1, 0.8, "sentences", color=_GREY)
    _box(axes, 1.8, 3.2, 1.7, 0.8, f"word vectors\n{sizes['word_dim']}", color=_GREEN)
    words = "bidirectional GRU\nand attention\nover words"
    _box(axes, 3.9, 3.05, 1.5, 1.1, words, color=_GREEN)
    _box(axes, 5.7, 3.05, 1.5, 1.1, words.replace("words", "sentences"), color=_GREEN)
    text = f"dropout {sizes['text_dropout']}\n{sizes['text_dim']}"
    _box(axes, 7.5, 3.2, 1.1, 0.8, text, color=_GREEN)
    arrows = [
        ((1.4, 3.6), (1.8, 3.6)), ((3.5, 3.6), (3.9, 3.6)), ((5.4, 3.6), (5.7, 3.6)),
        ((7.2, 3.6), (7.5, 3.6)), ((8.05, 3.2), (8.05, 2.55)),
    ]  # fmt: skip
    if sizes.get("word_scores"):
        _box(axes, 9.6, 3.2, 1.4, 0.8, "linear model\nof the words", color=_GREEN)
        _line(axes, (0.85, 4.0), (0.85, 4.4), _EDGE)
        _line(axes, (0.85, 4.4), (10.3, 4.4), _EDGE)
        arrows += [((10.3, 4.4), (10.3, 4.0)), ((10.55, 3.2), (10.55, 2.55))]
    return arrows


def class_bars_figure(
    scores: Mapping[str, Mapping[str, Sequence[float]]], class_names: Sequence[str], *, title: str
) -> Figure:
    """Precision and recall of each class, beside each other for several classifiers.

    Args:
        scores: "precision" and "recall" -> classifier -> [C] in [0, 1].
        class_names: the C names.
        title: the heading.

    Reference: Otto2020, Fig. 9.
    """
    figure = Figure(figsize=(11, 3.1 * len(scores) + 0.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    colours: Sequence[Any] = ("#0b5fa5", "#e0a030", "#7fb2dd", "#f0d090")
    if max(map(len, scores.values())) > len(colours):  # results on several data sets
        colours = matplotlib.colormaps["tab20"].colors
    places = np.arange(len(class_names))
    for number, (measure, classifiers) in enumerate(scores.items(), start=1):
        axes = figure.add_subplot(len(scores), 1, number)
        width = 0.8 / len(classifiers)
        for index, (name, values) in enumerate(classifiers.items()):
            offset = (index - (len(classifiers) - 1) / 2) * width
            axes.bar(
                places + offset,
                values,
                width * 0.92,
                label=name,
                color=colours[index % len(colours)],
            )
        axes.set_xticks(places, class_names, size=8)
        axes.set_ylim(0, 1)
        axes.set_ylabel(measure)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(title, weight="bold", parse_math=False)
    return figure
