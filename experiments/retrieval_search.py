"""A trained retrieval model in use: images and words to vectors, and queries made of both."""

from __future__ import annotations

import itertools
import pathlib
import re
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import runs, untrusted
from imgtext_tf.data import images, shape_batches
from imgtext_tf.models import semantic_retrieval
from imgtext_tf.text_similarity import TfIdf

_WINDOW = 64  # image files read before they are embedded: photos of any size fill the memory
_TERM = re.compile(r"([+-]?)(?:(\d+\.?\d*|\.\d+)[*:])?([^\W_][^\s*:]*)")
# Minus signs and dashes that editors write in place of "-".
_DASHES = dict.fromkeys(map(ord, "\u2212\u2013\u2014"), "-")


def parse_modifiers(text: str) -> list[tuple[float, str]]:
    """Reads "red car +horse -beach 2*dog": (weight, text) of each term.

    Words without sign and weight are one text, added as a whole; each other word is its own term.

    Raises:
        ValueError: if a part is no word with sign and weight.

    Reference: Gordo2017, Section 6.2 (Fig. 5).
    """
    found, plain = [], []
    for part in re.sub(r"([+-])\s+", r"\1", text.translate(_DASHES)).split():
        match = _TERM.fullmatch(part)
        if match is None:
            raise ValueError(f"--text: {part!r} is no word; write +word, -word or +2*word")
        sign, weight, word = match.groups()
        if sign or weight:
            found.append(((-1.0 if sign == "-" else 1.0) * float(weight or 1), word))
        else:
            plain.append(word)
    return ([(1.0, " ".join(plain))] if plain else []) + found


def modified_query(phi: np.ndarray | None, terms: Sequence[tuple[float, np.ndarray]]) -> np.ndarray:
    """l2(phi + sum_k a_k theta_k): an image, or none, with words added and taken away.

    Args:
        phi: [D]; None for a query of words alone.
        terms: weight and theta [D] of each word.

    Raises:
        ValueError: if nothing is left, as for a word less itself.

    Reference: Gordo2017, Section 6.2 (Fig. 5).
    """
    parts = [] if phi is None else [phi]
    parts += [weight * theta for weight, theta in terms]
    query = np.sum(parts, axis=0) if parts else np.zeros(1)
    length = np.linalg.norm(query)
    if length < 1e-9:
        raise ValueError("the query is empty: give --image, --text, or both")
    return (query / length).astype(np.float32)


