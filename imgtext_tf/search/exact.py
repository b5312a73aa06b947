"""Exact search in TensorFlow: products with the whole table, a slice of rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf.search.base import Index

# A variable of more than 2**31 elements breaks some operations: rows go into several.
_SLICE_ELEMENTS = 2**28
_SCORES_AT_ONCE = 2**26


class ExactIndex(Index):
    """Compares with every vector; exact, and fast enough to about a million.

    Reference: Shah2019, Eq. 3.
    """

    backend, exact = "exact", True

    def __init__(self, ids, vectors, **options):
        """See `Index`; the table is copied into TensorFlow when it is first searched."""
        super().__init__(ids, vectors, **options)
        self._module: ExactModule | None = None

    def _search(self, queries, k):
        slice_rows = max(1, _SLICE_ELEMENTS // self.dim)
        batch = max(1, _SCORES_AT_ONCE // min(len(self), slice_rows))
        if isinstance(self.vectors, np.memmap):
            search = self._streamed
        else:
            self._module = self._module or ExactModule(self.vectors)
            search = self._module.nearest
        places, scores = [], []
        for start in range(0, len(queries), batch):
            found = search(tf.constant(queries[start : start + batch]), tf.constant(k))
            places.append(found["places"].numpy())
            scores.append(found["scores"].numpy())
        return np.concatenate(places), np.concatenate(scores)

    def _streamed(self, queries: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """The search without the table in memory: slices of the file, one after the other."""
        rows = max(1, 2**24 // self.dim)
        parts = (
            (start, tf.convert_to_tensor(self.vectors[start : start + rows]))
            for start in range(0, len(self), rows)
        )
        return _best(queries, k, parts)

    def as_module(self, **_: Any) -> ExactModule:
        """The search as a `tf.Module` that a SavedModel can hold."""
        return ExactModule(self.vectors)


class ExactModule(tf.Module):
    """`search`(queries [Q, D] float32, k [] int32) -> `places` [Q, k] int64, `scores` [Q, k].

    k may exceed the number of entries: then all come back. The queries need no normalisation.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        """Copies the table into variables.

        Args:
            vectors: [N, D] float32 of length 1.
        """
        super().__init__(name="exact_search")
        dim, rows = vectors.shape[1], max(1, _SLICE_ELEMENTS // vectors.shape[1])
        self.tables = [
            tf.Variable(vectors[start : start + rows], trainable=False, name="vectors")
            for start in range(0, len(vectors), rows)
        ]
        self.search = tf.function(
            self.nearest,
            input_signature=[tf.TensorSpec([None, dim]), tf.TensorSpec([], tf.int32)],
        )

    def nearest(self, queries: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """What `search` gives, operation by operation: no graph is built first."""
        starts = np.cumsum([0, *(int(table.shape[0]) for table in self.tables)])
        return _best(tf.math.l2_normalize(queries, -1), k, zip(starts, self.tables, strict=False))


def _best(queries: tf.Tensor, k: tf.Tensor, parts) -> dict[str, tf.Tensor]:
    """The k largest products over (first row, [n, D] table) parts."""
    places = tf.zeros([tf.shape(queries)[0], 0], tf.int64)
    scores = tf.zeros([tf.shape(queries)[0], 0])
    for start, table in parts:
        product = tf.matmul(queries, table, transpose_b=True)
        values, rows = tf.math.top_k(product, tf.minimum(k, tf.shape(product)[1]))
        scores = tf.concat([scores, values], 1)
        places = tf.concat([places, tf.cast(rows, tf.int64) + int(start)], 1)
        scores, order = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
        places = tf.gather(places, order, batch_dims=1)
    return {"places": places, "scores": scores}
