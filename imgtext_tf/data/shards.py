"""TFRecord shards: deterministic atomic writing, an index beside each, manifest, random access.

A dataset is a directory of shards `name-split-00000-of-00008.tfrecord`. Beside each stands
`….tfrecord.index.npz`: where every record lies and what the input pipeline plans with (lengths,
class, source, ids). It is written after its shard, so its presence says that the shard is whole.
`manifest.json` names every file with size and sha256; `features.json` and `dataset_info.json` let
TensorFlow Datasets read the shards; `words-train.tsv` counts the words of the train split.

Equal records give equal bytes in all these files. Directories may be remote, see
`imgtext_tf.filesystem`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from imgtext_tf.data import examples
from imgtext_tf.data.files import ShardError, open_binary
from imgtext_tf.data.manifest import MANIFEST, WORDS, load_manifest, verify, write_manifest
from imgtext_tf.data.shard_files import (
    BUILD_AGAIN,
    COLUMNS,
    HEADER_BYTES,
    BadRecord,
    ShardInfo,
    index_path,
    parse_shard_name,
    read_index,
    read_info,
    read_records,
    shard_path,
    write_shard,
)

# All that has to do with shards is had from here.
__all__ = [
    "digest",
    "MANIFEST",
    "WORDS",
    "BadRecord",
    "ShardError",
    "ShardInfo",
    "ShardReader",
    "index_path",
    "load_manifest",
    "parse_shard_name",
    "read_index",
    "read_info",
    "read_records",
    "shard_path",
    "verify",
    "write_manifest",
    "write_shard",
]


class ShardReader:
    """Random access to the records of one split; opens no file until `read`, safe in threads.

    Attributes:
        directory: the dataset directory.
        split: the split's name.
        manifest: the dataset's manifest.
        record_kind: the kind of its records.
        own_labels: the class names of a data set with classes of its own, in label order; empty
            for the eight of Otto2020.
        index: one NumPy array per column over all records of the split: `shard`, `offset`, `size`
            (bytes of the payload), `id`, `image_id`, `relation`, `source` (bytes; b"" where the
            kind has none), `sentences`, `words`, `longest` (words of the longest sentence).
        texts: the sentences of each record, for kinds whose index holds them; else None.
    """

    def __init__(self, directory: str | os.PathLike, split: str) -> None:
        """Opens a split and verifies sizes, counts and indexes (not every byte: see `verify`).

        Raises:
            ShardError: if a file is missing or damaged, or the split is unknown.
        """
        self.directory = os.fspath(directory)
        self.split = split
        self.manifest = verify(self.directory, split, level="size")
        self.record_kind: str = self.manifest["record_kind"]
        self.own_labels: tuple[str, ...] = ()
        if self.record_kind == "own_relation":
            self.own_labels = tuple(self.manifest["build"]["labels"])
        files = [info["file"] for info in self.manifest["splits"][split]["shards"]]
        self._paths = [os.path.join(self.directory, file) for file in files]
        indexes = [read_index(path) for path in self._paths]
        self.index: dict[str, np.ndarray] = {
            name: np.concatenate([index[name] for index in indexes]) for name in COLUMNS
        }
        counts = [len(index["offset"]) for index in indexes]
        texts = [index["texts"] for index in indexes]
        self.texts: list[list[str]] | None = None
        if all(part is not None for part in texts):
            self.texts = [sentences for part in texts for sentences in part]
        self.index["shard"] = np.repeat(np.arange(len(files), dtype=np.int32), counts)
        self._was_parsed = np.zeros(len(self), bool)

    def __len__(self) -> int:
        """The number of records."""
        return len(self.index["offset"])

    def read(self, rows: np.ndarray) -> list[bytes]:
        """The serialised records at these rows, in their order.

        Args:
            rows: [B] int, places in the columns of `index`.

        Raises:
            ShardError: naming file and record, if a shard changed since it was opened, or a
                record is none of its kind.
            IndexError: if a row is out of range.
        """
        rows = np.asarray(rows)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"row {rows.min()} or {rows.max()} is not in [0, {len(self)})")
        found: list[bytes] = [b""] * len(rows)
        shards = self.index["shard"][rows]
        for shard in np.unique(shards):
            path = self._paths[shard]
            places = np.flatnonzero(shards == shard)
            try:
                with open_binary(path) as file:
                    for place in places:
                        found[place] = self._read_one(file, int(rows[place]), path)
            except OSError as error:
                raise ShardError(f"{path}: cannot be read ({error}); {BUILD_AGAIN}") from error
        return found

    def _read_one(self, file: BinaryIO, row: int, path: str) -> bytes:
        offset, size = int(self.index["offset"][row]), int(self.index["size"][row])
        header = _read_at(file, HEADER_BYTES, offset)
        data = _read_at(file, size, offset + HEADER_BYTES)
        record_id = self.index["id"][row].decode("utf-8", "replace")
        if len(data) != size or struct.unpack("<Q", header[:8])[0] != size:
            raise ShardError(f"{path}: no record {record_id!r} at byte {offset}; {BUILD_AGAIN}")
        # TensorFlow would say what is wrong, but not with which record. Once: a record stays.
        if not self._was_parsed[row]:
            if fault := _fault(self.record_kind, data, record_id):
                number = row - int(np.searchsorted(self.index["shard"], self.index["shard"][row]))
                place = f"record {number} ({record_id!r}, byte {offset})"
                raise ShardError(f"{path}: {place} is {fault}; {BUILD_AGAIN}")
            self._was_parsed[row] = True
        return data


def digest(manifest: Mapping[str, Any]) -> str:
    """The sha256 of a manifest: with the digests of all files in it, that of a whole data set."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _fault(kind: str, data: bytes, record_id: str) -> str:
    """What is wrong with a record that the index calls so; "" if nothing is."""
    try:
        found = examples.id_of(kind, examples.from_bytes(kind, data))
    except examples.ExampleError as error:
        return str(error)
    return "" if found == record_id else f"{found!r:.80}, which is none of its index"


def _read_at(file: BinaryIO, size: int, offset: int) -> bytes:
    if isinstance(file, io.FileIO):
        return os.pread(file.fileno(), size, offset)
    file.seek(offset)
    return file.read(size)
