"""Which words, sentences and image regions count for a classifier, as a picture.

Two things are told. An attention weight says how much a word's state counts in the mean that the
classifier goes on with: that is where the model looks, and no proof that the class would change
without the word. The effect of a word or region is what the class's probability loses when it is
hidden.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from imgtext_tf.data.text import UNKNOWN, tokenize

_TEXTS = ("word_ids", "ngram_ids")
_BATCH = 64  # variants of a pair that are tried at once
_DPI = 120
_LETTERS, _LETTER = 105, 0.0084  # of a line of text; width of one as a share of the picture's
_LEAST_SHARE = 0.03  # of a word with a picture of its own
# The probability that full colour stands for at least, so that next to nothing looks like it.
_FULL_EFFECT = 0.1
# Of the word that counts most: by attention (blue), by effect (orange-red).
_ATTENTION, _EFFECT = np.array([0.04, 0.37, 0.65]), np.array([0.77, 0.22, 0.04])


@dataclasses.dataclass(frozen=True)
class Attention:
    """The attention weights of one pair.

    Attributes:
        sentences: [S] float, their sum is 1.
        words: [S, W] float, the sum of a sentence is 1 (less the image's share in mode "prepend");
            0 where there is no word.
        regions: [S, W, h, w] float, the sum of a word is 1; None but in mode "regions".
    """

    sentences: np.ndarray
    words: np.ndarray
    regions: np.ndarray | None = None

    @property
    def importance(self) -> np.ndarray:
        """[S, W]: the share of each word in the whole text."""
        return self.words * self.sentences[:, None]

    @property
    def image(self) -> np.ndarray | None:
        """[h, w]: the regions of all words, each by its importance; None without regions."""
        if self.regions is None:
            return None
        return np.tensordot(self.importance, self.regions, axes=2)


@dataclasses.dataclass(frozen=True)
class Effect:
    """What the probability of a class loses, from -1 to 1, when a part of the pair is hidden.

    Attributes:
        words: [S, W] float: each word taken for an unknown one; 0 where there is no word.
        regions: [h, w] float: each place of the feature map set to the mean of all; None for a
            model of texts.
    """

    words: np.ndarray
    regions: np.ndarray | None = None


class Explainer:
    """Reads the attention weights of a `models.relation_classifier`, and tries it without parts."""

    def __init__(self, model: keras.Model) -> None:
        """Takes the model apart.

        Args:
            model: on pixels or on feature maps.

        Raises:
            ValueError: if the model reads no text, and so has no attention.
        """
        self._encoder = None
        if "image" in model.input:
            self._encoder = model.get_layer("image_encoder")
            model = model.get_layer("relation_classifier")
        if not any(layer.name == "text_encoder" for layer in model.layers):
            raise ValueError("the model reads no text: there is no attention to show")
        self._model = model
        text = model.get_layer("text_encoder")
        self._regions = None
        if "regions" in text.input:
            regions = model.get_layer("regions").output
            self._regions = keras.Model(model.input["image_features"], regions)
        self._of_sentences = _weights(text, "sentence_attention")
        words = text.get_layer("sentences").encoder
        self._of_words = _weights(words, "word_attention")
        has_regions = "regions" in words.input
        self._of_regions = _weights(words, "region_attention") if has_regions else None

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> Attention:
        """The attention weights for one pair.

        Args:
            inputs: the model's, [1, ...] each.
        """
        of_text = {name: tf.convert_to_tensor(inputs[name]) for name in _TEXTS if name in inputs}
        count, length = of_text["word_ids"].shape[1:]
        of_words = {name: value[0] for name, value in of_text.items()}
        if self._regions is not None:
            regions = of_text["regions"] = self._regions(self._maps(inputs))
            height, width, depth = regions.shape[1:]
            flat = tf.reshape(regions, [1, height * width, depth])
            of_words["regions"] = tf.repeat(flat, count, axis=0)
            of_words["context"] = tf.repeat(tf.reduce_mean(regions, axis=[1, 2]), count, axis=0)
        words = _run(self._of_words, of_words).numpy()[:, -length:]  # "prepend": the image first
        sentences = _run(self._of_sentences, of_text).numpy()[0]
        if self._of_regions is None:
            return Attention(sentences, words)
        by_region = _run(self._of_regions, of_words).numpy()
        return Attention(sentences, words, by_region.reshape(count, length, height, width))

    def effect(
        self, inputs: Mapping[str, tf.Tensor], label: int, *, temperature: float = 1.0
    ) -> Effect:
        """What a class loses when a word or a region is hidden.

        Args:
            inputs: the model's, [1, ...] each.
            label: the class's.
            temperature: of the softmax.
        """
        pair = {name: np.asarray(inputs[name])[0] for name in _TEXTS if name in inputs}
        if "image_features" in self._model.input:
            pair["image_features"] = self._maps(inputs).numpy()[0]
        words = np.argwhere(pair["word_ids"] != 0)
        grid = pair["image_features"].shape[:2] if "image_features" in pair else (0, 0)
        regions = list(np.ndindex(grid))
        variants = [pair, *(_without_word(pair, *place) for place in words)]
        variants += [_without_region(pair, *place) for place in regions]
        shares = []
        for start in range(0, len(variants), _BATCH):
            batch = variants[start : start + _BATCH]
            stacked = {name: np.stack([one[name] for one in batch]) for name in pair}
            logits = _run(self._model, stacked)["logits"] / temperature
            shares.append(keras.ops.softmax(logits).numpy()[:, label])
        losses = shares[0][0] - np.concatenate(shares)[1:]
        of_words = np.zeros(pair["word_ids"].shape)
        of_words[tuple(words.T)] = losses[: len(words)]
        return Effect(of_words, losses[len(words) :].reshape(grid) if regions else None)

    def _maps(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The feature map [1, h, w, C] of the pair's image."""
        maps = inputs["image_features"] if self._encoder is None else self._encoder(inputs["image"])
        return tf.convert_to_tensor(maps)


def _without_word(pair: dict[str, np.ndarray], sentence: int, word: int) -> dict[str, np.ndarray]:
    changed = {name: pair[name].copy() for name in _TEXTS if name in pair}
    changed["word_ids"][sentence, word] = UNKNOWN
    if "ngram_ids" in changed:
        changed["ngram_ids"][sentence, word] = 0
    return pair | changed


def _without_region(pair: dict[str, np.ndarray], y: int, x: int) -> dict[str, np.ndarray]:
    maps = pair["image_features"].copy()
    maps[y, x] = maps.mean(axis=(0, 1))
    return pair | {"image_features": maps}


def _weights(model: keras.Model, name: str) -> keras.Model:
    """A model from the inputs of `model` to the weights of its attention layer of this name."""
    layer = model.get_layer(name)
    return keras.Model(model.input, layer.attention(*layer.input))


def _run(model: keras.Model, inputs: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():
        # Keras warns of a softmax over one sentence, which is all there is to weigh.
        warnings.filterwarnings("ignore", "You are using a softmax over axis", UserWarning)
        return model({name: inputs[name] for name in model.input}, training=False)


def figure(
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
