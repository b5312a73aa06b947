r"""Visual Genome to TFRecord shards of images with all their region descriptions.

    python -m tfrecords_tools.build_visual_genome --output_dir=datasets/vg \
        --vg_dir=VisualGenome --images_dir=VisualGenome

Splits come from `splits.json` (in --vg_dir, or --splits), else they are drawn by --seed. A build
that was stopped goes on at the first missing shard when the same command runs again.

Reference: Gordo2017, Sections 3 and 6.1.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from absl import app, flags
from tqdm import tqdm

from imgtext_tf import filesystem
from imgtext_tf.data import runners, shards
from tfrecords_tools import (
    build_command,
    build_settings,
    region_shards,
    settings_flags,
    shard_tasks,
    splits,
)
from tfrecords_tools import plan as planning
from tfrecords_tools.build_settings import BuildError
from tfrecords_tools.claim import claim
from tfrecords_tools.readers import base, visual_genome
from tfrecords_tools.readers.visual_genome import RegionImage
from tfrecords_tools.region_shards import RegionTask

NAME = "visual_genome"
# Counted up when the same raw data and flags give other bytes than before.
FORMAT = 3
_WINS = ("test", "val", "train")


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    output_dir: str
    vg_dir: str
    images_dir: str
    splits: str = ""
    split_sizes: tuple[int, ...] = (80_000, 10_000, 10_000)
    study_csv: str = ""
    longest_side: int = 576
    shard_mb: int = 128
    max_bad_records: float = 0.01
    kind: str = "real"
    processes: int = 1
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    seed: int = 0


def run(settings: Settings) -> dict[str, Any]:
    """Builds the data set, or finishes a build that was stopped; returns its report.

    Raises:
        BuildError: if the folder holds another build, or a split is empty.
        planning.PlanError: if too many records are bad.
        base.ReaderError: if a file cannot be read.
        shards.ShardError: if a shard cannot be written.
    """
    filesystem.makedirs(settings.output_dir)
    dropped: collections.Counter = collections.Counter()
    found, bad = _collect(settings, dropped)
    split_of = _splits(settings, [image.id for image in found])
    if unknown := len(set(split_of) - {image.id for image in found}):
        dropped["image of splits.json without a record"] += unknown
    chosen = [image for image in found if image.id in split_of]
    dropped["image of no split"] += len(found) - len(chosen)
    image_ids, sizes, missing = planning.hash_images({image.image_path for image in chosen})
    for image in chosen:
        if image.image_path in missing:
            bad.append(base.BadRecord(image.id, missing[image.image_path]))
    planning.check_bad(bad, len(found) + len(bad), settings.max_bad_records)
    chosen = [image for image in chosen if image.image_path not in missing]
    by_split = _without_copies(chosen, split_of, image_ids, dropped)
    if empty := [split for split, members in by_split.items() if not members]:
        raise BuildError(f"no image in split {', '.join(empty)}: look at the splits")
    tasks = {
        split: _tasks(split, members, image_ids, sizes, settings)
        for split, members in by_split.items()
    }
    claim(settings.output_dir, _fingerprint(settings, tasks), _recorded(settings))
    todo = [task for parts in tasks.values() for task in parts]
    infos: dict[str, shards.ShardInfo] = {}
    with tqdm(total=len(todo), desc="write", unit="shard") as bar:
        made = runners.map_shards(
            region_shards.write_shard,
            todo,
            build_settings.runner_of(settings),
            finished=shard_tasks.finished,
            folder=settings.output_dir,
        )
        for task, info in made:
            infos[task.path] = info
            bar.update()
    written = {split: [infos[task.path] for task in parts] for split, parts in tasks.items()}
    bad += [base.BadRecord(*one) for info in infos.values() for one in info.bad]
    planning.check_bad(bad, len(found) + len(bad), settings.max_bad_records)
    report = {
        "images": {split: sum(i.records for i in parts) for split, parts in written.items()},
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "bad records": len(bad),
    }
    shards.write_manifest(
        settings.output_dir,
        name=NAME,
        record_kind="image_captions",
        kind=settings.kind,
        build=_recorded(settings),
        splits=written,
        notes=report,
    )
    return report


def _collect(
    settings: Settings, dropped: collections.Counter
) -> tuple[list[RegionImage], list[base.BadRecord]]:
    found, bad = [], []
    items = visual_genome.read_images(settings.vg_dir, settings.images_dir, dropped=dropped)
    for item in tqdm(items, desc="read", unit="image", mininterval=1):
        if isinstance(item, RegionImage):
            found.append(item)
        elif isinstance(item, base.BadRecord):
            bad.append(item)
        else:
            dropped[item.reason] += 1
    return found, bad


def _splits(settings: Settings, ids: Sequence[str]) -> dict[str, str]:
    """Image id -> split, of a file or drawn; images of a user study never stand in train or val."""
    study = _study_images(settings.study_csv) if settings.study_csv else set()
    if study and study.isdisjoint(ids):
        raise base.ReaderError(
            f"{settings.study_csv}: no image of the study, such as {min(study)}, is in "
            f"{settings.vg_dir}: look at the ids"
        )
    path = settings.splits or os.path.join(settings.vg_dir, "splits.json")
    if settings.splits or filesystem.exists(path):
        split_of = visual_genome.read_splits(path)
        return {one: s for one, s in split_of.items() if one not in study or s == "test"}
    return visual_genome.draw_splits(ids, settings.split_sizes, seed=settings.seed, study=study)


def _study_images(path: str) -> set[str]:
    """The images of a study's `triplets.csv`.

    Raises:
        base.ReaderError: if it lacks a column.
    """
    found = set()
    names = ("query_id", "target_id1", "target_id2")
    for line, row in base.read_table(path, needed=names):
        if isinstance(row, base.BadRecord):
            raise base.ReaderError(f"{line}: {row.reason}")
        for name in names:
            if not row[name].strip():
                raise base.ReaderError(f"{line}: has no {name}")
            found.add(row[name].strip())
    return found


def _without_copies(
    found: Sequence[RegionImage],
    split_of: dict[str, str],
    image_ids: dict[str, str],
    dropped: collections.Counter,
) -> dict[str, list[RegionImage]]:
    """The images of each split; a file that stands in two splits stays in test, then in val."""
    taken: dict[str, str] = {}
    by_split: dict[str, list[RegionImage]] = {}
    for split in _WINS:
        by_split[split] = []
        for image in found:
            if split_of[image.id] != split:
                continue
            if image_ids[image.image_path] in taken:
                dropped[f"{split} image whose copy stands in {taken[image_ids[image.image_path]]}"
                        ] += 1  # fmt: skip
                continue
            taken[image_ids[image.image_path]] = split
            by_split[split].append(image)
    return {split: by_split[split] for split in base.SPLITS}


def _tasks(
    split: str,
    members: list[RegionImage],
    image_ids: dict[str, str],
    sizes: dict[str, int],
    settings: Settings,
) -> list[RegionTask]:
    order = sorted(members, key=lambda image: splits.digest(settings.seed, "order", image.id))
    size = sum(sizes[image.image_path] for image in order)
    count = min(len(order), max(1, math.ceil(size / (settings.shard_mb * 2**20))))
    bounds = [len(order) * index // count for index in range(count + 1)]
    tasks = []
    for index in range(count):
        part = order[bounds[index] : bounds[index + 1]]
        path = shards.shard_path(settings.output_dir, NAME, split, index, count)
        ids = {image.image_path: image_ids[image.image_path] for image in part}
        tasks.append(RegionTask(path, part, ids, settings.longest_side))
    return tasks


def _recorded(settings: Settings) -> dict[str, Any]:
    """The settings that decide a build's bytes, without paths."""
    names = ("split_sizes", "longest_side", "shard_mb", "kind", "seed")
    return {name: json.loads(json.dumps(getattr(settings, name))) for name in names}


