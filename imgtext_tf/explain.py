"""Which words, sentences and image regions count for a classifier.

Two things are told. An attention weight says how much a word's state counts in the mean that the
classifier goes on with: that is where the model looks, and no proof that the class would change
without the word. The effect of a word or region is what the class's probability loses when it is
hidden.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf.data.text import UNKNOWN

_TEXTS = ("word_ids", "ngram_ids")
_BATCH = 64  # variants of a pair that are tried at once


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
