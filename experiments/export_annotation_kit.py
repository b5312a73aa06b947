r"""Writes a kit with which people label pairs of a data set without knowing their classes.

    python -m experiments.export_annotation_kit --data_dir=datasets/relations \
        --kit_dir=kit --annotators=ann,ben,cleo --per_class=100

Give `instructions.html` and each annotator's own page to the annotators; keep `key.csv`. The pages
are opened as files and need no network. `votes_<annotator>.csv` is an empty table for those who do
not use the page. What comes back is read by annotator_agreement.

Reference: Otto2020, Section 5.1.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import flags, logging

from experiments import common_flags, settings_flags
from imgtext_tf import annotation, annotation_page, figures, filesystem, relations
from imgtext_tf.annotation_page import Item
from imgtext_tf.data import examples, files, images, pipeline, shards

_PIXELS = 480
_WORD = re.compile(r"\w+")

flags.DEFINE_string("kit_dir", None, "Folder of the kit.")
flags.DEFINE_list("annotators", ["1", "2", "3"], "Names of the annotators (comma-separated).")
flags.DEFINE_integer("per_class", 100, "Pairs of each class.", lower_bound=1)
for _name in ("data_dir", "seed", "eval_split"):
    flags.declare_key_flag(_name)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; the flag of the same name says what each means."""

    data_dir: str
    kit_dir: str
    annotators: tuple[str, ...] = ("1", "2", "3")
    per_class: int = 100
    eval_split: str = "test"
    seed: int = 0


def run(settings: Settings) -> list[str]:
    """Draws the pairs and writes the kit.

    Returns:
        The files written.

    Raises:
        ShardError: if the data set is damaged.
        ValueError: if the names of the annotators are none, repeated, or no file names; if the data
            has other classes; if the folder is not empty.
    """
    names = settings.annotators
    if not names or len(set(names)) < len(names) or not all(map(_WORD.fullmatch, names)):
        raise ValueError(
            f"--annotators={','.join(names)}: give distinct names of letters and digits"
        )
    filesystem.must_be_local(settings.kit_dir, "people open the kit from a folder")
    if os.path.isdir(settings.kit_dir) and os.listdir(settings.kit_dir):
        raise ValueError(
            f"--kit_dir={settings.kit_dir} is not empty, and may hold votes: name a new folder"
        )
    found = shards.verify(settings.data_dir, level="size")
    reader = shards.ShardReader(settings.data_dir, settings.eval_split)
    if reader.record_kind != "relation" or reader.own_labels:
        raise ValueError(
            f"--data_dir={settings.data_dir}: the kit asks for Otto2020's eight classes, which "
            "these records have not; build relations without --labels"
        )
    rows = pipeline.balanced_rows(reader.index, settings.per_class, settings.seed)
    records = _records(reader, rows)
    shown = [_shown(record) for record in records]
    # Stands in every item's name, so that votes are never joined with the key of another kit.
    identity = [settings.seed, *names, *(record["id"] for record in records)]
    kit = hashlib.sha256("\n".join(map(str, identity)).encode()).hexdigest()[:8]
    shown_with_class = _examples(settings) if "train" in found["splits"] else []
    contents = {"instructions.html": annotation_page.instruction_sheet(shown_with_class)}
    key = []
    for number, name in enumerate(names):
        order = np.random.default_rng([settings.seed, number]).permutation(len(records))
        items = []
        for place, index in enumerate(order, start=1):
            item = f"{kit}-{place}"
            items.append(dataclasses.replace(shown[index], number=item))
            record = records[index]
            key.append(
                {
                    "annotator": name,
                    "item": item,
                    "pair": record["id"],
                    "automatic": record["relation"],
                }
            )
        contents[f"page_{name}.html"] = annotation_page.voting_page(items, annotator=name, kit=kit)
    written = []
    for file, content in contents.items():
        written.append(os.path.join(settings.kit_dir, file))
        files.write_file(written[-1], content.encode("utf-8"))
    for name in names:
        written.append(os.path.join(settings.kit_dir, f"votes_{name}.csv"))
        empty = [{"item": f"{kit}-{place}", "label": ""} for place in range(1, len(records) + 1)]
        annotation.write_table(written[-1], annotation.VOTE_COLUMNS, empty)
    written.append(os.path.join(settings.kit_dir, "key.csv"))
    annotation.write_table(written[-1], annotation.KEY_COLUMNS, key)
    logging.info("%d pairs for %d annotators in %s", len(records), len(names), settings.kit_dir)
    return written


def _records(reader: shards.ShardReader, rows: Sequence[int] | np.ndarray) -> list[dict]:
    return [
        examples.from_bytes("relation", data) for data in reader.read(np.asarray(rows, np.int64))
    ]


def _shown(record: dict, *, relation: str = "") -> Item:
    """A record without what could give it away: a small copy of the picture, and the text."""
    pixels = figures.thinned(images.checked_pixels(record["image"]), _PIXELS)
    jpeg = tf.io.encode_jpeg(pixels, quality=85).numpy()
    return Item("", jpeg, " ".join(record["sentences"]), relation)


def _examples(settings: Settings) -> list[Item]:
    """A pair of each class, from the train split: nobody is asked about these."""
    reader = shards.ShardReader(settings.data_dir, "train")
    rows = pipeline.balanced_rows(reader.index, 1, settings.seed)
    records = sorted(
        _records(reader, rows), key=lambda record: relations.RELATIONS.index(record["relation"])
    )
    return [_shown(record, relation=record["relation"]) for record in records]


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "kit_dir"])
    common_flags.run_main(main)
