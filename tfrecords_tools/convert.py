"""Converts public data sets of image-text relations to the project's JSONL.

    python -m tfrecords_tools.convert --dataset=kruk --images_dir=mdid/images \
        --input=splits/train_split_0.json,splits/val_split_0.json --output=kruk.jsonl
    python -m tfrecords_tools.build --jsonl=kruk.jsonl --jsonl_images=mdid/images --output_dir=kruk

The labels are mapped to Otto2020's classes approximately; docs/data.md has the mappings. Pairs
whose image is not there are left out and counted. `--list_urls` writes the missing images' file
names and addresses, where the data set has addresses, for whatever program fetches them.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import sys
from collections.abc import Sequence

from absl import app, flags

from imgtext_tf import filesystem
from imgtext_tf.data.files import ShardError, write_file
from tfrecords_tools import settings_flags
from tfrecords_tools.plan import BadRecordsError, check_bad
from tfrecords_tools.readers import base, relation_sets
from tfrecords_tools.readers.relation_sets import Record


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    dataset: str
    input: tuple[str, ...]
    output: str
    images_dir: str | None = None
    texts: str | None = None
    list_urls: str | None = None
    max_bad_records: float = 0.9  # a published file may have many


def run(settings: Settings) -> dict[str, int]:
    """Writes the JSONL.

    Returns:
        Counts: `written`, `class <name>`, `bad`, `image is missing` and `dropped: <reason>`.

    Raises:
        base.ReaderError: if a file cannot be read, or nothing is left to write.
        BadRecordsError: if too many records are bad.
        ShardError: if a file cannot be written.
    """
    if settings.dataset == "vempala" and not settings.texts:
        raise base.ReaderError("--dataset=vempala needs --texts: the CSV holds no tweets")
    more = {"texts": settings.texts} if settings.dataset == "vempala" else {}
    counts: collections.Counter[str] = collections.Counter()
    read = 0
    lines: dict[str, str] = {}
    missing: dict[str, str] = {}
    bad: list[base.BadRecord] = []
    for path in settings.input:
        for found in relation_sets.READERS[settings.dataset](path, **more):
            item = _with_safe_path(found)
            read += 1
            if isinstance(item, base.BadRecord):
                bad.append(item)
            elif isinstance(item, base.Dropped):
                counts[f"dropped: {item.reason}"] += 1
            elif item.id in lines:
                counts["dropped: id stands twice"] += 1
            elif not _has_image(item, settings.images_dir):
                counts["image is missing"] += 1
                missing[item.image] = item.url
            else:
                record = item.as_json(f"{settings.dataset}")
                lines[item.id] = json.dumps(record, ensure_ascii=False) + "\n"
                counts[f"class {item.label}"] += 1
    counts["bad"], counts["written"] = len(bad), len(lines)
    if settings.list_urls:
        rows = [f"{image}\t{url}\n" for image, url in sorted(missing.items()) if url]
        write_file(settings.list_urls, "".join(rows).encode("utf-8"))
    if bad:
        table = "".join(f"{one.id}\t{' '.join(one.reason.split())}\n" for one in bad)
        write_file(f"{settings.output}.bad.tsv", table.encode("utf-8", "backslashreplace"))
        check_bad(bad, read, settings.max_bad_records)
    if not lines:
        raise base.ReaderError(
            f"nothing to write: {dict(counts)}; is --images_dir the folder of the images?"
        )
    write_file(settings.output, "".join(lines.values()).encode("utf-8"))
    return dict(counts)


def _with_safe_path(item: relation_sets.Item) -> relation_sets.Item:
    """A bad record in place of one whose image lies anywhere, for a program that fetches it."""
    if not isinstance(item, Record):
        return item
    try:
        base.inside("images", item.image)
        row = f"{item.image} {item.url}"
        if "\t" in row or len(row.splitlines()) > 1:
            raise ValueError(f"image and address {row!r:.200} hold a tab or a line break")
        return item
    except ValueError as error:
        return base.BadRecord(" ".join(item.id.split()), str(error))


def _has_image(record: Record, folder: str | None) -> bool:
    if folder is None:
        return True
    path = base.inside(folder, record.image)
    return filesystem.isfile(path) and filesystem.size(path) > 0


def main(argv: Sequence[str]) -> None:
    """Fills the settings from the flags and converts."""
    if len(argv) > 1:
        raise app.UsageError(f"flags only, not {argv[1:]}")
    try:
        counts = run(settings_flags.read(Settings))
    except (base.ReaderError, BadRecordsError, ShardError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for name, count in sorted(counts.items()):
        print(f"{count:8} {name}")


def define_flags() -> None:
    """Defines a flag for each setting."""
    flags.DEFINE_enum("dataset", None, list(relation_sets.READERS), "Which one.", required=True)
    flags.DEFINE_list("input", None, "Its files of labels (comma-separated).", required=True)
    flags.DEFINE_string("output", None, "JSONL file to write.", required=True)
    flags.DEFINE_string("images_dir", None, "Folder of its images; default: do not look for them.")
    flags.DEFINE_string("texts", None, "Vempala's tweets: TSV of tweet id and text.")
    flags.DEFINE_float(
        "max_bad_records", Settings.max_bad_records, "Share of bad records above which it fails."
    )
    flags.DEFINE_string("list_urls", None, "TSV to write: name and address of missing images.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
