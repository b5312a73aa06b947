"""Shows what shards hold: counts, verification, texts, and a contact sheet.

    python -m tfrecords_tools.inspect_shards --data_dir=relations --sheet=sheet.png

It compares every file with the manifest (`--level`), prints the counts of each split, class and
source, prints a few records of each class, and draws them with picture and text.
"""

from __future__ import annotations

import collections
import json
import os
import sys
from collections.abc import Sequence

import numpy as np
from absl import app, flags

from imgtext_tf import figures, relations, untrusted
from imgtext_tf.data import examples, images, shards


def describe(directory: str | os.PathLike, manifest: dict) -> str:
    """The counts of a data set, as text."""
    lines = [
        f"{directory}: {manifest['name']}, {manifest['kind']} data, "
        f"records of kind {manifest['record_kind']!r}"
    ]
    for split in manifest["splits"]:
        index = shards.ShardReader(directory, split).index
        entry = manifest["splits"][split]["shards"]
        size = sum(shard["bytes"] for shard in entry) / 2**20
        lines.append(
            f"\n{split}: {len(index['id'])} records in {len(entry)} shards, {size:.1f} MiB, "
            f"{len(np.unique(index['image_id']))} distinct images"
        )
        for column in ("relation", "source"):
            values = index[column]
            for value, count in collections.Counter(values[values != b""].tolist()).most_common():
                words = index["words"][values == value]
                lines.append(
                    f"  {column} {value.decode():20} {count:8}   words a text: median "
                    f"{int(np.median(words))}, longest {words.max()}"
                )
    return "\n".join(lines)


def draw_rows(index: dict[str, np.ndarray], per_class: int, seed: int) -> np.ndarray:
    """Draws up to `per_class` rows of each class, in class order; of all if there is no class."""
    rng = np.random.default_rng(seed)
    chosen = []
    known = [name.encode() for name in relations.RELATIONS]
    for relation in dict.fromkeys([*known, *np.unique(index["relation"]).tolist()]):
        rows = np.flatnonzero(index["relation"] == relation)
        chosen.append(np.sort(rng.permutation(rows)[:per_class]))
    return np.concatenate(chosen)


def read_rows(reader: shards.ShardReader, rows: np.ndarray) -> list[dict]:
    """The records at these rows.

    Raises:
        shards.ShardError: if a shard changed since it was opened.
    """
    return [examples.from_bytes(reader.record_kind, data) for data in reader.read(rows)]


def text_of(kind: str, record: dict) -> str:
    """The text of a record, with its swaps behind."""
    swaps = map(untrusted.parse_json, record.get("swaps", ()))
    return " ".join(
        [*examples.sentences_of(kind, record), *(f"[{old} -> {new}]" for _, _, old, new in swaps)]
    )


def tile(kind: str, record: dict) -> figures.PairTile:
    """A record as a tile of the contact sheet."""
    return figures.PairTile(
        image=figures.thinned(images.checked_pixels(record["image"])),
        text=text_of(kind, record),
        truth=record.get("relation", ""),
        title=record["id"],
    )


def main(argv: Sequence[str]) -> None:
    """Prints, verifies and draws what the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"flags only, not {argv[1:]}")
    values = flags.FLAGS
    try:
        # First of all: damaged bytes could not be shown.
        manifest = shards.verify(values.data_dir, level=values.level)
        print(f"verified ({values.level}): all files agree with the manifest\n")
        print(describe(values.data_dir, manifest))
        print("\nbuild:", json.dumps(manifest["build"], sort_keys=True))
        print("notes:", json.dumps(manifest["notes"], indent=1))
        reader = shards.ShardReader(values.data_dir, values.split)
        rows = draw_rows(reader.index, values.per_class, values.seed)
        kind = reader.record_kind
        records = read_rows(reader, rows)
        for record in records:
            label, name = record.get("relation", ""), examples.id_of(kind, record)
            print(f"\n{label} {name}\n  {text_of(kind, record):.600}")
        if values.sheet and "image" in examples.fields_of(kind):
            title = f"{os.path.basename(os.path.normpath(values.data_dir))}: {values.split}"
            sheet = figures.pair_sheet([tile(kind, record) for record in records], title=title)
            print(f"\nwrote {figures.save(sheet, values.sheet)}")
    except (shards.ShardError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", None, "Folder of the shards.", required=True)
    flags.DEFINE_string("split", "test", "Split that texts and pictures are shown of.")
    flags.DEFINE_enum("level", "full", ["full", "size"], "full reads every byte, size is fast.")
    flags.DEFINE_string("sheet", None, "PNG file of the contact sheet.")
    flags.DEFINE_integer("per_class", 2, "Records of each class to show.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the records shown.")
    app.run(main)
