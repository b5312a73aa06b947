"""Embeddings on disk: for each shard of a data set one `.npy`, its ids, and what vouches for both.

embeddings-train-00000-of-00008.npy    [N, D] float32
embeddings-train-00000-of-00008.txt    N ids, one a line
embeddings-train-00000-of-00008.json   rows, digests; written last
embeddings.json                        what made them, and all of the above
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data.files import ShardError, read_json, write_file, write_json

MANIFEST = "embeddings.json"
# Written before the first shard, so that a stopped job cannot go on with another model.
_FINGERPRINT = "fingerprint.json"
_AGAIN = "remove it and run the export again, it goes on at missing shards"


@dataclasses.dataclass(frozen=True)
class EmbeddingInfo:
    """What the manifest says about one shard.

    Attributes:
        file: base name of the `.npy`.
        rows: N.
        dim: D.
        sha256: of the `.npy`.
        ids_sha256: of the list of ids.
    """

    file: str
    rows: int
    dim: int
    sha256: str
    ids_sha256: str


def shard_path(directory: str | os.PathLike, split: str, index: int, count: int) -> str:
    """The path of the `.npy` of shard `index` of `count`."""
    return os.path.join(directory, f"embeddings-{split}-{index:05d}-of-{count:05d}.npy")


def write_shard(path: str, ids: Sequence[str], vectors: np.ndarray) -> EmbeddingInfo:
    """Writes a shard; it counts as missing until all three files stand.

    Args:
        path: of `shard_path`.
        ids: N, without line breaks.
        vectors: [N, D] float.

    Raises:
        ShardError: if a file cannot be written, ids and vectors do not fit, or a vector is not
            finite.
    """
    vectors = np.ascontiguousarray(vectors, "<f4")
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise ShardError(f"{path}: {len(ids)} ids for vectors {vectors.shape}, not [N, D]")
    if len(wrong := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
        raise ShardError(f"{path}: the embedding of {ids[wrong[0]]!r} is not finite")
    if wrong := [name for name in ids if "\n" in name]:
        raise ShardError(f"{path}: the id {wrong[0]!r} holds a line break")
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    names = "".join(f"{name}\n" for name in ids).encode("utf-8")
    info = EmbeddingInfo(
        file=os.path.basename(path),
        rows=len(ids),
        dim=vectors.shape[1],
        sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
        ids_sha256=hashlib.sha256(names).hexdigest(),
    )
    filesystem.remove(_beside(path, ".json"))
    write_file(path, buffer.getvalue())
    write_file(_beside(path, ".txt"), names)
    write_json(_beside(path, ".json"), dataclasses.asdict(info))
    return info


def read_info(path: str) -> EmbeddingInfo | None:
    """The info of a whole shard; None where it is missing or cut short."""
    try:
        info = _info(untrusted.read_json(_beside(path, ".json")), path)
        size = filesystem.size(path) - info.rows * info.dim * 4
    except (OSError, ValueError, TypeError):
        return None
    # A header of NumPy's is a multiple of 64 bytes, and hardly more than one.
    return info if size in (64, 128) and filesystem.exists(_beside(path, ".txt")) else None


def claim(directory: str, build: Mapping[str, Any]) -> None:
    """Notes whose embeddings a folder holds, or compares.

    Raises:
        ShardError: if they are others.
    """
    path = os.path.join(directory, _FINGERPRINT)
    if not filesystem.exists(path):
        write_json(path, build)
        return
    found = read_json(path)
    for name in sorted({*found, *build}):
        if found.get(name) != build.get(name):
            raise ShardError(
                f"{directory}: holds embeddings of {name} = {found.get(name)!r}, not "
                f"{build.get(name)!r}; use another folder, or remove this one"
            )


def write_manifest(
    directory: str, *, build: Mapping[str, Any], kind: str, infos: Sequence[EmbeddingInfo]
) -> dict[str, Any]:
    """Writes `embeddings.json`, which says that all shards stand.

    Args:
        directory: of the shards.
        build: what made them, JSON values without paths.
        kind: "real" or "synthetic" data.
        infos: of all shards, in order.

    Returns:
        The manifest.
    """
    manifest = {
        "build": dict(build),
        "kind": kind,
        "rows": sum(info.rows for info in infos),
        "dim": infos[0].dim,
        "shards": [dataclasses.asdict(info) for info in infos],
    }
    write_json(os.path.join(directory, MANIFEST), manifest)
    return manifest


class EmbeddingShards:
    """The embeddings of a finished export, shard by shard.

    Attributes:
        directory: of the export.
        manifest: of `write_manifest`.
    """

    def __init__(self, directory: str | os.PathLike) -> None:
        """Opens an export.

        Raises:
            ShardError: if it is not finished.
        """
        self.directory = os.fspath(directory)
        path = os.path.join(self.directory, MANIFEST)
        try:
            self.manifest = untrusted.read_json(path)
            untrusted.need(self.manifest, {"rows": int, "dim": int, "shards": list}, path)
            self._infos = [_info(info, path) for info in self.manifest["shards"]]
        except (OSError, TypeError, ValueError) as error:
            raise ShardError(f"{path}: {error}; run the export to its end") from error

    def __len__(self) -> int:
        """The number of rows."""
        return self.manifest["rows"]

    @property
    def count(self) -> int:
        """The number of shards."""
        return len(self._infos)

    def read(self, index: int) -> tuple[list[str], np.ndarray]:
        """The ids and vectors [N, D] float32 of a shard.

        Raises:
            ShardError: if a file is missing or damaged.
        """
        info = self._infos[index]
        path = os.path.join(self.directory, info.file)
        try:
            data = untrusted.read_bytes(path, most=None)
            names = untrusted.read_bytes(_beside(path, ".txt"), most=None)
        except (OSError, untrusted.DamagedError) as error:
            raise ShardError(f"{path}: {error}; {_AGAIN}") from error
        for found, right in ((data, info.sha256), (names, info.ids_sha256)):
            if hashlib.sha256(found).hexdigest() != right:
                raise ShardError(f"{path}: it or its ids are damaged (sha256); {_AGAIN}")
        vectors = np.load(io.BytesIO(data), allow_pickle=False)  # as it was written
        ids = names.decode("utf-8").split("\n")[:-1]
        if vectors.shape != (len(ids), info.dim):
            raise ShardError(f"{path}: {len(ids)} ids for vectors {vectors.shape}; {_AGAIN}")
        return ids, vectors

    def __iter__(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """(ids, vectors) of each shard, in order."""
        return (self.read(index) for index in range(self.count))


def _info(content: Any, path: str) -> EmbeddingInfo:
    """What a file says of a shard, of the right types; the shard stands in the file's folder."""
    info = EmbeddingInfo(**content)
    kinds = {"file": str, "rows": int, "dim": int, "sha256": str, "ids_sha256": str}
    untrusted.need(dataclasses.asdict(info), kinds, path)
    if os.path.basename(info.file) != info.file:
        raise untrusted.DamagedError(f"{path}: {info.file!r:.80} is no file beside it")
    return info


def _beside(path: str, suffix: str) -> str:
    return os.path.splitext(path)[0] + suffix
