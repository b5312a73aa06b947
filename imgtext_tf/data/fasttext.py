"""fastText word vectors: loading and training through gensim, unknown words by their n-grams.

Facebook's `.bin` files hold a vector for each character n-gram (hashed into buckets), whose mean is
the vector of any word outside of the vocabulary. `.vec` files hold words only. `ngram_ids` (in
`ngrams.py`, which needs no gensim) finds an unknown word's buckets in the TensorFlow graph.

Reference: Otto2020, Section 4.2.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gensim.models import FastText, KeyedVectors
from gensim.models import fasttext as gensim_fasttext

from imgtext_tf import filesystem
from imgtext_tf.data import vector_files
from imgtext_tf.data.files import atomic, disk_errors
from imgtext_tf.data.ngrams import ngram_ids as ngram_ids
from imgtext_tf.data.text import UNKNOWN, Vocabulary

if TYPE_CHECKING:
    from gensim.models.fasttext import FastTextKeyedVectors

logger = logging.getLogger(__name__)

_TEXT_SUFFIXES = (".vec", ".txt", ".vec.gz", ".txt.gz")
# The start of the unknown word's vector: near the mean, and shorter than any word's.
_UNKNOWN_SCALE = 0.1
# What gensim's parsers trip over in a damaged file; it checks little itself.
_DAMAGED = (
    ValueError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    ArithmeticError,
    NotImplementedError,
    OSError,
    TypeError,
    struct.error,
    zlib.error,
)


class WordVectors:
    """Vectors of words, and of any word where the file has n-grams.

    Attributes:
        words: the words in the order of the file (frequent ones first).
    """

    def __init__(self, vectors: KeyedVectors, *, limit: int | None = None) -> None:
        """Wraps gensim's vectors.

        Args:
            vectors: gensim's vectors, `FastTextKeyedVectors` where there are n-grams.
            limit: only the first `limit` words count as known.
        """
        self._vectors = vectors
        # gensim keeps the first of words that stand twice, and leaves a hole for each other one.
        words = (word for word in vectors.index_to_key[:limit] if word in vectors.key_to_index)
        self.words: tuple[str, ...] = tuple(words)
        self._known = frozenset(self.words)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self._vectors.vector_size)

    @property
    def has_ngrams(self) -> bool:
        """Whether words outside of `words` have vectors."""
        settings = (getattr(self._vectors, name, 0) for name in ("bucket", "max_n"))
        return all(value > 0 for value in settings)

    def __contains__(self, word: str) -> bool:
        """Whether the word itself is in the file."""
        return word in self._known

    def vector(self, word: str) -> np.ndarray:
        """The vector of a word, by its n-grams if it is not in the file.

        Returns:
            [dim] float32.

        Raises:
            KeyError: if the word is not in the file and the file has no n-grams.
        """
        if word in self._known:
            return np.asarray(self._vectors.get_vector(word), np.float32)
        if not self.has_ngrams:
            raise KeyError(
                f"{word!r} is not among the {len(self.words)} words, and a file without n-grams "
                "(.vec) has no vector for others; use the .bin file"
            )
        settings = self.ngram_settings()
        hashes = gensim_fasttext.ft_ngram_hashes(
            word, settings["min_n"], settings["max_n"], settings["buckets"]
        )
        if not hashes:
            return np.zeros(self.dim, np.float32)
        return self._vectors.vectors_ngrams[hashes].mean(axis=0, dtype=np.float32)

    def matrix(self, vocabulary: Vocabulary) -> tuple[np.ndarray, int]:
        """The embedding matrix of a vocabulary.

        Row 0 (padding) is zero. Row 1 (unknown) is the start of a trained vector: the mean of the
        words' vectors, scaled by 0.1. Words that are not in the file get the vector of their
        n-grams, or, without n-grams, row 1; the latter are counted.

        Returns:
            ([len(vocabulary), dim] float32, number of words without a vector).
        """
        matrix = np.zeros((len(vocabulary), self.dim), np.float32)
        missing = []
        for row, word in enumerate(vocabulary.words, start=UNKNOWN + 1):
            if word in self._known or self.has_ngrams:
                matrix[row] = self.vector(word)
            else:
                missing.append(row)
        found = len(vocabulary.words) - len(missing)
        matrix[UNKNOWN] = _UNKNOWN_SCALE * matrix.sum(axis=0, dtype=np.float64) / max(found, 1)
        matrix[missing] = matrix[UNKNOWN]
        if missing:
            logger.info("%d of %d words have no vector", len(missing), len(vocabulary.words))
        return matrix, len(missing)

    def ngram_matrix(self) -> np.ndarray:
        """The vectors of the n-gram buckets, for the ids of `ngram_ids`.

        Returns:
            [1 + buckets, dim] float32; row 0 is zero.

        Raises:
            ValueError: if the file has no n-grams.
        """
        buckets = self.ngram_settings()["buckets"]
        matrix = np.zeros((1 + buckets, self.dim), np.float32)
        matrix[1:] = self._vectors.vectors_ngrams
        return matrix

    def ngram_settings(self) -> dict[str, int]:
        """The keyword arguments `min_n`, `max_n` (characters) and `buckets` of `ngram_ids`.

        Raises:
            ValueError: if the file has no n-grams.
        """
        if not self.has_ngrams:
            raise ValueError(
                "these vectors have no n-grams (a .vec file has none): use a .bin file"
            )
        vectors: FastTextKeyedVectors = self._vectors
        return {
            "min_n": int(vectors.min_n),
            "max_n": int(vectors.max_n),
            "buckets": int(vectors.bucket),
        }


def load_vectors(path: str | os.PathLike, *, limit: int | None = None) -> WordVectors:
    """Loads word vectors through gensim.

    Args:
        path: a `.bin` file of Facebook's fastText, or a `.vec`, `.vec.gz`, `.txt` or `.txt.gz` file
            with one word and its numbers a line (a first line "words dim" may be missing, as in
            GloVe).
        limit: keep the first `limit` words only. A text file is then not read further; of a `.bin`
            file the n-grams stay.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming the file, if it is truncated, a line has another number of values than
            the others, or the format is unknown.
    """
    path = Path(filesystem.local_copy(path))
    if not path.is_file():
        raise FileNotFoundError(f"no word vectors at {path}")
    name = path.name.lower()
    if not name.endswith((".bin", *_TEXT_SUFFIXES)):
        raise ValueError(f"{path}: unknown format; use {', '.join(('.bin', *_TEXT_SUFFIXES))}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, must be at least 1")
    try:
        if name.endswith(".bin"):
            vector_files.check_binary(path)
            found = gensim_fasttext.load_facebook_vectors(str(path))
            parts = [found.vectors_vocab, found.vectors_ngrams]
        else:
            found = _load_text(path, limit)
            parts = [found.vectors]
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError("a number is not finite")
        return WordVectors(found, limit=limit)
    except _DAMAGED as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged or truncated ({reason}): get it again") from error


def _load_text(path: Path, limit: int | None) -> KeyedVectors:
    with vector_files.open_text(path) as file:
        fields = vector_files.read_line(file).split()
    has_header = len(fields) == 2 and all(field.isdigit() for field in fields)
    dim = int(fields[1]) if has_header else len(fields) - 1
    if dim < 1:
        raise ValueError("its first line has no numbers")
    vector_files.check_size(path, int(fields[0]) if has_header else None, limit)
    try:
        vectors = KeyedVectors.load_word2vec_format(
            str(path),
            limit=limit,
            no_header=not has_header,
            # Facebook's own files hold a few words cut in the middle of a character.
            unicode_errors="replace",
        )
    except ValueError:
        vector_files.check_widths(path, dim, has_header)
        raise
    # gensim spreads a line of one number over all places.
    if dim > 1 and (np.ptp(vectors.vectors, axis=1) == 0).any():
        vector_files.check_widths(path, dim, has_header)
    return vectors


def train_vectors(
    sentences: Sequence[Sequence[str]],
    path: str | os.PathLike,
    *,
    dim: int = 300,
    seed: int = 0,
    epochs: int = 5,
    min_count: int = 1,
    window: int = 5,
    min_n: int = 3,
    max_n: int = 6,
    buckets: int = 50_000,
) -> WordVectors:
    """Trains skip-gram fastText vectors with gensim and saves them as a Facebook `.bin` file.

    One thread, so that the same sentences and seed give the same file.

    Args:
        sentences: the words of each sentence, of the train split only; read several times.
        path: the `.bin` file to write, atomically.
        dim: length of a vector.
        seed: seed of the initial vectors and of sampling.
        epochs: passes over the sentences.
        min_count: rarer words get no vector of their own.
        window: words of context at each side.
        min_n: characters of the shortest n-gram, the marks `<` and `>` at the word's ends included.
        max_n: characters of the longest n-gram.
        buckets: number of n-gram vectors (Facebook's files have 2,000,000: 2.4 GB at 300).

    Returns:
        The vectors, as read back from the file.

    Raises:
        ValueError: if the path does not end in `.bin` or there is no word to train on.
    """
    path = Path(path)
    if path.suffix != ".bin":
        raise ValueError(f"{path}: trained vectors are saved as a .bin file")
    if not any(len(sentence) for sentence in sentences):
        raise ValueError("no words to train vectors on: the sentences are empty")
    model = FastText(
        sentences=sentences,
        vector_size=dim,
        sg=1,
        window=window,
        min_count=min_count,
        epochs=epochs,
        min_n=min_n,
        max_n=max_n,
        bucket=buckets,
        seed=seed,
        workers=1,
    )
    with atomic(os.fspath(path)) as temporary, disk_errors(os.fspath(path)):
        gensim_fasttext.save_facebook_model(model, temporary)
    return load_vectors(path)
