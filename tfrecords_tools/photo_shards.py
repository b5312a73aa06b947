"""Photos with what is said about each, to shards: one record a photo, any record kind with images.

A build that was stopped goes on at the first missing shard when the same command runs again; equal
photos and settings give equal bytes.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from imgtext_tf import filesystem
from imgtext_tf.data import files, runners, shards
from tfrecords_tools import plan as planning
from tfrecords_tools import shard_tasks
from tfrecords_tools.build_settings import BuildError
from tfrecords_tools.claim import claim
from tfrecords_tools.readers import base
from tfrecords_tools.splits import digest

_PRECEDENCE = ("test", "val", "train")


@dataclasses.dataclass(frozen=True)
class Photo:
    """One record to be.

    Attributes:
        id: unique; names the record in every error.
        path: of the image file.
        split: "train", "val" or "test".
        fields: the fields of the record kind beside those that every image has.
    """

    id: str
    path: str
    split: str
    fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class PhotoTask:
    """What a worker needs to write one shard."""

    path: str
    photos: tuple[Photo, ...]
    image_ids: dict[str, str]
    record_kind: str
    source: str


@dataclasses.dataclass(frozen=True)
class How:
    """What the writing depends on beside the photos.

    Attributes:
        output_dir: made where missing.
        name: first part of the shards' names.
        record_kind: see `examples.KINDS`.
        source: stands in every record.
        build: the settings that stand in the manifest, JSON values without paths.
        kind: "real" or "synthetic".
        shard_mb: size of a shard in MiB, about.
        max_bad_records: the share of bad records above which the build fails.
        seed: of the order of the photos.
        runner: what writes the shards.
    """

    output_dir: str
    name: str
    record_kind: str
    source: str
    build: Mapping[str, Any]
    kind: str = "real"
    shard_mb: int = 128
    max_bad_records: float = 0.01
    seed: int = 0
    runner: runners.Runner = runners.LOCAL


def write(photos: Sequence[Photo], bad: Sequence[base.BadRecord], how: How) -> dict[str, Any]:
    """Writes the shards of all splits and the manifest.

    No image stands in two splits: by its content it goes to the first of test, val, train, and the
    other records of it are dropped and counted.

    Args:
        photos: of all splits, in any order.
        bad: records that the readers could not use.
        how: see `How`.

    Returns:
        A report: photos of each split, drops, bad records.

    Raises:
        BuildError: if the folder holds another build, or there is no photo.
        planning.BadRecordsError: if too many records are bad.
        shards.ShardError: if a file cannot be written.
    """
    filesystem.makedirs(how.output_dir)
    photos, unusable = _usable(photos)
    bad = [*bad, *unusable]
    image_ids, sizes, missing = planning.hash_images({photo.path for photo in photos})
    bad = [*bad, *(base.BadRecord(p.id, missing[p.path]) for p in photos if p.path in missing)]
    planning.check_bad(bad, len(photos) + len(bad), how.max_bad_records)
    photos, dropped = _without_leaks([p for p in photos if p.path not in missing], image_ids)
    if not photos:
        raise BuildError("there is no photo to write; mend the folder of the images")
    photos = sorted(photos, key=lambda photo: digest(how.seed, "order", photo.id))
    claim(how.output_dir, _fingerprint(how, photos, image_ids), how.build)
    tasks = _tasks(photos, image_ids, sizes, how)
    done: dict[str, shards.ShardInfo] = {}
    with tqdm(total=len(photos), desc="write", unit="photo") as progress:
        made = runners.map_shards(
            write_shard,
            [task for parts in tasks.values() for task in parts],
            how.runner,
            finished=shard_tasks.finished,
            folder=how.output_dir,
        )
        for task, info in made:
            done[task.path] = info
            progress.update(len(task.photos))
    infos = {split: [done[task.path] for task in parts] for split, parts in tasks.items()}
    unreadable = [reason for parts in infos.values() for info in parts for reason in info.bad]
    bad = [*bad, *(base.BadRecord(*one) for one in unreadable)]
    planning.check_bad(bad, len(photos) + len(bad), how.max_bad_records)
    report = {
        "photos": {split: sum(info.records for info in parts) for split, parts in infos.items()},
        "dropped": dict(sorted(dropped.items())),
        "bad records": len(bad),
    }
    lines = [f"{record.id}\t{' '.join(record.reason.split())}\n" for record in bad]
    files.write_file(
        os.path.join(how.output_dir, "bad_records.tsv"),
        "".join(sorted(lines)).encode("utf-8", "backslashreplace"),
    )
    shards.write_manifest(
        how.output_dir,
        name=how.name,
        record_kind=how.record_kind,
        kind=how.kind,
        build=how.build,
        splits=infos,
        notes=report,
    )
    return report


def _usable(photos: Sequence[Photo]) -> tuple[list[Photo], list[base.BadRecord]]:
    """The photos with ids that shards can hold, each once; and records of the others."""
    kept: dict[str, Photo] = {}
    bad = []
    for photo in photos:
        try:
            base.checked_name(photo.id)
            json.dumps(dict(photo.fields), ensure_ascii=False).encode("utf-8")
        except ValueError as error:
            bad.append(base.BadRecord(f"{photo.id!r:.80}", str(error)))
            continue
        if kept.setdefault(photo.id, photo) is not photo:
            bad.append(base.BadRecord(photo.id, "the id stands twice; make ids unique"))
    return list(kept.values()), bad


def _without_leaks(
    photos: Sequence[Photo], image_ids: Mapping[str, str]
) -> tuple[list[Photo], collections.Counter]:
    """Keeps one record an image, in the first of test, val, train that shows it."""
    dropped: collections.Counter = collections.Counter()
    taken: dict[str, Photo] = {}
    for photo in sorted(photos, key=lambda p: (_PRECEDENCE.index(p.split), p.id)):
        first = taken.setdefault(image_ids[photo.path], photo)
        if first is not photo:
            dropped[f"{photo.split} photo that stands in {first.split}, too"] += 1
    return list(taken.values()), dropped


def _fingerprint(how: How, photos: Sequence[Photo], image_ids: Mapping[str, str]) -> str:
    content = hashlib.sha256(json.dumps([dict(how.build), how.seed], sort_keys=True).encode())
    for photo in photos:
        record = [photo.id, photo.split, image_ids[photo.path], dict(photo.fields)]
        content.update(json.dumps(record, sort_keys=True).encode())
    return content.hexdigest()


def _tasks(
    photos: Sequence[Photo], image_ids: Mapping[str, str], sizes: Mapping[str, int], how: How
) -> dict[str, list[PhotoTask]]:
    """The shards of each split; a split without photos has none."""
    tasks: dict[str, list[PhotoTask]] = {}
    for split in base.SPLITS:
        chosen = [photo for photo in photos if photo.split == split]
        total = sum(sizes[photo.path] for photo in chosen)
        count = min(len(chosen), max(1, math.ceil(total / (how.shard_mb * 2**20))))
        for index in range(count):
            part = chosen[len(chosen) * index // count : len(chosen) * (index + 1) // count]
            path = shards.shard_path(how.output_dir, how.name, split, index, count)
            ids = {photo.path: image_ids[photo.path] for photo in part}
            task = PhotoTask(path, tuple(part), ids, how.record_kind, how.source)
            tasks.setdefault(split, []).append(task)
    return tasks


def write_shard(task: PhotoTask) -> shards.ShardInfo:
    """Writes the shard of a task.

    Raises:
        BuildError: if an image changed since it was planned.
        shards.ShardError: if a file cannot be written.
    """
    return shards.write_shard(task.path, task.record_kind, _records(task))


def _records(task: PhotoTask) -> Iterator[dict[str, Any] | base.BadRecord]:
    for photo in task.photos:
        image = shard_tasks.read_image(photo.path, task.image_ids[photo.path], None)
        if isinstance(image, str):
            yield base.BadRecord(photo.id, image)
            continue
        group = {"source": task.source, "group": image["image_id"]}
        yield {"id": photo.id} | image | group | dict(photo.fields)
