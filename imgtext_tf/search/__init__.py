"""Nearest neighbours by cosine: exact and approximate back ends behind one interface.

    index = search.build("ivf", phrases, vectors)
    found = index.search(embeddings, 3, exclude={"dog"})     # ids, scores, places
    index.recall(sample)                                     # on your own queries
    index.save(folder);  search.load(folder, mmap=True)

`exact` and `ivf` are TensorFlow and go into a SavedModel (`as_module`); `faiss` and `scann` are
extras of the package.

Reference: Shah2019, Eq. 3.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from imgtext_tf.search.base import Index, Neighbours, SearchError, load_index, read_description
from imgtext_tf.search.exact import ExactIndex, ExactModule
from imgtext_tf.search.ivf import IvfIndex, IvfModule
from imgtext_tf.search.libraries import FaissIndex, ScannIndex

__all__ = [
    "BACKENDS",
    "ExactIndex",
    "ExactModule",
    "Index",
    "IvfIndex",
    "IvfModule",
    "Neighbours",
    "SearchError",
    "available",
    "build",
    "load",
]

BACKENDS: dict[str, type[Index]] = {
    kind.backend: kind for kind in (ExactIndex, IvfIndex, FaissIndex, ScannIndex)
}


def build(backend: str, ids: Sequence[str], vectors: np.ndarray, **options: Any) -> Index:
    """Indexes named vectors.

    Args:
        backend: a key of `BACKENDS`.
        ids: distinct names.
        vectors: [N, D] float of any length.
        **options: of the back end, see its class.

    Raises:
        SearchError: if the back end is unknown or not installed, or ids and vectors do not fit.
    """
    return _kind(backend).build(ids, vectors, **options)


def load(directory: str | os.PathLike, *, mmap: bool = False) -> Index:
    """Reads an index that `Index.save` wrote.

    Args:
        directory: of the index.
        mmap: leave the vectors in their file and read what a search needs, where the back end can.

    Raises:
        SearchError: naming the folder, if it has no whole index, or its back end is not here.
    """
    backend = read_description(directory)["backend"]
    try:
        return load_index(_kind(backend), directory, mmap=mmap)
    except SearchError as error:
        named = os.fspath(directory) in str(error)
        raise error if named else SearchError(f"{directory}: {error}") from None


def available(backend: str) -> bool:
    """Whether a back end can be used here."""
    try:
        _kind(backend)(["a"], np.ones([1, 1], np.float32))
    except SearchError:
        return False
    return True


def _kind(backend: str) -> type[Index]:
    if backend not in BACKENDS:
        raise SearchError(f"unknown search {backend!r}: use one of {', '.join(BACKENDS)}")
    return BACKENDS[backend]
