"""The manifest of a dataset directory: written at the end of a build, verified before training.

See `imgtext_tf.data.shards` for the layout of a dataset directory.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data import examples
from imgtext_tf.data.checks import check_manifest
from imgtext_tf.data.files import ShardError, open_binary, write_file, write_json
from imgtext_tf.data.shard_files import (
    BUILD_AGAIN,
    ShardInfo,
    index_path,
    read_index,
    read_info,
    shard_path,
)

MANIFEST = "manifest.json"
WORDS = "words-train.tsv"
_PROGRESS_BYTES = 2 * 1024**3


def write_manifest(
    directory: str | os.PathLike,
    *,
    name: str,
    record_kind: str,
    kind: str,
    build: Mapping[str, Any],
    splits: Mapping[str, list[ShardInfo]],
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes manifest, word counts of split "train" and the files of TensorFlow Datasets.

    Args:
        directory: where the shards are.
        name: the dataset's name, the first part of the shard names.
        record_kind: see `examples.KINDS`.
        kind: "real" or "synthetic" data.
        build: the flags and seed of the build, JSON values without paths or times.
        splits: split -> infos of all its shards, in order.
        notes: whatever else the build has to say, JSON values.

    Returns:
        The manifest.

    Raises:
        ShardError: if two records share an id, a shard of a split is missing, or a file cannot be
            written.
        ValueError: if `kind` is neither "real" nor "synthetic".
    """
    if kind not in ("real", "synthetic"):
        raise ValueError(f"kind is {kind!r}: use 'real' or 'synthetic'")
    directory = os.fspath(directory)
    words_data = _merge_words(directory, name, splits)
    manifest = {
        "name": name,
        "record_kind": record_kind,
        "kind": kind,
        "build": dict(build),
        "notes": dict(notes or {}),
        "splits": {split: _split_entry(infos) for split, infos in splits.items()},
        "words": {"file": WORDS, "sha256": hashlib.sha256(words_data).hexdigest()},
    }
    write_file(os.path.join(directory, WORDS), words_data)
    for file, content in _tfds_files(name, record_kind, splits).items():
        write_json(os.path.join(directory, file), content)
    write_json(os.path.join(directory, MANIFEST), manifest)
    return manifest


def load_manifest(directory: str | os.PathLike) -> dict[str, Any]:
    """Reads the manifest of a dataset directory.

    Raises:
        ShardError: if it is missing or no manifest.
    """
    path = os.path.join(directory, MANIFEST)
    if not filesystem.exists(path):
        raise ShardError(f"{path}: missing; run the build command to its end, or mend the path")
    try:
        with open_binary(path) as file:
            manifest = untrusted.parse_json(file.read())
        check_manifest(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path}: no manifest ({error}); run the build command again") from error
    return manifest


def verify(
    directory: str | os.PathLike, split: str | None = None, level: str = "full"
) -> dict[str, Any]:
    """Compares manifest, indexes and shards, and names what is missing or damaged.

    Args:
        directory: the dataset directory.
        split: the split to verify; None means all.
        level: "size" compares existence, sizes, counts and the indexes' sha256 (fast, whatever
            the size of the data); "full" reads every byte and compares the shards' sha256, too.

    Returns:
        The manifest.

    Raises:
        ShardError: listing the files at fault and the mend.
        ValueError: if the level is unknown.
    """
    if level not in ("full", "size"):
        raise ValueError(f"level is {level!r}: use 'full' or 'size'")
    directory = os.fspath(directory)
    manifest = load_manifest(directory)
    if split is not None and split not in manifest["splits"]:
        raise ShardError(f"{directory}: has no split {split!r}, only {list(manifest['splits'])}")
    faults = [] if split not in (None, "train") else _words_fault(directory, manifest)
    infos = []
    for name in manifest["splits"] if split is None else [split]:
        entry = manifest["splits"][name]
        infos += [ShardInfo(**info) for info in entry["shards"]]
        _check_names(directory, manifest["name"], name, [info["file"] for info in entry["shards"]])
        if entry != _split_entry([ShardInfo(**info) for info in entry["shards"]]):
            faults.append(f"{MANIFEST}: totals of split {name!r} are not the sums of its shards")
    faults += [fault for info in infos if (fault := _size_fault(directory, info))]
    if not faults and level == "full":
        faults = _digest_faults(directory, infos)
    if faults:
        more = f"\n... and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise ShardError(f"{directory}:\n" + "\n".join(faults[:10]) + more)
    return manifest


