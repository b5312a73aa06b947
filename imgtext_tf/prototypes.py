"""Prototypes of queries: the mean embedding of each query's images, in one streaming pass."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from imgtext_tf import filesystem, untrusted


class Prototypes:
    """Sums and counts of image embeddings by query; queries come and go at any time.

    phi_c = sum of x_i / |S_c| over the images i of query c.

    Only sums and counts are kept, so that the images pass once and in any order.

    Reference: Shah2019, Eq. 2.
    """

    def __init__(self, dim: int, *, normalize: bool = True) -> None:
        """Starts without queries.

        Args:
            dim: D, length of an embedding.
            normalize: bring each embedding to length 1 before it is averaged, so that each image
                counts the same.
        """
        self.dim, self.normalize = dim, normalize
        self._row_of: dict[str, int] = {}
        self._names: list[str] = []  # by row
        self._sums = np.zeros([1024, dim], np.float32)
        self._counts = np.zeros([1024], np.int64)

    def __len__(self) -> int:
        """The number of queries."""
        return len(self._row_of)

    def __contains__(self, query: str) -> bool:
        """Whether a query has an image."""
        return query in self._row_of

    def count(self, query: str) -> int:
        """|S_c|: the images of a query; 0 for an unknown one."""
        return int(self._counts[self._row_of[query]]) if query in self._row_of else 0

    def add(self, embeddings: np.ndarray, queries: Sequence[Iterable[str]]) -> None:
        """Takes in some images.

        Args:
            embeddings: [B, D] float.
            queries: the queries of each image.

        Raises:
            ValueError: if embeddings and queries do not fit, or an embedding is not finite.
        """
        embeddings = np.asarray(embeddings, np.float32)
        if embeddings.shape != (len(queries), self.dim):
            raise ValueError(
                f"embeddings {embeddings.shape} of {len(queries)} images: give [B, {self.dim}]"
            )
        if not np.isfinite(embeddings).all():
            raise ValueError("an embedding is not finite")
        if self.normalize:
            norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
            embeddings = embeddings / np.where(norms > 0, norms, 1)
        pairs = [(self._row(q), image) for image, own in enumerate(queries) for q in own]
        if pairs:
            rows, images = np.array(pairs).T
            np.add.at(self._sums, rows, embeddings[images])
            np.add.at(self._counts, rows, 1)

    def merge(self, other: Prototypes) -> None:
        """Takes in all images of another pass; sums round as the passes are merged, so keep order.

        Raises:
            ValueError: if the other has vectors of another length, or other normalisation.
        """
        if (other.dim, other.normalize) != (self.dim, self.normalize):
            raise ValueError(
                f"prototypes of length {other.dim}, normalize={other.normalize}: these have length "
                f"{self.dim}, normalize={self.normalize}"
            )
        rows = [self._row(query) for query in other._row_of]
        places = list(other._row_of.values())
        self._sums[rows] += other._sums[places]
        self._counts[rows] += other._counts[places]

    def remove(self, query: str) -> None:
        """Forgets a query.

        Raises:
            KeyError: if it is unknown.
        """
        row, moved, last = self._row_of.pop(query), self._names.pop(), len(self._names)
        if row != last:  # The last row fills the gap.
            self._names[row], self._row_of[moved] = moved, row
            self._sums[row], self._counts[row] = self._sums[last], self._counts[last]
        self._sums[last], self._counts[last] = 0, 0

    def vectors(self, *, min_count: int = 1) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The prototypes of the queries with so many images or more, most images first.

        Returns:
            Queries, prototypes [N, D] float32, and their numbers of images [N] int64.
        """
        counts = self._counts
        chosen = sorted(
            (query for query, row in self._row_of.items() if counts[row] >= min_count),
            key=lambda query: (-counts[self._row_of[query]], query),
        )
        rows = np.array([self._row_of[query] for query in chosen], np.int64)
        return chosen, self._sums[rows] / np.maximum(counts[rows, None], 1), counts[rows]

    def save(self, path: str | os.PathLike) -> None:
        """Writes sums and counts into one file, which `load` and later passes go on with."""
        queries = list(self._row_of)
        rows = np.array([self._row_of[query] for query in queries], np.int64)
        blob = np.frombuffer("\n".join(queries).encode("utf-8"), np.uint8)
        if filesystem.is_remote(path):
            with filesystem.staged(path) as local:
                self.save(local)
            return
        path = pathlib.Path(path)
        # Always the same name, so that the next call replaces what a killed one left.
        temporary = path.with_name(f".tmp-{path.name}")
        try:
            with open(temporary, "wb") as file:
                np.savez(
                    file, queries=blob, sums=self._sums[rows], counts=self._counts[rows],
                    normalize=self.normalize,
                )  # fmt: skip
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Prototypes:
        """Reads a file of `save`.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: naming the file, if it is damaged.
        """
        arrays = untrusted.load_npz(path)
        try:
            prototypes = cls(arrays["sums"].shape[1], normalize=bool(arrays["normalize"]))
            prototypes._sums, prototypes._counts = arrays["sums"], arrays["counts"]
            text = arrays["queries"].tobytes().decode("utf-8")
            names = text.split("\n") if text else []
            if not len(set(names)) == len(names) == len(arrays["sums"]) == len(arrays["counts"]):
                raise ValueError(f"{len(names)} queries for sums {arrays['sums'].shape}")
            if not np.isfinite(arrays["sums"]).all():
                raise ValueError("a sum is not finite")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: no prototypes of ours ({error})") from error
        prototypes._row_of = {name: row for row, name in enumerate(names)}
        prototypes._names = names
        return prototypes

    def _row(self, query: str) -> int:
        if query not in self._row_of:
            row = self._row_of[query] = len(self._names)
            self._names.append(query)
            if row >= len(self._counts):
                grow = max(1024, len(self._counts))
                self._sums = np.concatenate([self._sums, np.zeros([grow, self.dim], np.float32)])
                self._counts = np.concatenate([self._counts, np.zeros([grow], np.int64)])
        return self._row_of[query]
