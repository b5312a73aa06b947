"""What proxies of semantic similarity need beside a data set: word vectors, generated captions."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping

import numpy as np
from gensim.models import KeyedVectors

from imgtext_tf import untrusted
from imgtext_tf.data import fasttext, vector_files


def load_vectors(path: str) -> Mapping[str, np.ndarray]:
    """Word vectors: a text file, fastText's `.bin`, or word2vec's (such as GoogleNews').

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none of these.
    """
    if path.endswith((".bin", ".bin.gz")):
        try:
            with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
                first = int.from_bytes(file.read(4), "little")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: is no gzip file, or damaged ({error})") from None
        if first != vector_files.FASTTEXT_MAGIC:
            return _word2vec(path)
    loaded = fasttext.load_vectors(path)
    return {word: loaded.vector(word) for word in loaded.words}


def _word2vec(path: str) -> KeyedVectors:
    try:
        vector_files.check_word2vec(path)
        vectors = KeyedVectors.load_word2vec_format(path, binary=True)
        if not np.isfinite(vectors.vectors).all():
            raise ValueError("a vector is not finite")
        return vectors
    except Exception as error:  # gensim raises whatever it trips over
        raise ValueError(f"{path}: no vectors of word2vec, or damaged ({error!r:.200})") from error


def read_captions(path: str) -> dict[str, list[str]]:
    """Reads captions from JSON: {id: caption or captions}, or a list of {"image_id", "caption"}.

    Raises:
        ValueError: if it is neither.
    """
    try:
        data = untrusted.parse_json(untrusted.read_bytes(path, most=None))
        if isinstance(data, dict):
            data = [{"image_id": key, "caption": value} for key, value in data.items()]
        captions: dict[str, list[str]] = {}
        for record in data:
            value = record["caption"] if "caption" in record else record["captions"]
            texts = [value] if isinstance(value, str) else [str(text) for text in value]
            captions.setdefault(str(record["image_id"]), []).extend(texts)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: {error!r}; expected {{id: captions}} or a list of image_id and caption"
        ) from error
    return captions
