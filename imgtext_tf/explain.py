"""Which words, sentences and image regions the attention of a classifier rests on, as a picture.

An attention weight says how much a word's state counts in the mean that the classifier goes on
with. That is where the model looks; it is no proof that the class would change without the word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from imgtext_tf.data.text import tokenize

_DPI = 120
_LETTERS, _LETTER = 105, 0.0084  # of a line of text; width of one as a share of the picture's
_LEAST_SHARE = 0.03  # of a word with a picture of its own
_SHADE = np.array([0.04, 0.37, 0.65])  # of the word that counts most


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


class Explainer:
    """Reads the attention weights of a `models.relation_classifier`."""

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
        names = [layer.name for layer in model.layers]
        if "text_encoder" not in names:
            raise ValueError("the model reads no text: there is no attention to show")
        text = model.get_layer("text_encoder")
        self._regions = None
        if "regions" in text.input:
            regions = model.get_layer("regions").output
            self._regions = keras.Model(model.input["image_features"], regions)
        self._of_sentences = _weights(text, "sentence_attention")
        words = text.get_layer("sentences").encoder
        self._of_words = _weights(words, "word_attention")
        self._of_regions = None
        if "regions" in words.input:
            self._of_regions = _weights(words, "region_attention")

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> Attention:
        """The attention weights for one pair.

        Args:
            inputs: the model's, [1, ...] each.
        """
        of_text = {
            name: tf.convert_to_tensor(inputs[name])
            for name in ("word_ids", "ngram_ids")
            if name in inputs
        }
        count, length = of_text["word_ids"].shape[1:]
        of_words = {name: value[0] for name, value in of_text.items()}
        if self._regions is not None:
            maps = self._encoder(inputs["image"]) if self._encoder else inputs["image_features"]
            regions = of_text["regions"] = self._regions(maps)
            height, width, depth = regions.shape[1:]
            flat = tf.reshape(regions, [1, height * width, depth])
            of_words["regions"] = tf.repeat(flat, count, axis=0)
            of_words["context"] = tf.repeat(tf.reduce_mean(regions, axis=[1, 2]), count, axis=0)
        words = _run(self._of_words, of_words)[:, -length:]  # mode "prepend": the image comes first
        sentences = _run(self._of_sentences, of_text)[0]
        if self._of_regions is None:
            return Attention(sentences, words)
        by_region = _run(self._of_regions, of_words)
        return Attention(sentences, words, by_region.reshape(count, length, height, width))


def _weights(model: keras.Model, name: str) -> keras.Model:
    """A model from the inputs of `model` to the weights of its attention layer of this name."""
    layer = model.get_layer(name)
    return keras.Model(model.input, layer.attention(*layer.input))


def _run(model: keras.Model, inputs: Mapping[str, tf.Tensor]) -> np.ndarray:
    return model({name: inputs[name] for name in model.input}, training=False).numpy()


def attention_figure(
    attention: Attention,
    sentences: Sequence[str],
    image: np.ndarray | None = None,
    *,
    title: str = "",
    words_shown: int = 4,
) -> Figure:
    """Draws the text, its words shaded by what they count, and what they point at in the image.

    Args:
        attention: of the pair.
        sentences: of the text, as the model was given them.
        image: [H, W, 3] float in [0, 1], as the model was given it; None for a model of texts.
        title: the heading, such as the predicted class.
        words_shown: with regions, so many of the words that count most get a picture of their own.

    Reference: Otto2020, Section 4.2.
    """
    tokens = _tokens(sentences, attention)
    pictures = _pictures(attention, tokens, image, words_shown)
    lines = _lines(tokens, attention)
    # Inches, from the top: heading, pictures, lines of text.
    width, line, side, head = 9.6, 0.21, 1.8, 0.45
    top = head + (side + 0.45) * bool(pictures)
    height = top + line * len(lines) + 0.1
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.02, 1 - 0.28 / height, title, size=11, weight="bold", parse_math=False)
    for place, (name, heat) in enumerate(pictures):
        box = (0.02 + place * (side + 0.07) / width, 1 - (head + 0.2 + side) / height)
        axes = figure.add_axes((*box, side / width, side / height))
        axes.set_title(name, size=8, pad=3, parse_math=False)
        axes.set_axis_off()
        extent = (0, image.shape[1], image.shape[0], 0)
        axes.imshow(image.mean(axis=2) if heat is not None else image, cmap="gray", extent=extent)
        if heat is not None:
            axes.imshow(heat, cmap="inferno", alpha=0.6, extent=extent, interpolation="bilinear")
    for number, (share, words) in enumerate(lines):
        y = 1 - (top + line * (number + 0.6)) / height
        if share is not None:
            figure.text(0.02, y, f"{100 * share:3.0f} %", size=8, color="#666666")
        for column, word, weight in words:
            x = 0.075 + column * _LETTER
            dark = weight > 0.55
            figure.text(
                x, y, word, size=9, family="monospace", parse_math=False,
                color="white" if dark else "black",
                bbox={"facecolor": 1 - weight * (1 - _SHADE), "linewidth": 0, "pad": 1.2},
            )  # fmt: skip
    return figure


def _tokens(sentences: Sequence[str], attention: Attention) -> list[list[str]]:
    """The words that the weights are of."""
    count, length = attention.words.shape
    words = tokenize(tf.constant(list(sentences[:count]), tf.string)).to_list()
    return [[word.decode("utf-8") for word in sentence[:length]] for sentence in words]


def _pictures(
    attention: Attention, tokens: list[list[str]], image: np.ndarray | None, count: int
) -> list[tuple[str, np.ndarray | None]]:
    """(heading, heat [h, w]) of each picture: the image, all words, the words that count most."""
    if image is None:
        return []
    pictures: list[tuple[str, np.ndarray | None]] = [("the image", None)]
    if attention.regions is None:
        return pictures
    pictures.append(("all words", attention.image))
    importance = attention.importance
    for place in np.argsort(-importance, axis=None)[: max(0, count - 1)]:
        row, column = np.unravel_index(place, importance.shape)
        if importance[row, column] >= _LEAST_SHARE:
            name = f"{tokens[row][column]} ({100 * importance[row, column]:.0f} %)"
            pictures.append((name, attention.regions[row, column]))
    return pictures


def _lines(tokens: list[list[str]], attention: Attention) -> list[tuple]:
    """The text in lines: (share of the sentence or None, [(column, word, shade in [0, 1])])."""
    strongest = max(float(attention.importance.max(initial=0.0)), 1e-9)
    lines: list[tuple] = []
    for number, sentence in enumerate(tokens):
        words, column, share = [], 0, float(attention.sentences[number])
        for place, word in enumerate(sentence):
            if column and column + len(word) > _LETTERS:
                lines.append((share, words))
                words, column, share = [], 0, None
            words.append((column, word, float(attention.importance[number, place]) / strongest))
            column += len(word) + 1
        lines.append((share, words))
    return lines
