"""Pictures of what counts for a classifier: words, sentences and image regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from imgtext_tf.data.text import tokenize
from imgtext_tf.explain import Attention, Effect

_DPI = 120
_LETTERS, _LETTER = 105, 0.0084  # of a line of text; width of one as a share of the picture's
_LEAST_SHARE = 0.03  # of a word with a picture of its own
# The probability that full colour stands for at least, so that next to nothing looks like it.
_FULL_EFFECT = 0.1
# Of the word that counts most: by attention (blue), by effect (orange-red).
_ATTENTION, _EFFECT = np.array([0.04, 0.37, 0.65]), np.array([0.77, 0.22, 0.04])


def picture(
    sentences: Sequence[str],
    attention: Attention,
    effect: Effect | None = None,
    image: np.ndarray | None = None,
    *,
    title: str = "",
    words_shown: int = 3,
) -> Figure:
    """Draws the text with its words shaded by what they count, and the image with its regions.

    Args:
        sentences: of the text, as the model was given them.
        attention: of the pair.
        effect: of its words and regions; None draws attention only.
        image: [H, W, 3] float in [0, 1], as the model was given it; None for a model of texts.
        title: the heading, such as the predicted class.
        words_shown: with regions, so many of the words that count most (by the effect, if given)
            get a picture of where they look.

    Full colour is the pair's largest attention; for the effect, its largest loss, but at least a
    tenth of the probability.

    Reference: Otto2020, Section 4.2.
    """
    tokens = _tokens(sentences, attention)
    pictures = _pictures(attention, effect, tokens, words_shown) if image is not None else []
    shares = attention.importance
    name = f"attention: {100 * shares.max(initial=0.0):.0f} % on one word"
    blocks = [(name, _ATTENTION, _lines(tokens, shares, attention.sentences))]
    if effect is not None:
        name = f"what hiding the word costs: {_up_to(effect.words)}"
        losses = np.maximum(effect.words, 0)
        blocks.append((name, _EFFECT, _lines(tokens, losses, full=_FULL_EFFECT)))
    # Inches, from the top: heading, pictures, blocks of text with a line of their own.
    width, line, side, head = 9.6, 0.21, 1.8, 0.45
    top = head + (side + 0.4) * bool(pictures)
    height = top + line * sum(len(lines) + 1.3 for _, _, lines in blocks) + 0.1
    drawn = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(drawn)
    drawn.text(0.02, 1 - 0.28 / height, title, size=11, weight="bold", parse_math=False)
    for place, (name, heat, full) in enumerate(pictures):
        box = (0.02 + place * (side + 0.08) / width, 1 - (head + 0.2 + side) / height)
        axes = drawn.add_axes((*box, side / width, side / height))
        axes.set_title(name, size=8, pad=3, parse_math=False)
        axes.set_axis_off()
        extent = (0, image.shape[1], image.shape[0], 0)
        axes.imshow(image if heat is None else image.mean(axis=2), cmap="gray", extent=extent)
        if heat is not None:
            axes.imshow(
                heat, cmap="inferno", vmin=0, vmax=max(full, float(heat.max())), alpha=0.6,
                extent=extent, interpolation="bilinear",
            )  # fmt: skip
    for name, colour, lines in blocks:
        drawn.text(0.02, 1 - (top + 0.8 * line) / height, name, size=8, color=colour)
        top += 1.3 * line
        for number, (share, words) in enumerate(lines):
            _draw_line(drawn, 1 - (top + line * (number + 0.6)) / height, share, words, colour)
        top += line * len(lines)
    return drawn


def _draw_line(drawn: Figure, y: float, share: float | None, words: list, colour: np.ndarray):
    if share is not None:
        drawn.text(0.02, y, f"{100 * share:3.0f} %", size=8, color="#666666")
    for column, word, shade in words:
        drawn.text(
            0.075 + column * _LETTER, y, word, size=9, family="monospace", parse_math=False,
            color="white" if shade > 0.55 else "black",
            bbox={"facecolor": 1 - shade * (1 - colour), "linewidth": 0, "pad": 1.2},
        )  # fmt: skip


def _tokens(sentences: Sequence[str], attention: Attention) -> list[list[str]]:
    """The words that the weights are of."""
    count, length = attention.words.shape
    words = tokenize(tf.constant(list(sentences[:count]), tf.string)).to_list()
    return [[word.decode("utf-8") for word in sentence[:length]] for sentence in words]


def _up_to(losses: np.ndarray) -> str:
    most = 100 * float(losses.max(initial=0.0))
    return f"up to {most:.0f} points" if most >= 1.5 else "less than 2 points"


def _pictures(
    attention: Attention, effect: Effect | None, tokens: list[list[str]], count: int
) -> list[tuple[str, np.ndarray | None, float]]:
    """(heading, heat [h, w], full colour) of each: the image, all words, some words, the effect."""
    pictures: list[tuple[str, np.ndarray | None, float]] = [("the image", None, 1.0)]
    if attention.regions is not None:
        # Twice what each region has where all are alike.
        full = 2 / np.prod(attention.regions.shape[2:])
        pictures.append(("attention of all words", attention.image, full))
        # Where the effect is known it chooses the words: attention may sit on a word that says
        # nothing. It takes the room of one.
        counts = attention.importance if effect is None else np.maximum(effect.words, 0)
        shown = count - (effect is not None)
        for place in np.argsort(-counts, axis=None, kind="stable")[: max(0, shown)]:
            row, column = np.unravel_index(place, counts.shape)
            share = float(counts[row, column])
            if share >= (_LEAST_SHARE if effect is None else 0.01):
                unit = "%" if effect is None else "points"
                name = f"{tokens[row][column]} ({100 * share:.0f} {unit})"
                pictures.append((name, attention.regions[row, column], full))
    if effect is not None and effect.regions is not None:
        losses = np.maximum(effect.regions, 0)
        pictures.append((f"hiding costs {_up_to(losses)}", losses, _FULL_EFFECT))
    return pictures


def _lines(
    tokens: list[list[str]],
    values: np.ndarray,
    shares: np.ndarray | None = None,
    *,
    full: float = 1e-9,
) -> list[tuple]:
    """The text in lines: (share of the sentence or None, [(column, word, shade in [0, 1])])."""
    strongest = max(float(values.max(initial=0.0)), full)
    lines: list[tuple] = []
    for number, sentence in enumerate(tokens):
        words, column = [], 0
        share = None if shares is None else float(shares[number])
        for place, word in enumerate(sentence):
            if column and column + len(word) > _LETTERS:
                lines.append((share, words))
                words, column, share = [], 0, None
            words.append((column, word, float(values[number, place]) / strongest))
            column += len(word) + 1
        lines.append((share, words))
    return lines
