"""One shard: its name, its records, and the index written beside it.

See `imgtext_tf.data.shards` for the layout of a dataset directory.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data import examples
from imgtext_tf.data.checks import check_index
from imgtext_tf.data.files import (
    ShardError,
    atomic,
    disk_errors,
    open_binary,
    write_file,
)
from imgtext_tf.data.text import tokenize

_NAME = re.compile(r"(.+)-([A-Za-z0-9]+)-(\d{5})-of-(\d{5})\.tfrecord")
# TFRecord framing: uint64 length, uint32 crc of it, payload, uint32 crc of the payload.
HEADER_BYTES, FOOTER_BYTES = 12, 4
BUILD_AGAIN = "delete it and run the build command again, it goes on at missing shards"
# Per record: the columns of an index. Strings are NumPy bytes ("S").
COLUMNS = (
    *("offset", "size", "id", "image_id", "relation", "source"),
    *("sentences", "words", "longest"),
)
# Kinds whose batches take single sentences of a record: where its image is not needed, the record
# need not be read.
TEXTS_IN_INDEX = ("image_captions",)


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """Stands in for a record that cannot be used; listed in its shard's info, not written."""

    id: str
    reason: str

    def __post_init__(self) -> None:
        """Shortens what a damaged file may make very long."""
        for name in ("id", "reason"):
            object.__setattr__(self, name, untrusted.shortened(getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """What the manifest says about one shard.

    Attributes:
        file: base name of the shard.
        records: number of records.
        bytes: size of the shard.
        sha256: of the shard.
        index_sha256: of the index beside it.
        classes: relation -> number of records.
        sources: source -> number of records.
        bad: [id, reason] of each record left out.
    """

    file: str
    records: int
    bytes: int
    sha256: str
    index_sha256: str
    classes: dict[str, int]
    sources: dict[str, int]
    bad: list[list[str]]


def shard_path(directory: str | os.PathLike, name: str, split: str, index: int, count: int) -> str:
    """The path of shard `index` of `count`.

    Raises:
        ValueError: if the index is not below the count, or the split is not alphanumeric.
    """
    file = f"{name}-{split}-{index:05d}-of-{count:05d}.tfrecord"
    if not 0 <= index < count or not _NAME.fullmatch(file) or "/" in name:
        raise ValueError(f"{file!r} is no shard name: 0 <= index < count, split alphanumeric")
    return os.path.join(directory, file)


def parse_shard_name(path: str | os.PathLike) -> tuple[str, str, int, int]:
    """The (name, split, index, count) of a shard path.

    Raises:
        ShardError: if the path is not named as `shard_path` names shards.
    """
    match = _NAME.fullmatch(os.path.basename(path))
    if match is None:
        raise ShardError(f"{path}: not named like name-train-00000-of-00008.tfrecord")
    return match[1], match[2], int(match[3]), int(match[4])


def index_path(path: str | os.PathLike) -> str:
    """The path of the index beside a shard."""
    return f"{os.fspath(path)}.index.npz"


def write_shard(
    path: str | os.PathLike,
    kind: str,
    records: Iterable[Mapping[str, Any] | BadRecord],
) -> ShardInfo:
    """Writes a shard and its index; either both stand at the end or the shard counts as missing.

    Args:
        path: from `shard_path`; its folder is made where missing.
        kind: the record kind, see `examples.KINDS`.
        records: the records, in the order to write; they are not kept in memory, their texts are.

    Raises:
        ShardError: if a file cannot be written (disk full, no permission).
        examples.ExampleError: if a record does not fit its kind.
    """
    path = os.fspath(path)
    parse_shard_name(path)
    rows: list[tuple] = []
    texts: list[list[str]] = []
    bad: list[list[str]] = []
    with atomic(path) as temporary:
        offset = 0
        with disk_errors(path):
            writer = tf.io.TFRecordWriter(temporary)
        try:
            for record in records:
                if isinstance(record, BadRecord):
                    bad.append([record.id, record.reason])
                    continue
                data = examples.encode(kind, record)
                with disk_errors(path):
                    writer.write(data)
                columns = [record.get(name, "") for name in ("image_id", "relation", "source")]
                rows.append((offset, len(data), examples.id_of(kind, record), *columns))
                texts.append(examples.sentences_of(kind, record))
                offset += HEADER_BYTES + len(data) + FOOTER_BYTES
        finally:
            with disk_errors(path):
                writer.close()
        with disk_errors(path):
            # From here on the shard is another one: its old index must not vouch for it.
            filesystem.remove(index_path(path))
        sha256 = filesystem.sha256_of(temporary)
    meta = {"file": os.path.basename(path), "kind": kind, "bytes": offset, "sha256": sha256}
    write_file(index_path(path), _index_bytes(rows, texts, {**meta, "bad": bad}))
    info = read_info(path)
    assert info is not None
    return info


def read_info(path: str | os.PathLike) -> ShardInfo | None:
    """The info of a finished shard; None where the shard or its index is absent.

    Raises:
        ShardError: if shard and index disagree in size, or the index is unreadable.
    """
    path = os.fspath(path)
    if not (filesystem.exists(path) and filesystem.exists(index_path(path))):
        return None
    index = read_index(path)
    meta, size = index["meta"], filesystem.size(path)
    if size != meta["bytes"] or meta["file"] != os.path.basename(path):
        raise ShardError(
            f"{path}: has {size} bytes, its index is of {meta['file']} with {meta['bytes']}; "
            f"{BUILD_AGAIN}"
        )
    return ShardInfo(
        file=meta["file"],
        records=len(index["offset"]),
        bytes=meta["bytes"],
        sha256=meta["sha256"],
        index_sha256=filesystem.sha256_of(index_path(path)),
        classes=_tally(index["relation"]),
        sources=_tally(index["source"]),
        bad=meta["bad"],
    )


def read_index(path: str | os.PathLike) -> dict[str, Any]:
    """The index of a shard: NumPy columns, dicts `meta` and `word_counts`, and `texts`.

    `texts` has the sentences of each record for the kinds `TEXTS_IN_INDEX`, and is None for others.

    Raises:
        ShardError: if it cannot be read.
    """
    try:
        with open_binary(index_path(path)) as file:
            arrays = untrusted.load_npz(index_path(path), file.read())
        index: dict[str, Any] = {name: arrays[name] for name in COLUMNS}
        index["meta"] = untrusted.parse_json(arrays["meta"].tobytes())
        words = arrays["word"].tobytes().decode("utf-8").split("\n")[:-1]
        index["word_counts"] = dict(zip(words, arrays["count"].tolist(), strict=True))
        texts = arrays.get("texts")
        index["texts"] = None if texts is None else untrusted.parse_json(texts.tobytes())
        check_index(index, COLUMNS)
        return index
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{index_path(path)}: unreadable ({error}); {BUILD_AGAIN}") from error


def read_records(path: str | os.PathLike) -> Iterator[bytes]:
    """The serialised records of a finished shard, in their order.

    Raises:
        ShardError: if its index cannot be read.
        OSError: if the shard itself cannot be read.
    """
    index = read_index(path)
    with filesystem.open_binary(path) as file:
        for offset, size in zip(index["offset"].tolist(), index["size"].tolist(), strict=True):
            file.seek(offset + HEADER_BYTES)
            yield file.read(size)


def _index_bytes(rows: list[tuple], texts: list[list[str]], meta: dict) -> bytes:
    """An npz of the index; `np.savez` stamps no time, so equal content gives equal bytes."""
    numbers = np.array([row[:2] for row in rows], np.int64).reshape(-1, 2)
    arrays = {"offset": numbers[:, 0], "size": numbers[:, 1]}
    for place, name in enumerate(("id", "image_id", "relation", "source"), start=2):
        arrays[name] = np.array([row[place].encode("utf-8") for row in rows], np.bytes_)
    lengths, word_counts = _count_words(texts)
    arrays |= dict(zip(("sentences", "words", "longest"), lengths.T, strict=True))
    # One blob of lines: a fixed-width column would be as wide as the longest "word".
    arrays["word"] = _blob("".join(f"{word}\n" for word in word_counts))
    arrays["count"] = np.array(list(word_counts.values()), np.int64)
    arrays["meta"] = _blob(json.dumps(meta, sort_keys=True))
    if meta["kind"] in TEXTS_IN_INDEX:
        arrays["texts"] = _blob(json.dumps(texts, ensure_ascii=False))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _count_words(texts: list[list[str]]) -> tuple[np.ndarray, dict[str, int]]:
    """([N, 3] int32 of sentences, words, words of the longest sentence; word -> count)."""
    lengths = np.zeros([len(texts), 3], np.int32)
    lengths[:, 0] = [len(sentences) for sentences in texts]
    sentences = list(itertools.chain.from_iterable(texts))
    if not sentences:
        return lengths, {}
    words = tokenize(tf.constant(sentences))
    owner = np.repeat(np.arange(len(texts)), lengths[:, 0])
    np.add.at(lengths[:, 1], owner, words.row_lengths().numpy())
    np.maximum.at(lengths[:, 2], owner, words.row_lengths().numpy())
    counts = collections.Counter(words.flat_values.numpy().tolist())
    return lengths, {word.decode("utf-8"): counts[word] for word in sorted(counts)}


def _blob(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8"), np.uint8)


def _tally(column: np.ndarray) -> dict[str, int]:
    values, counts = np.unique(column[column != b""], return_counts=True)
    return {value.decode("utf-8"): int(count) for value, count in zip(values, counts, strict=True)}
