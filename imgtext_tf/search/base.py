"""What every search back end has in common: ids, cosine, exclusions, saving, recall."""

from __future__ import annotations

import abc
import functools
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from imgtext_tf import filesystem, untrusted

_META, _IDS, _VECTORS = "index.json", "ids.txt", "vectors.npy"
_FEW = 1 << 14  # rows normalised at a time


class SearchError(untrusted.ShortError, ValueError):
    """An index, or what it is asked for, that cannot be; the message says what to mend."""


class Neighbours(NamedTuple):
    """The best entries for each query, best first.

    Attributes:
        ids: [Q, k] str; "" where there are fewer than k entries.
        scores: [Q, k] float32 cosine; -inf there.
        places: [Q, k] int64, rows of the indexed vectors; -1 there.
    """

    ids: np.ndarray
    scores: np.ndarray
    places: np.ndarray


class Index(abc.ABC):
    """Nearest neighbours by cosine among named vectors.

    Attributes:
        ids: the entries' names, in the order of the vectors; distinct.
        vectors: [N, D] float32 of length 1 (a vector of zeros stays one); maybe memory-mapped.
    """

    backend: ClassVar[str]
    exact: ClassVar[bool] = False

    def __init__(self, ids: Sequence[str], vectors: np.ndarray, **options: Any) -> None:
        """Takes vectors that `build` normalised, or that `load` found.

        Args:
            ids: names of the entries.
            vectors: [N, D] float32 of length 1.
            **options: of the back end, JSON values; they are saved with the index.
        """
        self.ids = list(ids)
        self.vectors = vectors
        self.options = options

    @classmethod
    def build(cls, ids: Sequence[str], vectors: np.ndarray, **options: Any) -> Index:
        """Indexes vectors of any length; the norm does not matter to a cosine.

        Args:
            ids: distinct names.
            vectors: [N, D] float, finite, N at least 1.
            **options: of the back end.

        Raises:
            SearchError: if ids and vectors do not fit, or a vector is not finite.
        """
        if np.ndim(vectors) != 2 or not len(vectors) or len(vectors) != len(ids):
            raise SearchError(f"{len(ids)} ids and vectors {np.shape(vectors)}: give one id a row")
        if len(set(ids)) != len(ids):
            seen: set[str] = set()
            twice = next(name for name in ids if name in seen or seen.add(name))
            raise SearchError(f"the id {twice!r} occurs twice: make ids unique")
        if any("\n" in name or "\r" in name or not name for name in ids):
            raise SearchError("an id is empty or holds a line break")
        index = cls(ids, normalized(vectors, ids), **options)
        index._train()
        return index

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    def __len__(self) -> int:
        """The number of entries."""
        return len(self.ids)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        exclude: Collection[str] | Sequence[Collection[str]] = (),
    ) -> Neighbours:
        """The k entries of largest cosine for each query; of equals, those indexed first.

        Args:
            queries: [Q, D] float.
            k: entries a query.
            exclude: ids that must not come back: a set of them for all queries, or a sequence of
                one set a query. Unknown ids are ignored.

        Raises:
            SearchError: if the queries have another shape, or k is below 1.
        """
        queries = np.asarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise SearchError(
                f"queries have shape {queries.shape}, the index wants [Q, {self.dim}]"
            )
        if k < 1:
            raise SearchError(f"k is {k}: ask for at least one neighbour")
        banned = self._banned(exclude, len(queries))
        more = max(map(len, banned), default=0)
        asked = min(k + more, len(self))
        places, scores = self._search(normalized(queries), asked) if len(queries) else _none(asked)
        scores = np.where(places < 0, -np.inf, scores).astype(np.float32)
        if more:
            for row, names in enumerate(banned):
                scores[row, np.isin(places[row], list(names))] = -np.inf
        # Of equal scores the first place comes first, whatever the back end does.
        order = np.lexsort((places, -scores), axis=1)[:, :k]
        places, scores = (np.take_along_axis(array, order, 1) for array in (places, scores))
        missing = k - places.shape[1]
        places = np.pad(places, [(0, 0), (0, max(missing, 0))], constant_values=-1)
        scores = np.pad(scores, [(0, 0), (0, max(missing, 0))], constant_values=-np.inf)
        places = np.where(np.isneginf(scores), -1, places).astype(np.int64)
        return Neighbours(self._names[places], scores, places)

    def recall(self, sample: np.ndarray, k: int = 10) -> float:
        """The share of the true k nearest of some queries that this index finds: [Q, D] -> [0, 1].

        Measure it on your own queries: it depends on the data far more than on the method.
        """
        from imgtext_tf.search.exact import ExactIndex  # It is an Index itself.

        truth = ExactIndex(self.ids, self.vectors).search(sample, k).places
        found = self.search(sample, k).places
        hits = [len(set(a[a >= 0]) & set(b)) for a, b in zip(truth, found, strict=True)]
        return float(np.sum(hits) / max(1, np.sum(truth >= 0)))

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the index into a folder, the description last: without it there is no index.

        The folder may be the one that this index is memory-mapped from: its files are replaced,
        never written over, and only once all of the new ones are there.

        Raises:
            SearchError: if the disk is full or broken; an index that was there is as it was.
        """
        filesystem.must_be_local(directory, "an index is mapped into memory; copy the folder")
        folder = pathlib.Path(directory)
        try:
            self._save_all(folder)
        except OSError as error:
            raise SearchError(
                f"{folder}: the index cannot be written ({error}): free space or mend the folder, "
                "then save it again"
            ) from error

    def _save_all(self, folder: pathlib.Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".saving-*"):  # of a killed process
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as staging:
            made = pathlib.Path(staging)
            (made / _IDS).write_text("".join(f"{name}\n" for name in self.ids), encoding="utf-8")
            np.save(made / _VECTORS, self.vectors)
            self._save(made)
            meta = {"backend": self.backend, "options": self.options, "size": len(self)}
            meta["sha256"] = {name: filesystem.sha256_of(made / name) for name in _files_of(made)}
            (made / _META).write_text(json.dumps(meta, indent=1), encoding="utf-8")
            (folder / _META).unlink(missing_ok=True)
            for path in sorted(made.iterdir(), key=lambda path: path.name == _META):
                target = folder / path.name
                if target.is_dir():  # A folder cannot be replaced at once.
                    shutil.rmtree(target)
                os.replace(path, target)

    @functools.cached_property
    def _names(self) -> np.ndarray:
        """[N + 1] str: the ids, and "" at place -1."""
        return np.array([*self.ids, ""], object)

    @functools.cached_property
    def _place_of(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.ids)}

    def _banned(self, exclude, count: int) -> list[set[int]]:
        """The places of the excluded ids of each query."""
        if not len(exclude):
            return [set()] * count
        if isinstance(exclude, str):
            raise SearchError(f"exclude is the text {exclude!r}: give a set of ids")
        if all(isinstance(name, str) for name in exclude):
            exclude = [exclude] * count
        if len(exclude) != count:
            raise SearchError(f"exclude has {len(exclude)} sets for {count} queries: give one each")
        place_of = self._place_of
        return [{place_of[name] for name in names if name in place_of} for names in exclude]

    def _train(self) -> None:  # noqa: B027 - most back ends have something to prepare, not all
        """Prepares a new index for searching."""

    @abc.abstractmethod
    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """[Q, D] of length 1 -> (places [Q, k], -1 for none; cosines [Q, k])."""

    def _save(self, folder: pathlib.Path) -> None:  # noqa: B027
        """Writes what the back end keeps beside ids and vectors."""

    def _load(self, folder: pathlib.Path, mmap: bool) -> None:  # noqa: B027
        """Reads what `_save` wrote."""


def load_index(kind: type[Index], directory: str | os.PathLike, *, mmap: bool = False) -> Index:
    """Reads an index that `save` wrote as one of this class."""
    folder = pathlib.Path(directory)
    meta = read_description(folder)
    try:
        # A flipped bit is a wrong answer, or a crash of another library. Maps stay unread.
        right = {} if mmap else meta.get("sha256", {})
        for name in _files_of(folder):
            if name in right and right[name] != filesystem.sha256_of(folder / name):
                raise ValueError(f"{name} is damaged, or of another index")
        vectors = untrusted.load_npy(folder / _VECTORS, mmap=mmap)
        ids = untrusted.read_bytes(folder / _IDS, most=None).decode("utf-8").split("\n")[:-1]
        if vectors.ndim != 2 or not len(ids) == len(vectors) == meta["size"]:
            raise ValueError(f"{len(ids)} ids for vectors {vectors.shape}")
        if len(set(ids)) < len(ids) or vectors.dtype != np.float32:
            raise ValueError(f"an id stands twice, or the vectors are {vectors.dtype}")
        if not mmap and not np.isfinite(vectors).all():
            raise ValueError("a vector is not finite")
        index = kind(ids, vectors, **meta["options"])
        index._load(folder, mmap)
    except SearchError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise SearchError(f"{folder}: no whole index ({error}); save it again") from error
    return index


def _files_of(folder: pathlib.Path) -> list[str]:
    """The files of an index but its description, as names below the folder."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != _META)
    names = (path.relative_to(folder) for path in paths)
    return sorted(name.as_posix() for name in names if not name.parts[0].startswith("."))


