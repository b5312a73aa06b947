"""tf-idf vectors of the texts of an image, merged into one bag of stems; sparse throughout."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import tensorflow as tf
from nltk.stem.snowball import SnowballStemmer

from imgtext_tf.data.text import tokenize

TERM_WEIGHTS = ("count", "binary", "log")
IDFS = ("plain", "plus_one", "smooth")
UNITS = ("stems", "words", "labels")
_STEM = functools.cache(SnowballStemmer("english").stem)


class UnknownWordError(ValueError):
    """A word that no training text has; the message lists words that are written like it."""


class TfIdf:
    """tf-idf weights learnt on a train split; turns texts into l2-normalised sparse vectors.

    Attributes:
        terms: the vocabulary, in the order of the columns.
        idf: [V] float32, the weight of each term.
        words: the terms as people write them: of each stem its most frequent word.
    """

    def __init__(
        self,
        terms: Sequence[str],
        idf: np.ndarray,
        *,
        units: str = "stems",
        term_weight: str = "count",
        words: Sequence[str] | None = None,
    ):
        """Takes what was learnt, see `learn`; without `words` the terms stand for themselves."""
        if units not in UNITS or term_weight not in TERM_WEIGHTS:
            raise ValueError(f"use units of {UNITS} and a term weight of {TERM_WEIGHTS}")
        self.terms = tuple(terms)
        self.words = self.terms if words is None else tuple(words)
        if len(self.words) != len(self.terms) or not all(isinstance(w, str) for w in self.words):
            raise ValueError(f"{len(self.words)} words for {len(self.terms)} terms, or no words")
        self.idf = np.asarray(idf, np.float32)
        self.units = units
        self.term_weight = term_weight
        self._column = {term: column for column, term in enumerate(self.terms)}

    @classmethod
    def learn(
        cls,
        texts: Sequence[Sequence[str]],
        *,
        units: str = "stems",
        term_weight: str = "count",
        idf: str = "plain",
        min_documents: int = 1,
    ) -> TfIdf:
        """Learns vocabulary and weights.

        Args:
            texts: the sentences (or labels) of each image of the train split.
            units: "stems" of Snowball, "words" as they are, or "labels" for lists of labels such
                as synsets, which are not taken apart.
            term_weight: of a term that stands n times: "count" n, "binary" 1, "log" 1 + ln n.
            idf: of a term in d of N texts: "plain" ln(N / d), "plus_one" ln(N / d) + 1, "smooth"
                ln((1 + N) / (1 + d)) + 1.
            min_documents: terms in fewer texts are left out.

        Raises:
            ValueError: if a choice is unknown, or no term is left.

        Reference: Gordo2017, Sections 4 and 6.1.
        """
        if idf not in IDFS:
            raise ValueError(f"unknown idf {idf!r}: use one of {', '.join(IDFS)}")
        if units not in UNITS:
            raise ValueError(f"unknown units {units!r}: use one of {', '.join(UNITS)}")
        owners, codes, names, words = _units_of(texts, units)
        counts = _count(owners, codes, (len(texts), len(names)))
        documents = np.asarray((counts > 0).sum(axis=0)).ravel()
        kept = [place for place in range(len(names)) if documents[place] >= min_documents]
        if not kept:
            raise ValueError(f"no term stands in {min_documents} texts: lower min_documents")
        # By falling number of texts, then by term: the same texts give the same columns.
        kept.sort(key=lambda place: (-documents[place], names[place]))
        known, total = documents[kept], len(texts)
        weights = {
            "plain": np.log(total / known),
            "plus_one": np.log(total / known) + 1,
            "smooth": np.log((1 + total) / (1 + known)) + 1,
        }[idf]
        terms = [names[place] for place in kept]
        written = [words[place] for place in kept]
        return cls(terms, weights, units=units, term_weight=term_weight, words=written)

    def __len__(self) -> int:
        """The number of terms V."""
        return len(self.terms)

    def transform(self, texts: Sequence[Sequence[str]]) -> scipy.sparse.csr_matrix:
        """The vectors of texts: [N, V] float32, each row of length 1, or 0 without a known term."""
        owners, codes, names, _ = _units_of(texts, self.units)
        columns = np.array([self._column.get(name, -1) for name in names], np.int64)[codes]
        counts = _count(owners[columns >= 0], columns[columns >= 0], (len(texts), len(self)))
        if self.term_weight == "binary":
            counts.data[:] = 1
        elif self.term_weight == "log":
            counts.data = 1 + np.log(counts.data)
        counts.data *= self.idf[counts.indices]
        lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return scipy.sparse.diags(scale.astype(np.float32)) @ counts

    def column(self, word: str) -> int:
        """The column of a word, whatever its form.

        Raises:
            UnknownWordError: listing near words.
        """
        if self.units == "labels":
            parts = [word]
        else:
            parts = [part.decode("utf-8") for part in tokenize([word])[0].numpy()]
        term = _STEM(parts[0]) if self.units == "stems" and len(parts) == 1 else "".join(parts)
        if len(parts) == 1 and term in self._column:
            return self._column[term]
        near = difflib.get_close_matches(term, self.terms, n=8, cutoff=0.6)
        # Rare words come last in the vocabulary; the frequent ones help more.
        near.sort(key=self._column.__getitem__)
        written = [self.words[self._column[term]] for term in near]
        hint = f"near it are {', '.join(written)}" if near else "and none is near it"
        raise UnknownWordError(f"no training text has the word {word!r} ({hint})")

    def get_config(self) -> dict[str, Any]:
        """JSON values from which `from_config` makes it again."""
        return {
            "terms": list(self.terms),
            "idf": [float(weight) for weight in self.idf],
            "units": self.units,
            "term_weight": self.term_weight,
            "words": list(self.words),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TfIdf:
        """The inverse of `get_config`."""
        return cls(**config)


def _units_of(
    texts: Sequence[Sequence[str]], units: str
) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """The units of all texts in turn: owning text [M], place in the names [M], names, words."""
    lengths = [len(sentences) for sentences in texts]
    strings = [sentence for sentences in texts for sentence in sentences]
    owners = np.repeat(np.arange(len(texts)), lengths)
    if not strings:
        return owners, np.zeros([0], np.int64), [], []
    if units == "labels":
        words = tf.constant(strings)
    else:
        ragged = tokenize(tf.constant(strings))
        owners = np.repeat(owners, ragged.row_lengths().numpy())
        words = ragged.flat_values
    unique, codes = tf.unique(words)
    names = [name.decode("utf-8") for name in unique.numpy()]
    if units != "stems":
        return owners, codes.numpy(), names, names
    # Each distinct word is stemmed once.
    place_of: dict[str, int] = {}
    stem_of = [place_of.setdefault(_STEM(name), len(place_of)) for name in names]
    counts, words = np.bincount(codes.numpy(), minlength=len(names)), [""] * len(place_of)
    for number in sorted(range(len(names)), key=lambda n: (counts[n], names[n])):
        words[stem_of[number]] = names[number]  # the most frequent comes last
    return owners, np.array(stem_of, np.int64)[codes.numpy()], list(place_of), words


def _count(
    owners: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> scipy.sparse.csr_matrix:
    """How often each column stands in each row: float32, rows sorted by column."""
    ones = np.ones(len(columns), np.float32)
    counts = scipy.sparse.csr_matrix((ones, (owners, columns)), shape)
    counts.sum_duplicates()
    return counts
