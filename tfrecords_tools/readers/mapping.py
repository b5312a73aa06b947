"""Other labelled releases (CSV, TSV, JSONL, TFRecord), read by a mapping of their fields.

The mapping says which of their fields is our `image`, `text`, and `label` or `cmi`, `sc`, `stat`;
optional are `id`, `group`, `split`, `source`. It is written in JSON,

    {"fields": {"image": "photo", "text": "caption", "label": "class"},
     "labels": {"uncorrelated": "Uncorrelated"}, "splits": {"dev": "val"}}

or, for the fields alone, as `image=photo,text=caption,label=class`.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data.files import write_file
from imgtext_tf.data.shard_files import FOOTER_BYTES, HEADER_BYTES
from tfrecords_tools.readers import base, jsonl

FIELDS = ("image", "text", "label", "cmi", "sc", "stat", "id", "group", "split", "source", "swaps")


def parse_mapping(text: str) -> dict[str, dict[str, str]]:
    """Parses a mapping: a path of a JSON file, or `ours=theirs,...`.

    Returns:
        A dict of `fields`, `labels` and `splits`, each a dict.

    Raises:
        base.ReaderError: if it cannot be parsed, or lacks a field that is needed.
    """
    if text.endswith(".json"):
        mapping = base.read_object(text)
        for name in ("fields", "labels", "splits"):
            part = mapping.get(name, {})
            if not isinstance(part, dict) or not all(isinstance(v, str) for v in part.values()):
                raise base.ReaderError(f"{text}: {name!r} must be an object of names")
        if "fields" not in mapping:
            raise base.ReaderError(f'{text}: expected {{"fields": {{"image": "...", ...}}}}')
    else:
        parts = [part.partition("=") for part in text.split(",") if part.strip()]
        mapping = {"fields": {ours.strip(): theirs.strip() for ours, _, theirs in parts}}
    fields = mapping["fields"]
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown or not all(fields.values()):
        raise base.ReaderError(f"mapping {text}: unknown or empty {unknown}; ours are {FIELDS}")
    labelled = "label" in fields or {"cmi", "sc", "stat"} <= set(fields)
    if not labelled or not {"image", "text"} <= set(fields):
        raise base.ReaderError(f"mapping {text}: needs image, text and label (or cmi, sc, stat)")
    return {
        "fields": fields,
        "labels": mapping.get("labels", {}),
        "splits": mapping.get("splits", {}),
    }


def pairs(
    path: str | os.PathLike,
    mapping: dict[str, dict[str, str]],
    images_dir: str | os.PathLike | None = None,
    *,
    labels: Sequence[str] = (),
) -> Iterator[base.Item]:
    """Yields the pairs of a file by its suffix: .csv, .tsv, .jsonl, .tfrecord or .tfrecords.

    A TFRecord that holds the image's bytes rather than its path has them written to `images_dir`
    under the name of their hash, once.

    Args:
        path: the file.
        mapping: what `parse_mapping` returns.
        images_dir: the folder that image paths are relative to; default the file's own.
        labels: see `jsonl.pairs`; the mapping renames to them.

    Raises:
        base.ReaderError: if the file cannot be read, or its suffix is unknown.
    """
    path = os.fspath(path)
    root = os.fspath(images_dir) if images_dir else os.path.dirname(filesystem.absolute(path))
    suffix = os.path.splitext(path)[1]
    if suffix == ".jsonl":
        records = base.read_json_lines(path)
    elif suffix in (".csv", ".tsv"):
        records = base.read_table(path, delimiter="," if suffix == ".csv" else "\t")
    elif suffix in (".tfrecord", ".tfrecords"):
        records = _tfrecord(path)
    else:
        raise base.ReaderError(f"{path}: use a .csv, .tsv, .jsonl, .tfrecord or .tfrecords file")
    source = os.path.basename(path).split(".")[0]
    for name, record in records:
        if isinstance(record, base.BadRecord):
            yield record
        else:
            yield base.attempt(name, _pair, record, mapping, root, source, name, labels)


def _pair(
    record: dict, mapping: dict, root: str, source: str, name: str, labels: Sequence[str]
) -> base.Pair:
    ours: dict[str, Any] = {}
    for key, theirs in mapping["fields"].items():
        value = record[theirs]
        if key == "image" and isinstance(value, bytes):
            value = _image_file(value, root)
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        elif isinstance(value, list) and key != "text":
            if len(value) != 1:
                raise ValueError(f"the field {theirs!r:.80} holds {len(value)} values, not one")
            value = value[0]
            value = value.decode("utf-8") if isinstance(value, bytes) else value
        if key == "text" and isinstance(value, list):
            value = [part.decode("utf-8") if isinstance(part, bytes) else part for part in value]
        ours[key] = value
    if "label" in ours:
        ours["label"] = mapping["labels"].get(str(ours["label"]), ours["label"])
    if "split" in ours:
        ours["split"] = mapping["splits"].get(ours["split"], ours["split"])
    if isinstance(ours.get("swaps"), str):
        ours["swaps"] = untrusted.parse_json(ours["swaps"])
    return jsonl.pair_of(ours, root, source, name, labels)


def _image_file(data: bytes, root: str) -> str:
    """Writes bytes that are an image below `root`; bytes that are a path come back as text."""
    kinds = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp"}
    suffix = kinds.get(data[:2])
    if suffix is None or len(data) < 16:
        return data.decode("utf-8")
    name = hashlib.sha256(data).hexdigest()[:16] + suffix
    path = os.path.join(root, name)
    if not filesystem.exists(path):
        write_file(path, data)
    return name


def _check_lengths(local: str, path: str) -> None:
    """TensorFlow takes the memory that a record announces before it looks whether it is there."""
    place, size = 0, untrusted.size_of(local)
    with open(local, "rb") as file:
        while len(header := file.read(HEADER_BYTES)) == HEADER_BYTES:
            (length,) = struct.unpack("<Q", header[:8])
            if place + length > size:
                raise base.ReaderError(
                    f"{path}: the record at byte {place} announces {length} bytes, the file has "
                    f"{size}; fetch the file again"
                )
            place += HEADER_BYTES + length + FOOTER_BYTES
            file.seek(place)


def _tfrecord(path: str) -> Iterator[tuple[str, dict | base.BadRecord]]:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        local = filesystem.local_copy(path)
        _check_lengths(local, path)
        for number, data in enumerate(tf.data.TFRecordDataset(local).as_numpy_iterator()):
            name, record = f"{path} record {number}", {}
            try:
                features = tf.train.Example.FromString(data).features.feature
            except DecodeError:
                yield name, base.BadRecord(name, "no tf.train.Example")
                continue
            for key, feature in features.items():
                kind = feature.WhichOneof("kind")
                values = list(getattr(feature, kind).value) if kind else []
                record[key] = values[0] if len(values) == 1 else values
            yield name, record
    except tf.errors.OpError as error:
        raise base.ReaderError(f"{path}: {error.message}; fetch the file again") from None
