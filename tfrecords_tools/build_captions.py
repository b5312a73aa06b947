r"""Images with captions to TFRecord shards of kind "image_captions": an image once, all captions.

    python -m tfrecords_tools.build_captions --output_dir=flickr8k_captions \
        --karpathy_json=dataset_flickr8k.json --karpathy_images=Flicker8k_Dataset

Reads Karpathy's dataset_{flickr8k,flickr30k,coco}.json with their splits. The order of each split
is the file's, since folds of an evaluation are cut in this order. A build that was stopped goes on
at the first missing shard when the same command runs again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app
from tqdm import tqdm

from imgtext_tf import filesystem
from imgtext_tf.data import runners, shards
from tfrecords_tools import build_command, caption_plan, caption_shards, settings_flags, shard_tasks
from tfrecords_tools.build_settings import RUNNER_HELP, BuildError, runner_of
from tfrecords_tools.caption_plan import BAD_RECORDS, Image, Settings
from tfrecords_tools.caption_shards import CaptionTask
from tfrecords_tools.claim import claim
from tfrecords_tools.readers import base

# Counted up when the same raw data and flags give other bytes than before.
FORMAT = 2


def run(settings: Settings) -> dict[str, Any]:
    """Builds a data set, or finishes one that was stopped.

    Returns:
        The report: images and captions of each split, drops, bad records.

    Raises:
        BuildError: if flags do not go together, or the folder holds another build.
        planning.PlanError: if too many records are bad.
        base.ReaderError: if the source cannot be read.
        shards.ShardError: if a shard cannot be written.
    """
    if not 0 < settings.limit <= 1 or settings.shard_mb < 1 or settings.processes < 1:
        raise BuildError("--limit must be in (0, 1], --shard_mb and --processes at least 1")
    filesystem.makedirs(settings.output_dir)
    name, images, sizes, bad, dropped = caption_plan.make_plan(settings)
    tasks = _tasks(settings, name, images, sizes)
    claim(settings.output_dir, _fingerprint(settings, images), _recorded(settings))
    infos: dict[str, shards.ShardInfo] = {}
    with tqdm(total=len(images), desc="write", unit="image") as progress:
        todo = [task for parts in tasks.values() for task in parts]
        made = runners.map_shards(
            caption_shards.write_shard,
            todo,
            runner_of(settings),
            finished=shard_tasks.finished,
            folder=settings.output_dir,
        )
        for task, info in made:
            infos[task.path] = info
            bad += [base.BadRecord(*record) for record in info.bad]
            progress.update(len(task.images))
    caption_plan.check_bad(settings, bad, len(images) + len(bad))
    left_out = {record_id for info in infos.values() for record_id, _ in info.bad}
    written = [image for image in images if image.id not in left_out]
    report = {**_counts(written), "dropped": dict(sorted(dropped.items())), "bad records": len(bad)}
    shards.write_manifest(
        settings.output_dir,
        name=name,
        record_kind="image_captions",
        kind=settings.kind,
        build=_recorded(settings),
        splits={split: [infos[task.path] for task in parts] for split, parts in tasks.items()},
        notes=report,
    )
    return report


def _tasks(
    settings: Settings, name: str, images: Sequence[Image], sizes: Mapping[str, int]
) -> dict[str, list[CaptionTask]]:
    tasks = {}
    for split in base.SPLITS:
        own = [image for image in images if image.split == split]
        size = sum(sizes[image.path] for image in own)
        count = min(max(1, math.ceil(size / (settings.shard_mb * 2**20))), len(own))
        bounds = [len(own) * index // max(1, count) for index in range(count + 1)]
        if own:
            tasks[split] = [
                CaptionTask(
                    shards.shard_path(settings.output_dir, name, split, index, count),
                    tuple(own[bounds[index] : bounds[index + 1]]),
                    settings.resize,
                )
                for index in range(count)
            ]
    return tasks


def _recorded(settings: Settings) -> dict[str, Any]:
    """The settings that decide the bytes, without paths."""
    left_out = {
        *("output_dir", "karpathy_json", "karpathy_images", "max_bad_records"),
        *("processes", "runner", "beam_options"),
    }
    return {k: v for k, v in dataclasses.asdict(settings).items() if k not in left_out}


def _fingerprint(settings: Settings, images: Sequence[Image]) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, _recorded(settings)], sort_keys=True).encode())
    for image in images:
        record = dataclasses.asdict(image) | {"path": image.image_id}
        digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


def _counts(images: Sequence[Image]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {"images": {}, "captions": {}}
    for split in base.SPLITS:
        own = [image for image in images if image.split == split]
        counts["images"][split] = len(own)
        counts["captions"][split] = sum(len(image.captions) for image in own)
    return counts


HELP = {
    "output_dir": "Folder of the shards; made where missing.",
    "karpathy_json": "Karpathy's dataset_flickr8k.json, dataset_flickr30k.json, dataset_coco.json.",
    "karpathy_images": "Folder of its images (COCO: the one that holds train2014 and val2014).",
    "restval": "Take COCO's split restval for training, as everybody does; else leave it out.",
    "drop_shared_captions": "Leave out train captions that stand word for word in val or test.",
    "captions_per_image": "Keep the first so many captions of an image; 0: all.",
    "limit": "Share of the images to take, seeded: 0.01 tries 1 % first.",
    "max_bad_records": "Share of bad records above which the build fails.",
    "resize": "Scale images with a longer shorter side to this one, in pixels; default: as found.",
    "shard_mb": "Size of a shard in MiB, about.",
    "kind": "Whether the data is real or synthetic; stands in the manifest.",
    **RUNNER_HELP,
    "seed": "Seed of --limit; same data, flags and seed give the same bytes.",
}
CHOICES = {"kind": ("real", "synthetic"), "runner": runners.RUNNERS}


def main(argv: Sequence[str]) -> None:
    """Fills the settings from the flags and runs the build."""
    report = build_command.result_of(argv, lambda: run(settings_flags.read(Settings)))
    for split in base.SPLITS:
        print(f"{split:5} {report['images'][split]:8} images {report['captions'][split]:8} "
              "captions")  # fmt: skip
    for reason, number in report["dropped"].items():
        if number:
            print(f"dropped {number:7}: {reason}")
    print(f"bad records: {report['bad records']} (listed in {BAD_RECORDS})")


if __name__ == "__main__":
    settings_flags.define(Settings, HELP, CHOICES)
    app.run(main)
