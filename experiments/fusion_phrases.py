"""The phrases of photos, which of them may be used, and their text embeddings."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf

from experiments.fusion_flags import Settings
from experiments.phrase_generation import output_space
from experiments.phrase_labels import label_stems, stems_of
from imgtext_tf import runs, search
from imgtext_tf.data import grams
from imgtext_tf.models import query_encoder

_CHUNK = 4096


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
        self._vectors: dict[str, np.ndarray] = {}

    def of(self, bottlenecks: np.ndarray) -> list[list[str]]:
        """The best phrases of each photo, best first: [N][<= top]."""
        found = self.index.search(bottlenecks, self._top).ids
        return [[name for name in row if name] for row in found]

    def embed(self, phrases: Sequence[Sequence[str]]) -> np.ndarray:
        """The mean text embedding of each photo's phrases: [N, 200]; zeros without a phrase.

        Reference: Shah2019, Section 3.3.
        """
        # The cases of a comparison ask for the same phrases again and again.
        missing = sorted({name for row in phrases for name in row} - self._vectors.keys())
        for start in range(0, len(missing), _CHUNK):
            names = missing[start : start + _CHUNK]
            ids = grams.gram_ids(tf.constant(names), **self._hashing)
            vectors = self._encoder.predict_on_batch({"gram_ids": ids})["embedding"]
            self._vectors |= dict(zip(names, vectors, strict=True))
        dim = self._encoder.output["embedding"].shape[-1]
        return mean_of_phrases([[self._vectors[name] for name in row] for row in phrases], dim)


def mean_of_phrases(vectors: Sequence[Sequence[np.ndarray]], dim: int) -> np.ndarray:
    """Averages what there is: three vectors of a photo, or fewer; zeros where there is none."""
    return np.array(
        [np.mean(row, 0) if len(row) else np.zeros(dim) for row in vectors], np.float32
    ).reshape(-1, dim)


def is_english(phrase: str) -> bool:
    """Whether all letters are ASCII: the paper takes "English text results" and says no more."""
    return phrase.isascii()
