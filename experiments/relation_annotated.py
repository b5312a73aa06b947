"""Pairs of a data set under the labels that people gave them, as JSONL that `build` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from imgtext_tf import annotation
from imgtext_tf.data import examples, files, shards


def write(
    folder: str | os.PathLike, labels: Mapping[str, str], *, data_dir: str, split: str
) -> int:
    """Writes `pairs.jsonl` and the pairs' images below `images/`.

    All pairs stay in the split that they were taken from.

    Args:
        folder: made where it is missing.
        labels: pair -> label; pairs without one, or of which people were `annotation.UNSURE`, are
            left out.
        data_dir: the data set from which the pairs were drawn.
        split: of the pairs.

    Returns:
        The number of pairs written.

    Raises:
        AnnotationError: if the split lacks a pair.
        ShardError: if the data set is damaged.
    """
    shards.verify(data_dir, level="size")
    reader = shards.ShardReader(data_dir, split)
    row_of = {name.decode("utf-8"): row for row, name in enumerate(reader.index["id"].tolist())}
    lines = []
    for pair, label in labels.items():
        if label in ("", annotation.UNSURE):
            continue
        if pair not in row_of:
            raise annotation.AnnotationError(
                f"--data_dir={data_dir}: split {split} has no pair {pair!r}; name the data set and "
                "the --eval_split from which the pairs were drawn"
            )
        record = examples.from_bytes(reader.record_kind, reader.read([row_of[pair]])[0])
        image = f"images/{len(lines)}.jpg"
        files.write_file(os.path.join(folder, image), record["image"])
        # `build` puts the source in front of both names.
        source = record["source"]
        line = {
            "id": pair.removeprefix(f"{source}/"),
            "image": image,
            "text": list(record["sentences"]),
            "label": label,
            "source": source,
            "group": record["group"].removeprefix(f"{source}/"),
            "split": split,
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    files.write_file(os.path.join(folder, "pairs.jsonl"), "".join(lines).encode("utf-8"))
    return len(lines)
