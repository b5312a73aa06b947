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
_FOUND_AT_ONCE = 2**22  # of all queries and cells together


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
        batch = max(1, _FOUND_AT_ONCE // (self.options["probes"] * k))
        places, scores = [], []
        for start in range(0, len(queries), batch):
            found = self._module.search(tf.constant(queries[start : start + batch]), tf.constant(k))
            places.append(found["places"].numpy())
            scores.append(found["scores"].numpy())
        return np.concatenate(places), np.concatenate(scores)

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
    """`search`(queries [Q, D] float32, k [] int32) -> `places` [Q, k] int64, `scores` [Q, k].

    Where the probed cells hold fewer than k, -1 and -inf fill up.

    The vectors lie cell by cell. To gather the cells of each query for itself would take longer
    than to compare with everything.
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
        """What `search` gives: each probed cell meets all queries that probe it in one product."""
        queries = tf.math.l2_normalize(queries, -1)
        near = tf.math.top_k(tf.matmul(queries, self.centres, transpose_b=True), self.probes)[1]
        near = tf.reshape(near, [-1])  # [Q * probes]
        visits = tf.argsort(near, stable=True)  # by cell
        cells, _, counts = tf.unique_with_counts(tf.gather(near, visits))
        ends = tf.cumsum(counts)
        shape = {"size": tf.size(cells), "infer_shape": False, "element_shape": [None, None]}
        scores, places = tf.TensorArray(tf.float32, **shape), tf.TensorArray(tf.int64, **shape)
        for number in tf.range(tf.size(cells)):
            cell, end = cells[number], ends[number]
            first, last = self.bounds[cell], self.bounds[cell + 1]
            of_cell = visits[end - counts[number] : end] // self.probes
            found = tf.matmul(tf.gather(queries, of_cell), self.vectors[first:last], False, True)
            found, best = tf.math.top_k(found, tf.minimum(k, tf.shape(found)[1]))
            missing = [[0, 0], [0, k - tf.shape(found)[1]]]
            best = tf.gather(self.places[first:last], best)
            scores = scores.write(number, tf.pad(found, missing, constant_values=-np.inf))
            places = places.write(number, tf.pad(best, missing, constant_values=-1))
        back = tf.math.invert_permutation(visits)
        width = self.probes * k
        by_query = [
            tf.reshape(tf.gather(found.concat(), back), [-1, width]) for found in (scores, places)
        ]
        best_scores, best = tf.math.top_k(by_query[0], k)
        return {"places": tf.gather(by_query[1], best, batch_dims=1), "scores": best_scores}


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