def _fingerprint(settings: Settings, tasks: dict[str, list[RegionTask]]) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, _recorded(settings)], sort_keys=True).encode())
    for task in (task for parts in tasks.values() for task in parts):
        digest.update(os.path.basename(task.path).encode())
        for image in task.images:
            record = dataclasses.asdict(image) | {"image_path": task.image_ids[image.image_path]}
            digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


def define_flags() -> None:
    """Defines a flag for each setting."""
    flags.DEFINE_string("output_dir", None, "Folder of the shards.", required=True)
    flags.DEFINE_string("vg_dir", None, "Folder of Visual Genome's JSON files.", required=True)
    flags.DEFINE_string(
        "images_dir", None, "Folder of VG_100K and VG_100K_2, or of the images.", required=True
    )
    flags.DEFINE_string(
        "splits", "", "JSON of image ids under train, val, test; default: splits.json of --vg_dir."
    )
    flags.DEFINE_list(
        "split_sizes",
        [str(size) for size in Settings.split_sizes],
        "Images of train, val and test, drawn where there is no file (Section 3).",
    )
    flags.DEFINE_string(
        "study_csv", "", "triplets.csv of a user study: its images are kept out of train and val."
    )
    flags.DEFINE_integer(
        "longest_side",
        Settings.longest_side,
        "Larger images are scaled down to this longest side, in pixels (Section 6.1); 0: as found.",
        lower_bound=0,
    )
    flags.DEFINE_integer("shard_mb", Settings.shard_mb, "Size of a shard in MiB.", lower_bound=1)
    flags.DEFINE_float(
        "max_bad_records", Settings.max_bad_records, "Share of bad records that fails the build."
    )
    flags.DEFINE_enum("kind", Settings.kind, ["real", "synthetic"], "Stands in the manifest.")
    build_settings.define_runner_flags()
    flags.DEFINE_integer("seed", Settings.seed, "Seed of splits and order.")


def main(argv: Sequence[str]) -> None:
    """Fills the settings from the flags and runs the build."""
    report = build_command.result_of(argv, lambda: run(settings_flags.read(Settings)))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    define_flags()
    app.run(main)