class Searcher:
    """A run's model on images of any shape and on words.

    Attributes:
        run: of `runs.load`.
        longest_side: that images are scaled to, in pixels.
        vectorizer: the run's tf-idf.
    """

    def __init__(self, run_dir: str, *, which: str = "best", batch_size: int = 16):
        """Loads the run.

        Args:
            run_dir: of experiments.train_retrieval.
            which: "best" or "last" weights.
            batch_size: most images embedded together.

        Raises:
            RunError: if a file of the run is missing.
        """
        self.run = runs.load(run_dir, which)
        self.run.need_backbone()
        how = self.run.preprocessing
        try:
            untrusted.need(how, {"longest_side": int, "tfidf": dict}, "preprocessing.json")
            self.vectorizer = TfIdf.from_config({"terms": self.run.vocabulary, **how["tfidf"]})
            if len(self.vectorizer.idf) != len(self.run.vocabulary):
                raise ValueError(f"{len(self.vectorizer.idf)} weights for "
                                 f"{len(self.run.vocabulary)} words")  # fmt: skip
        except (TypeError, ValueError) as error:
            raise runs.RunError(f"{run_dir}: its preprocessing and vocabulary do not fit: {error}"
                                ) from error  # fmt: skip
        self.longest_side = how["longest_side"]
        self._batch_size = batch_size
        part = semantic_retrieval.image_part(self.run.model)
        self._embed = tf.function(
            lambda image: part({"image": image}, training=False)["phi"], reduce_retracing=True
        )

    def read_image(self, path: str | pathlib.Path) -> np.ndarray:
        """An image file, upright and scaled: [H, W, 3] float32 in [0, 1].

        Raises:
            OSError: if it cannot be read.
            images.ImageError: if it is no image.
        """
        data = images.read_file(path)
        try:
            pixels = images.upright(images.checked_pixels(data), data)
        except images.ImageError as error:
            raise images.ImageError(f"{path}: {error}") from error
        shape = shape_batches.scaled_shape(*pixels.shape[:2], self.longest_side)
        return images.resize(tf.constant(pixels), shape).numpy()

    def embed_files(self, paths: Sequence[pathlib.Path]) -> tuple[list[int], np.ndarray]:
        """Embeds image files, those of one shape together.

        Returns:
            The places of those that could be read, and their vectors [n, D] float32; zeros for a
            file that is no image.
        """
        size = self.run.model.output["phi"].shape[-1]
        places, vectors = [], [np.zeros([0, size], np.float32)]
        for first in range(0, len(paths), _WINDOW):
            loaded = []
            for place, path in enumerate(paths[first : first + _WINDOW], start=first):
                try:
                    loaded.append((place, self.read_image(path)))
                except images.ImageError:
                    places.append(place)
                    vectors.append(np.zeros([1, size], np.float32))
                except OSError:
                    continue
            for some, found in self._embed_loaded(loaded):
                places += some
                vectors.append(found)
        return places, np.concatenate(vectors)

    def _embed_loaded(
        self, loaded: list[tuple[int, np.ndarray]]
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Places and vectors of images, those of one shape together."""
        loaded.sort(key=lambda one: (one[1].shape, one[0]))
        for _, group in itertools.groupby(loaded, key=lambda one: one[1].shape):
            members = list(group)
            for start in range(0, len(members), self._batch_size):
                part = members[start : start + self._batch_size]
                images_of_part = np.stack([image for _, image in part])
                yield [place for place, _ in part], self._embed(images_of_part).numpy()

    def embed_image(self, path: str | pathlib.Path) -> np.ndarray:
        """Embeds one image file: [D]; raises what `read_image` raises."""
        return self._embed(self.read_image(path)[None]).numpy()[0]

    def embed_word(self, word: str) -> np.ndarray:
        """Theta of a word: [D], its row of W over its length.

        Raises:
            text_similarity.UnknownWordError: listing near words, if no training text has it.
            ValueError: if the model was trained without texts.
        """
        column = self.vectorizer.column(word)
        part = semantic_retrieval.text_part(self.run.model)
        one = tf.SparseTensor([[0, column]], [1.0], [1, len(self.vectorizer)])
        return part({"tfidf": one})["theta"].numpy()[0]

    def embed_text(self, text: str) -> np.ndarray:
        """Theta of a text: [D], l2(W^T t) of its tf-idf t.

        Raises:
            text_similarity.UnknownWordError: if no training text has one of its words.
            ValueError: if the model was trained without texts.

        Reference: Gordo2017, Section 5.2.
        """
        words = text.split()
        if len(words) == 1:  # has a direction even where its idf is 0
            return self.embed_word(text)
        for word in words:
            self.vectorizer.column(word)
        part = semantic_retrieval.text_part(self.run.model)
        tfidf = self.vectorizer.transform([[text]])
        return part({"tfidf": semantic_retrieval.sparse_tensor(tfidf)})["theta"].numpy()[0]

    def query(self, image: str | None, text: str) -> np.ndarray:
        """The vector of an image file with modifiers: [D]; see `modified_query`."""
        phi = self.embed_image(image) if image else None
        terms = [(weight, self.embed_text(part)) for weight, part in parse_modifiers(text)]
        return modified_query(phi, terms)

    def map_parts(self) -> tuple[keras.Model, keras.Model]:
        """The model in two: images -> last feature map, and feature map -> descriptor."""
        regions = next(layer for layer in self.run.model.layers if layer.name == "region_encoder")
        encoder, pool = regions.get_layer("image_encoder"), regions.get_layer("regions")
        head = next(layer for layer in self.run.model.layers if layer.name == "image_part")
        maps = keras.Input(encoder.output_shape[1:])
        return encoder, keras.Model(maps, head({"regions": pool(maps)})["phi"])
