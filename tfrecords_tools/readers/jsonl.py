"""The project's own JSONL: any images and texts with labels.

One object a line: `{"id", "image", "text", "label"}` with optional `cmi`, `sc`, `stat` (instead of
or beside the label), `source`, `group`, `split` and `swaps`. `text` is a string or a list of
sentences, `image` a path below the image folder. docs/data.md says what each field means.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from imgtext_tf import filesystem
from tfrecords_tools.readers import base


def pairs(
    path: str | os.PathLike,
    images_dir: str | os.PathLike | None = None,
    *,
    labels: Sequence[str] = (),
) -> Iterator[base.Item]:
    """Yields the pairs of a JSONL file.

    Args:
        path: the file.
        images_dir: the folder that `image` is relative to; default the file's own.
        labels: class names of the user's own, which `label` then holds; none for the eight.

    Raises:
        base.ReaderError: if the file cannot be read.
    """
    root = os.fspath(images_dir) if images_dir else os.path.dirname(filesystem.absolute(path))
    source = os.path.basename(path).split(".")[0]
    for name, record in base.read_json_lines(path):
        if isinstance(record, base.BadRecord):
            yield record
        else:
            yield base.attempt(name, pair_of, record, root, source, name, labels)


def pair_of(
    record: dict[str, Any], root: str, source: str, name: str, labels: Sequence[str] = ()
) -> base.Pair:
    """A pair from a record with the JSONL's fields.

    Args:
        record: the fields.
        root: the folder that `image` is relative to.
        source: the source where the record names none.
        name: the id where the record has none.
        labels: see `pairs`.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or cannot be used.
    """
    image = record["image"]
    split = record.get("split") or ""
    if split not in ("", *base.SPLITS):
        raise ValueError(f"split {split!r:.80}: use one of {base.SPLITS}, or none")
    source = _name_of(record, "source") or source
    return base.Pair(
        id=f"{source}/{_name_of(record, 'id') or os.path.basename(name)}",
        image_path=base.inside(root, image),
        sentences=base.clean_sentences(record["text"]),
        source=source,
        group=f"{source}/{_name_of(record, 'group') or image}",
        split=split,
        swaps=tuple((int(s), int(p), str(o), str(n)) for s, p, o, n in record.get("swaps") or ()),
        **(_own_class(record, labels) if labels else _metrics(record)),
    )


def _name_of(record: dict[str, Any], field: str) -> str:
    """A name that the record gives; "" where it gives none."""
    value = record.get(field)
    return "" if value is None or value == "" else base.checked_name(value, field)


def _own_class(record: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    label = str(record["label"])
    if label not in labels:
        raise ValueError(f"label {label!r:.80} is none of --labels={','.join(labels)}")
    return {"cmi": None, "sc": None, "stat": None, "label": label}


def _metrics(record: dict[str, Any]) -> dict[str, Any]:
    label = record.get("label")
    if label is not None:
        metrics = base.metrics_of(label)
        given = {key: record[key] for key in metrics if record.get(key) is not None}
        wrong = {key: v for key, v in given.items() if str(v) != str(metrics[key])}
        if wrong:
            raise ValueError(f"label {label!r} means {metrics}, but the record says {wrong}")
        return metrics
    metrics = {"cmi": int(record["cmi"]), "sc": int(record["sc"]), "stat": str(record["stat"])}
    if base.relations.relation_of(**metrics) == base.relations.UNDEFINED:
        raise ValueError(f"{metrics} is none of the eight classes")
    return metrics
