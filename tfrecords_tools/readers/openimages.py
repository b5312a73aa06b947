"""OpenImages V4: image-level labels that people verified, as CSV files.

    {train,validation,test}-annotations-human-imagelabels.csv   ImageID,Source,LabelName,Confidence
    class-descriptions.csv       /m/0abc,Name (later releases have a header line)
    classes-trainable.txt        one /m/0abc a line; optional
    images/<ImageID>.jpg         or, as they are downloaded, images/{train,validation,test}/

Confidence 1 is a verified label, 0 one that was verified to be absent; what has no line is unknown.
The lines of an image follow each other, so that files of any size are read as a stream.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterable, Iterator

from imgtext_tf import filesystem
from tfrecords_tools.readers import base

FILES = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
_COLUMNS = ("ImageID", "LabelName", "Confidence")
# "At least 100 positive human-verified labels in the train split" (Shah2019, Section 4.2.3).
TRAINABLE = 100


def read_classes(folder: str | os.PathLike) -> dict[str, str]:
    """Label id -> name.

    Raises:
        base.ReaderError: if the file is missing or a line has not two columns.
    """
    path = os.path.join(folder, "class-descriptions.csv")
    names = {}
    text = base.decode(path, base.read_bytes(path))
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    for row in csv.reader(io.StringIO(text, newline="")):
        if len(row) != 2 or not all(row):
            raise base.ReaderError(f"{path}: expected /m/0abc,Name, found {row!r:.80}")
        if row[0] != "LabelName":
            names[row[0]] = row[1]
    return names


def read_trainable(folder: str | os.PathLike) -> list[str] | None:
    """The label ids of `classes-trainable.txt`; None where there is no such file."""
    path = os.path.join(folder, "classes-trainable.txt")
    if not filesystem.exists(path):
        return None
    labels = []
    for _, line in base.read_lines(path):
        if isinstance(line, base.BadRecord):
            raise base.ReaderError(line.reason)
        labels.append(line.strip())
    return labels


def image_folders(images_dir: str | os.PathLike) -> dict[str, str]:
    """Split -> the folder of its images: one of its own where there is one, else the common one."""
    found = {}
    for split, names in FILES.items():
        own = [os.path.join(images_dir, name) for name in names]
        found[split] = next(filter(filesystem.isdir, own), os.fspath(images_dir))
    return found


def read_labels(
    folder: str | os.PathLike,
) -> Iterator[tuple[str, str, list[str], list[str]] | base.BadRecord]:
    """Yields (split, image id, verified labels, labels verified to be absent).

    Where sources disagree about a label of an image, it is present.

    Raises:
        base.ReaderError: if there is no file of labels, or one lacks a column.
    """
    found = False
    for split, names in FILES.items():
        for name in names:
            path = os.path.join(folder, f"{name}-annotations-human-imagelabels.csv")
            if filesystem.exists(path):
                found = True
                yield from _read_file(path, split)
    if not found:
        raise base.ReaderError(
            f"{folder}: no train-annotations-human-imagelabels.csv; mend --openimages_dir"
        )


def _read_file(
    path: str, split: str
) -> Iterator[tuple[str, str, list[str], list[str]] | base.BadRecord]:
    # As a stream, and each image once its lines are there: the train file has 28 million lines.
    by_image = itertools.groupby(base.read_table(path, needed=_COLUMNS), key=_image_of)
    for image, rows in by_image:
        if image:
            yield _image(path, split, image, (row for _, row in rows))
            continue
        for name, row in rows:
            bad = isinstance(row, base.BadRecord)
            yield row if bad else base.BadRecord(name, "names no image")


def _image_of(named: tuple[str, dict[str, str] | base.BadRecord]) -> str:
    """The image of a line; "" for a line that names none."""
    row = named[1]
    return "" if isinstance(row, base.BadRecord) else row["ImageID"].strip()


def _image(
    path: str, split: str, image: str, lines: Iterable[dict[str, str]]
) -> tuple[str, str, list[str], list[str]] | base.BadRecord:
    labels: dict[str, float] = {}
    for line in lines:
        try:
            confidence = float(line["Confidence"])
            if not base.checked_name(line["LabelName"]) or not 0 <= confidence <= 1:
                raise ValueError
        except ValueError:
            return base.BadRecord(f"{path}: image {image}", f"bad line {line!s:.200}")
        labels[line["LabelName"]] = max(labels.get(line["LabelName"], 0), confidence)
    positives = sorted(label for label, confidence in labels.items() if confidence >= 0.5)
    return split, image, positives, sorted(set(labels) - set(positives))