def _merge_words(directory: str, name: str, splits: Mapping[str, list[ShardInfo]]) -> bytes:
    """The lines of `words-train.tsv`; looks at every index, and so at every id, on its way."""
    seen: set[bytes] = set()
    words: collections.Counter[str] = collections.Counter()
    for split, infos in splits.items():
        _check_names(directory, name, split, [info.file for info in infos])
        for info in infos:
            index = read_index(os.path.join(directory, info.file))
            for record_id in index["id"].tolist():
                if record_id in seen:
                    raise ShardError(
                        f"{info.file}: id {record_id.decode()!r} occurs twice; make ids unique"
                    )
                seen.add(record_id)
            if split == "train":
                words.update(index["word_counts"])
    lines = [f"{word}\t{count}\n" for word, count in sorted(words.items(), key=_by_count)]
    return "".join(lines).encode("utf-8")


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _split_entry(infos: list[ShardInfo]) -> dict[str, Any]:
    def total(column: str) -> dict[str, int]:
        counts: collections.Counter[str] = collections.Counter()
        for info in infos:
            counts.update(getattr(info, column))
        return dict(sorted(counts.items()))

    return {
        "records": sum(info.records for info in infos),
        "bytes": sum(info.bytes for info in infos),
        "bad": sum(len(info.bad) for info in infos),
        "classes": total("classes"),
        "sources": total("sources"),
        "shards": [dataclasses.asdict(info) for info in infos],
    }


def _check_names(directory: str, name: str, split: str, files: list[str]) -> None:
    expected = [
        os.path.basename(shard_path("", name, split, index, len(files)))
        for index in range(len(files))
    ]
    for file, right in zip(files, expected, strict=True):
        if file != right:
            raise ShardError(
                f"{os.path.join(directory, MANIFEST)}: split {split!r} lists {file} in the place "
                f"of {right}; run the build command again"
            )


def _words_fault(directory: str, manifest: dict[str, Any]) -> list[str]:
    path = os.path.join(directory, WORDS)
    if not filesystem.exists(path):
        return [f"{WORDS}: missing; run the build command again"]
    if filesystem.sha256_of(path) != manifest["words"]["sha256"]:
        return [f"{WORDS}: damaged (sha256 is not the manifest's); run the build command again"]
    return []


def _size_fault(directory: str, expected: ShardInfo) -> str | None:
    path = os.path.join(directory, expected.file)
    for needed in (path, index_path(path)):
        if not filesystem.exists(needed):
            return f"{os.path.basename(needed)}: missing; run the build command again"
    try:
        found = read_info(path)
    except ShardError as error:
        return str(error)
    wrong = [
        field.name
        for field in dataclasses.fields(ShardInfo)
        if getattr(found, field.name) != getattr(expected, field.name)
    ]
    if wrong:
        return (
            f"{expected.file}: {MANIFEST} and {os.path.basename(index_path(path))} disagree on "
            f"{', '.join(wrong)}; one of them is wrong or damaged: {BUILD_AGAIN}"
        )
    return None


def _digest_faults(directory: str, infos: list[ShardInfo]) -> list[str]:
    """Compares sha256, in threads: hashing and reading both release Python's lock."""
    paths = [os.path.join(directory, info.file) for info in infos]
    bar = tqdm(
        total=len(paths),
        desc="verifying shards",
        unit="shard",
        disable=sum(info.bytes for info in infos) < _PROGRESS_BYTES,
    )
    faults = []
    with bar, concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for info, digest in zip(infos, pool.map(filesystem.sha256_of, paths), strict=True):
            bar.update()
            if digest != info.sha256:
                faults.append(
                    f"{info.file}: damaged (sha256 {digest[:12]}…, should be "
                    f"{info.sha256[:12]}…); {BUILD_AGAIN}"
                )
    return faults


def _tfds_files(
    name: str, record_kind: str, splits: Mapping[str, list[ShardInfo]]
) -> dict[str, dict]:
    """`features.json` and `dataset_info.json` in the form of TensorFlow Datasets 4."""
    core = "tensorflow_datasets.core.features."

    def feature(field_name: str, field: examples.Field) -> dict:
        if field_name == "image":
            image = {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8"}
            return {"pythonClassName": core + "image_feature.Image", "image": image}
        if field.dtype is str:
            one = {"pythonClassName": core + "text_feature.Text", "text": {}}
        else:
            dtype = "int64" if field.dtype is int else "string"
            tensor = {"shape": {}, "dtype": dtype, "encoding": "none"}
            one = {"pythonClassName": core + "scalar.Scalar", "tensor": tensor}
        if not field.ragged:
            return one
        sequence = {"feature": one, "length": "-1"}
        return {"pythonClassName": core + "sequence_feature.Sequence", "sequence": sequence}

    fields = sorted(examples.fields_of(record_kind).items())
    return {
        "features.json": {
            "pythonClassName": core + "features_dict.FeaturesDict",
            "featuresDict": {"features": {key: feature(key, field) for key, field in fields}},
        },
        "dataset_info.json": {
            "name": name,
            "version": "1.0.0",
            "fileFormat": "tfrecord",
            "splits": [
                {
                    "name": split,
                    "filepathTemplate": "{DATASET}-{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                    "shardLengths": [str(info.records) for info in infos],
                    "numBytes": str(sum(info.bytes for info in infos)),
                }
                for split, infos in splits.items()
            ],
        },
    }
