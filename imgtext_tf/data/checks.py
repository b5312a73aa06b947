"""What the index of a shard and the manifest of a data set must look like to be used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from imgtext_tf import untrusted
from imgtext_tf.data import examples


def check_index(index: Mapping[str, Any], columns: Collection[str]) -> None:
    """Sees that an index is what `write_shard` makes.

    Raises:
        ValueError: if it is not.
    """
    untrusted.need(
        index["meta"],
        {"file": str, "kind": str, "bytes": int, "sha256": str, "bad": list},
        "its description",
    )
    count = len(np.atleast_1d(index["offset"]))
    for name in columns:
        column = index[name]
        kinds = "S" if name in ("id", "image_id", "relation", "source") else "iu"
        if column.shape != (count,) or column.dtype.kind not in kinds:
            raise ValueError(f"column {name!r} has {column.dtype} {column.shape}")
        if kinds == "S":
            np.ascontiguousarray(column).tobytes().decode("utf-8")
        elif count and column.min() < 0:
            raise ValueError(f"column {name!r} has a number below 0")
    # One by one: their sum may be too large for its type.
    last = max((int(index[name].max()) for name in ("offset", "size")), default=0) if count else 0
    whole = index["meta"]["bytes"]
    if last > whole or (count and int((index["offset"] + index["size"]).max()) > whole):
        raise ValueError(f"a record lies behind the {whole} bytes of the file")
    texts = index["texts"]
    if texts is not None and not (
        isinstance(texts, list)
        and len(texts) == count
        and all(isinstance(row, list) and all(isinstance(t, str) for t in row) for row in texts)
    ):
        raise ValueError("its texts are not those of its records")


def check_manifest(manifest: Any) -> None:
    """Sees that a manifest is what `write_manifest` writes.

    Raises:
        ValueError, TypeError: if it is not.
    """
    if not isinstance(manifest, dict):
        raise TypeError("it is no object")
    kinds = {"name": str, "record_kind": str, "kind": str, "build": dict, "notes": dict}
    untrusted.need(manifest, kinds | {"splits": dict, "words": dict}, "it")
    untrusted.need(manifest["words"], {"sha256": str}, "words")
    examples.fields_of(manifest["record_kind"])
    if manifest["record_kind"] == "own_relation":
        labels = manifest["build"].get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError("its build has no labels")
    name = manifest["name"]
    if not name.isprintable() or not name or "/" in name:
        raise ValueError(f"its name {name!r:.80} is none of a data set")
    kinds = {"file": str, "records": int, "bytes": int, "sha256": str, "index_sha256": str}
    kinds |= {"classes": dict, "sources": dict, "bad": list}
    for split, entry in manifest["splits"].items():
        if not (split.isalnum() and split.isascii()) or not isinstance(entry, dict):
            raise ValueError(f"split {split!r:.80} is no split")
        untrusted.need(entry, {"shards": list}, split)
        for info in entry["shards"]:
            if not isinstance(info, dict) or set(info) != set(kinds):
                raise ValueError(f"a shard of split {split!r} has not the fields {sorted(kinds)}")
            untrusted.need(info, kinds, split)
            for counts in (info["classes"], info["sources"]):
                untrusted.need(counts, dict.fromkeys(counts, int), split)
