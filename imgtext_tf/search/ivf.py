"""Approximate search in TensorFlow: an inverted file over spherical k-means cells."""

from __future__ import annotations

import math
import operator

import numpy as np
import tensorflow as tf

from imgtext_tf import untrusted
from imgtext_tf.search.base import Index, SearchError, normalized

_ITERATIONS = 12
_PER_CELL = 128  # vectors a cell that k-means looks at
_CANDIDATES_AT_ONCE = 2**19


class IvfIndex(Index):
    """Compares with the vectors of the `probes` cells whose centres are nearest.

    The vectors are quantised to cells, as in the searches that the paper cites; unlike those it
    needs TensorFlow only, so that it fits into a SavedModel.

    Options: `cells` (default: the root of the number of entries), `probes` (default: a sixteenth
    of the cells, 8 or more), `seed` (of k-means, default 0).

    Reference: Shah2019, Eq. 3.
    """

    backend = "ivf"

    def __init__(self, ids, vectors, *, cells=None, probes=None, seed=0):
        """See the class and `Index`."""
        cells = operator.index(cells or max(1, round(math.sqrt(len(ids)))))
        probes = operator.index(probes or min(cells, max(8, cells // 16)))
        if not 1 <= probes <= cells <= len(ids):
            raise SearchError(f"probes {probes}, cells {cells}, entries {len(ids)}: each may be "
                              "at most the next")  # fmt: skip
        super().__init__(ids, vectors, cells=cells, probes=probes, seed=seed)
        self.centres: np.ndarray | None = None
        self.cell_of: np.ndarray | None = None
        self._module: IvfModule | None = None

    def _train(self):
        rng = np.random.default_rng(self.options["seed"])
        cells = self.options["cells"]
        sample = rng.permutation(len(self))[: cells * _PER_CELL]
        self.centres = spherical_kmeans(self.vectors[np.sort(sample)], cells, rng)
        self.cell_of = _nearest(self.vectors, self.centres)

    def as_module(self, probes: int | None = None) -> IvfModule:
        """The search as a `tf.Module` that a SavedModel can hold."""
        return IvfModule(self.vectors, self.centres, self.cell_of, probes or self.options["probes"])

    def _search(self, queries, k):
        self._module = self._module or self.as_module()
        per_query = max(1, len(self) * self.options["probes"] // self.options["cells"])
        batch = max(1, _CANDIDATES_AT_ONCE // per_query)
        places = np.full([len(queries), k], -1, np.int64)
        scores = np.full([len(queries), k], -np.inf, np.float32)
        for start in range(0, len(queries), batch):
            found = self._module.nearest(
                tf.constant(queries[start : start + batch]), tf.constant(k)
            )
            width = found["places"].shape[1]
            places[start : start + batch, :width] = found["places"].numpy()
            scores[start : start + batch, :width] = found["scores"].numpy()
        return places, scores

    def _save(self, folder):
        np.savez(folder / "cells.npz", centres=self.centres, cell_of=self.cell_of)

    def _load(self, folder, mmap):
        arrays = untrusted.load_npz(folder / "cells.npz")
        self.centres, self.cell_of = arrays["centres"], arrays["cell_of"]
        cells = self.options["cells"]
        if (
            self.centres.shape != (cells, self.dim)
            or self.centres.dtype != np.float32
            or not np.isfinite(self.centres).all()
            or self.cell_of.shape != (len(self),)
            or self.cell_of.dtype.kind != "i"
            or self.cell_of.min() < 0
            or self.cell_of.max() >= cells
        ):
            raise ValueError(f"cells.npz has not {cells} cells of {len(self)} entries")


class IvfModule(tf.Module):
    """`search`(queries [Q, D] float32, k [] int32) -> `places` [Q, k'] int64, `scores` [Q, k'].

    k' is k, or fewer where all probed cells of the batch hold less; -1 and -inf fill up.
    """

    def __init__(
        self, vectors: np.ndarray, centres: np.ndarray, cell_of: np.ndarray, probes: int
    ) -> None:
        """Sorts the vectors by cell.

        Args:
            vectors: [N, D] float32 of length 1.
            centres: [cells, D] float32.
            cell_of: [N] int, each vector's cell.
            probes: cells to look at.
        """
        super().__init__(name="ivf_search")
        order = np.argsort(cell_of, kind="stable")
        ends = np.cumsum(np.bincount(cell_of, minlength=len(centres)))
        self.probes = probes
        self.centres = tf.Variable(centres, trainable=False)
        self.vectors = tf.Variable(vectors[order], trainable=False)
        self.places = tf.Variable(order.astype(np.int64), trainable=False)
        self.bounds = tf.Variable(np.append(0, ends).astype(np.int64), trainable=False)
        self.search = tf.function(
            self.nearest,
            input_signature=[
                tf.TensorSpec([None, vectors.shape[1]]),
                tf.TensorSpec([], tf.int32),
            ],
        )

    def nearest(self, queries: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """What `search` gives, operation by operation: no graph is built first."""
        queries = tf.math.l2_normalize(queries, -1)
        near = tf.math.top_k(tf.matmul(queries, self.centres, transpose_b=True), self.probes)[1]
        starts, ends = tf.gather(self.bounds, near), tf.gather(self.bounds, near + 1)
        ranges = tf.ragged.range(tf.reshape(starts, [-1]), tf.reshape(ends, [-1]))
        lengths = tf.reduce_sum(ends - starts, 1)  # of each query's candidates
        candidates = tf.RaggedTensor.from_row_lengths(ranges.flat_values, lengths)
        rows = tf.gather(self.vectors, candidates.flat_values)
        own = tf.gather(queries, candidates.value_rowids())
        products = candidates.with_flat_values(tf.einsum("nd,nd->n", rows, own))
        scores = products.to_tensor(-np.inf)
        scores, best = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
        places = tf.gather(self.places, candidates.flat_values)
        places = candidates.with_flat_values(places).to_tensor(-1)
        return {"places": tf.gather(places, best, batch_dims=1), "scores": scores}


def spherical_kmeans(vectors: np.ndarray, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Centres of length 1 that vectors of length 1 lie near: [N, D] -> [cells, D] float32.

    An empty cell gets the vector that is farthest from its centre.
    """
    centres = np.array(vectors[rng.permutation(len(vectors))[:cells]], np.float32)
    for _ in range(_ITERATIONS):
        nearest = _nearest(vectors, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, vectors)
        empty = np.flatnonzero(np.bincount(nearest, minlength=cells) == 0)
        if len(empty):
            distance = np.einsum("nd,nd->n", vectors, centres[nearest])
            sums[empty] = vectors[np.argsort(distance, kind="stable")[: len(empty)]]
        centres = normalized(sums)
    return centres


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The centre of largest product of each vector: [N] int64."""
    batch = max(1, 2**24 // len(centres))
    found = [
        tf.argmax(tf.matmul(vectors[start : start + batch], centres, transpose_b=True), 1).numpy()
        for start in range(0, len(vectors), batch)
    ]
    return np.concatenate(found)