def read_description(directory: str | os.PathLike) -> dict[str, Any]:
    """What `save` wrote of an index: back end, options and size.

    Raises:
        SearchError: if there is none.
    """
    filesystem.must_be_local(directory, "an index is mapped into memory; copy the folder")
    path = pathlib.Path(directory) / _META
    try:
        meta = untrusted.read_json(path)
        untrusted.need(meta, {"backend": str, "options": dict, "size": int}, path)
        return meta
    except (OSError, ValueError) as error:
        raise SearchError(f"{path}: no saved index ({error}); save it to its end") from None


def normalized(vectors: np.ndarray, ids: Sequence[str] | None = None) -> np.ndarray:
    """[N, D] float32 of length 1; a row of zeros stays as it is.

    Raises:
        SearchError: naming the row that is not finite.
    """
    result = np.array(vectors, np.float32)
    for start in range(0, len(result), _FEW):
        part = result[start : start + _FEW]
        norms = np.linalg.norm(part, axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            row = start + int(np.flatnonzero(~np.isfinite(norms))[0])
            raise SearchError(f"the vector of {ids[row] if ids else row!r} is not finite")
        part /= np.where(norms > 0, norms, 1)
    return result


def _none(k: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros([0, k], np.int64), np.zeros([0, k], np.float32)
