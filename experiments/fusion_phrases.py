"""The phrases of photos, which of them may be used, and their text embeddings."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf
from nltk.stem.snowball import SnowballStemmer

from experiments import phrase_report
from experiments.fusion_flags import Settings
from imgtext_tf import runs, search, untrusted
from imgtext_tf.data import grams
from imgtext_tf.models import phrase_generator, query_encoder

_SNOWBALL = SnowballStemmer("english").stem
_IRREGULAR = {"people": "person", "children": "child", "feet": "foot", "teeth": "tooth"}
_LEAST = 3  # letters that stay of a word


class Phrases:
    """The phrases of photos and their text embeddings, without those that are left out."""

    def __init__(
        self, settings: Settings, terms: Collection[Collection[str]], phrase_set: str
    ) -> None:
        """Opens the generator's phrases and the text encoder.

        Args:
            settings: of the run.
            terms: of each label; their words are left out, if so.
            phrase_set: "all" or "without_labels".

        Raises:
            SearchError: if the generator's run has no index.
        """
        names, vectors = output_space(settings.generator, settings.output_space)
        kept = [place for place, name in enumerate(names) if is_english(name)]
        if phrase_set == "without_labels":
            stems = label_stems(terms)
            kept = [place for place in kept if not stems & stems_of(names[place])]
        self.left_out = len(names) - len(kept)
        self.index = search.build("exact", [names[place] for place in kept], vectors[kept])
        self._top = settings.top
        self._hashing = runs.read_json(runs.RunDirectory(settings.text_encoder).preprocessing_file)
        model = runs.load(settings.text_encoder).model
        self._encoder = query_encoder.encoder_of(model)

    def of(self, bottlenecks: np.ndarray) -> list[list[str]]:
        """The best phrases of each photo, best first: [N][<= top]."""
        found = self.index.search(bottlenecks, self._top).ids
        return [[name for name in row if name] for row in found]

    def embed(self, phrases: Sequence[Sequence[str]]) -> np.ndarray:
        """The mean text embedding of each photo's phrases: [N, 200]; zeros without a phrase.

        Reference: Shah2019, Section 3.3.
        """
        distinct = sorted({name for row in phrases for name in row})
        if not distinct:
            return np.zeros([len(phrases), self._encoder.output["embedding"].shape[-1]], np.float32)
        ids = grams.gram_ids(tf.constant(distinct), **self._hashing)
        vectors = self._encoder.predict_on_batch({"gram_ids": ids})["embedding"]
        place_of = {name: place for place, name in enumerate(distinct)}
        return mean_of_phrases(
            [[vectors[place_of[name]] for name in row] for row in phrases], vectors.shape[1]
        )


def mean_of_phrases(vectors: Sequence[Sequence[np.ndarray]], dim: int) -> np.ndarray:
    """Averages what there is: three vectors of a photo, or fewer; zeros where there is none."""
    return np.array(
        [np.mean(row, 0) if len(row) else np.zeros(dim) for row in vectors], np.float32
    ).reshape(-1, dim)


def output_space(generator: str, size: str) -> tuple[list[str], np.ndarray]:
    """The names and vectors that phrases are searched among: w_c or all prototypes."""
    if size == "large":
        index = search.load(runs.RunDirectory(generator).path / phrase_report.INDEX)
        return index.ids, np.asarray(index.vectors)
    run = runs.RunDirectory(generator)
    model = untrusted.load_model(run.model_file("best"))
    names = runs.read_words(run.vocabulary_file)
    return names, phrase_generator.query_weights(model)


def is_english(phrase: str) -> bool:
    """Whether all letters are ASCII: the paper takes "English text results" and says no more."""
    return phrase.isascii()


def stems_of(text: str) -> set[str]:
    """The stems of a text's words, cut so far that surf, surfing and surfer have one."""
    return {_stem(word) for word in re.findall(r"[^\W\d_]+", text.casefold())}


@functools.cache
def _stem(word: str) -> str:
    """Snowball's English stem without what it leaves: irregular plurals, -er, -or, -ist, -e.

    It may join words that have nothing in common (flower and flow): too many phrases are left out
    then, where too few would show the classifier its label.
    """
    word = _IRREGULAR.get(word, re.sub("men$", "man", word))
    stem = _SNOWBALL(word)
    for ending in ("er", "or", "ist", "e"):
        if stem.endswith(ending) and len(stem) - len(ending) >= _LEAST:
            stem = stem.removesuffix(ending)
            break
    doubled = len(stem) > _LEAST and stem[-1] == stem[-2] and stem[-1] not in "aeiou"
    return stem[:-1] if doubled else stem


def label_stems(terms: Collection[Collection[str]]) -> set[str]:
    """The stems of all words of all terms of all labels."""
    return {stem for names in terms for name in names for stem in stems_of(name)}
