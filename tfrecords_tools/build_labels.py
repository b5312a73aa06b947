r"""Labelled photos to shards for the fusion classifier (Shah2019, Section 4.1).

    python -m tfrecords_tools.build_labels --output_dir=datasets/webvision \
        --webvision_dir=webvision/info --images_dir=webvision
    python -m tfrecords_tools.build_labels --output_dir=datasets/openimages \
        --openimages_dir=openimages --images_dir=openimages/images
    python -m tfrecords_tools.build_labels --output_dir=datasets/imagenet \
        --imagenet_dir=ILSVRC --images_dir=ILSVRC

Give one source. `labels.json` in the output folder names the labels in their order, with the terms
of each, which the zero-shot classifier looks for among the queries.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from imgtext_tf import filesystem
from imgtext_tf.data import files
from tfrecords_tools import photo_flags, photo_shards
from tfrecords_tools.build_settings import BuildError, runner_of
from tfrecords_tools.readers import base, imagenet_labels, openimages, webvision

LABELS = "labels.json"


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    output_dir: str
    images_dir: str
    webvision_dir: str | None = None
    webvision_part: str = ""
    openimages_dir: str | None = None
    imagenet_dir: str | None = None
    least_positives: int = openimages.TRAINABLE
    shard_mb: int = 128
    max_bad_records: float = 0.01
    kind: str = "real"
    processes: int = 1
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class _Source:
    """Photos, bad records, and the labels: dicts of `id`, `terms` and, if known, `trainable`."""

    name: str
    photos: list[photo_shards.Photo]
    bad: list[base.BadRecord]
    labels: list[dict[str, Any]]


def run(settings: Settings) -> dict[str, Any]:
    """Builds the data set, or finishes one that was stopped; returns a report.

    Raises:
        BuildError: if the folder holds another build, or not one source is given.
        base.ReaderError: if a source cannot be read.
        shards.ShardError: if a shard cannot be written.
    """
    readers = {
        "webvision_dir": _webvision,
        "openimages_dir": _openimages,
        "imagenet_dir": _imagenet,
    }
    given = [name for name in readers if getattr(settings, name)]
    if len(given) != 1:
        raise BuildError(f"give one of --{', --'.join(readers)}, not {len(given)}")
    source = readers[given[0]](settings)
    how = photo_shards.How(
        settings.output_dir,
        name=source.name,
        record_kind="image_labels",
        source=source.name,
        build={"labels": len(source.labels), "seed": settings.seed, "shard_mb": settings.shard_mb},
        kind=settings.kind,
        shard_mb=settings.shard_mb,
        max_bad_records=settings.max_bad_records,
        seed=settings.seed,
        runner=runner_of(settings),
    )
    filesystem.makedirs(settings.output_dir)
    report = photo_shards.write(source.photos, source.bad, how)
    files.write_json(os.path.join(settings.output_dir, LABELS), {"labels": source.labels})
    return report | {"labels": len(source.labels)}


def _webvision(settings: Settings) -> _Source:
    folder = settings.webvision_dir
    labels = [
        {"id": synset.wnid, "terms": list(synset.terms)}
        for synset in webvision.read_synsets(folder)
    ]
    photos, bad = [], []
    for item in webvision.read_files(folder, settings.images_dir, part=settings.webvision_part):
        if isinstance(item, base.BadRecord):
            bad.append(item)
        else:
            split, name, path, label = item
            fields = {"positives": [labels[label]["id"]], "negatives": []}
            photos.append(photo_shards.Photo(name, path, split, fields))
    return _Source("webvision", photos, bad, labels)


def _imagenet(settings: Settings) -> _Source:
    synsets, items = imagenet_labels.read(settings.imagenet_dir, settings.images_dir)
    labels = [{"id": wnid, "terms": list(terms)} for wnid, terms in synsets.items()]
    photos = [
        photo_shards.Photo(name, path, split, {"positives": [wnid], "negatives": []})
        for split, name, path, wnid in (i for i in items if not isinstance(i, base.BadRecord))
    ]
    bad = [item for item in items if isinstance(item, base.BadRecord)]
    return _Source("imagenet", photos, bad, labels)


def _openimages(settings: Settings) -> _Source:
    names = openimages.read_classes(settings.openimages_dir)
    listed = openimages.read_trainable(settings.openimages_dir)
    trainable = None if listed is None else set(listed)
    folders = openimages.image_folders(settings.images_dir)
    counts: collections.Counter = collections.Counter()
    photos, bad = [], []
    for item in openimages.read_labels(settings.openimages_dir):
        if isinstance(item, base.BadRecord):
            bad.append(item)
            continue
        split, image, positives, negatives = item
        try:
            path = base.inside(folders[split], f"{image}.jpg")
        except ValueError as error:
            bad.append(base.BadRecord(image, str(error)))
            continue
        if split == "train":
            counts.update(positives)
        fields = {"positives": positives, "negatives": negatives}
        photos.append(photo_shards.Photo(image, path, split, fields))
    labels = [
        {
            "id": label,
            "terms": [name],
            "train_positives": counts[label],
            "trainable": counts[label] >= settings.least_positives
            if trainable is None
            else label in trainable,
        }
        for label, name in names.items()
    ]
    return _Source("openimages", photos, bad, labels)


def define_flags() -> None:
    """Defines a flag for each setting."""
    flags.DEFINE_string("output_dir", None, "Folder of the shards; made where missing.")
    flags.DEFINE_string("images_dir", None, "Folder that the images' paths are relative to.")
    flags.DEFINE_string("webvision_dir", None, "WebVision's folder info.")
    flags.DEFINE_enum(
        "webvision_part", "", ["", "google", "flickr", "all"], "Which train list; empty: all."
    )
    flags.DEFINE_string("openimages_dir", None, "Folder of OpenImages' CSV files.")
    flags.DEFINE_string("imagenet_dir", None, "Folder of ImageNet's list of synsets.")
    flags.DEFINE_integer(
        "least_positives",
        Settings.least_positives,
        "Verified train positives of a trainable label, where OpenImages brings no list of them.",
    )
    photo_flags.define_flags(Settings)


def main(argv: Sequence[str]) -> None:
    """Fills the settings from the flags and runs the build."""
    photo_flags.run_build(argv, Settings, run)


if __name__ == "__main__":
    define_flags()
    app.run(main)
