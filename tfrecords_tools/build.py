r"""Raw data to TFRecord shards of image-text pairs with Otto2020's eight relation classes.

    python -m tfrecords_tools.build --output_dir=relations \
        --vist_dir=VIST --vist_images=VIST/images --coco_dir=COCO \
        --ads_dir=ads --ads_images=ads/images \
        --imagenet_dir=ILSVRC --imagenet_summaries=summaries.jsonl

Give the sources you have. A build that was stopped goes on at the first missing shard when the
same command runs again. docs/data.md shows the layouts and what is dropped and why.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags
from tqdm import tqdm

from imgtext_tf import filesystem, relations
from imgtext_tf.data import files, runners, shards
from imgtext_tf.data.antonyms import load_antonyms
from tfrecords_tools import build_command, build_settings, sources, splits
from tfrecords_tools import plan as planning
from tfrecords_tools.build_settings import (
    BuildError,
    Settings,
    check_settings,
    define_flags,
    from_flags,
    parse_caps,
    recorded,
)
from tfrecords_tools.claim import claim
from tfrecords_tools.readers import base
from tfrecords_tools.shard_tasks import ShardTask, finished, write_shard

BAD_RECORDS = "bad_records.tsv"
# Counted up when the same raw data and flags give other bytes than before.
FORMAT = 2

_LOG = logging.getLogger(__name__)


def run(settings: Settings) -> dict[str, Any]:
    """Builds a data set, or finishes one that was stopped.

    Returns:
        The plan's report with the counts of what was written.

    Raises:
        BuildError: if flags do not go together, or the folder holds another build.
        planning.PlanError: if too many records are bad.
        base.ReaderError: if a source cannot be read.
        shards.ShardError: if a shard cannot be written.
    """
    check_settings(settings)
    filesystem.makedirs(settings.output_dir)
    plan = _make_plan(settings)
    tasks = _tasks(plan, settings)
    claim(settings.output_dir, _fingerprint(plan, tasks, settings), recorded(settings))
    infos = _write_shards(tasks, plan, settings)
    return _finish(plan, infos, settings)


# Planning ----------------------------------------------------------------------------------------


def _make_plan(settings: Settings) -> planning.Plan:
    share, seed = settings.limit, settings.seed
    labelled = sources.limited(sources.read_labelled(settings), share, seed)
    items = sources.limited(sources.read_sources(settings), share, seed)
    if settings.swap_labelled:
        items, labelled = itertools.chain(items, labelled), iter(())
    try:
        antonyms = load_antonyms(settings.antonyms)
    except (OSError, ValueError) as error:
        raise BuildError(f"--antonyms: {error}") from None
    try:
        return planning.make_plan(
            items,
            antonyms,
            labelled=labelled,
            seed=seed,
            split_fractions=settings.split_fractions,
            caps=parse_caps(settings.caps, settings.labels),
            negatives_per_positive=settings.negatives_per_positive,
            max_sentences=settings.max_sentences,
            max_bad_records=settings.max_bad_records,
        )
    except planning.BadRecordsError as error:
        _write_bad(settings, error.bad)
        raise


def _tasks(plan: planning.Plan, settings: Settings) -> dict[str, list[ShardTask]]:
    """The shards of each split; a split without pairs has none."""
    tasks: dict[str, list[ShardTask]] = {}
    train = max(1, len(plan.pairs["train"]))
    for split, pairs in plan.pairs.items():
        size = sum(plan.image_bytes[pair.image_path] for pair in pairs)
        count = math.ceil(size / (settings.shard_mb * 2**20))
        if settings.shards:
            count = math.ceil(settings.shards * min(1.0, len(pairs) / train))
        count = min(max(1, count), len(pairs))
        bounds = [len(pairs) * index // max(1, count) for index in range(count + 1)]
        tasks[split] = []
        for index in range(count):
            part = pairs[bounds[index] : bounds[index + 1]]
            path = shards.shard_path(settings.output_dir, settings.name, split, index, count)
            ids = {pair.image_path: plan.image_ids[pair.image_path] for pair in part}
            tasks[split].append(ShardTask(path, part, ids, settings.resize))
    return {split: parts for split, parts in tasks.items() if parts}


def _fingerprint(plan: planning.Plan, tasks: Mapping, settings: Settings) -> str:
    """A digest of all that decides the bytes of the shards."""
    digest = hashlib.sha256(json.dumps([FORMAT, recorded(settings)], sort_keys=True).encode())
    for parts in tasks.values():
        for task in parts:
            digest.update(os.path.basename(task.path).encode())
            for pair in task.pairs:
                record = dataclasses.asdict(pair)
                record["image_path"] = plan.image_ids[pair.image_path]
                digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


# Writing -----------------------------------------------------------------------------------------


def _write_shards(
    tasks: Mapping[str, list[ShardTask]], plan: planning.Plan, settings: Settings
) -> dict[str, list[shards.ShardInfo]]:
    """Writes all shards that are missing and counts their bad records.

    Raises:
        planning.BadRecordsError: as soon as there are too many.
    """
    todo = [task for parts in tasks.values() for task in parts]
    infos: dict[str, shards.ShardInfo] = {}
    bad = list(plan.bad)
    with tqdm(total=sum(len(t.pairs) for t in todo), desc="write", unit="pair") as progress:
        made = runners.map_shards(
            write_shard,
            todo,
            build_settings.runner_of(settings),
            finished=finished,
            folder=settings.output_dir,
        )
        for task, info in made:
            infos[task.path] = info
            bad += [base.BadRecord(*record) for record in info.bad]
            progress.update(len(task.pairs))
            try:
                planning.check_bad(bad, plan.read, settings.max_bad_records)
            except planning.BadRecordsError:
                _write_bad(settings, bad)
                raise
    _write_bad(settings, bad)
    return {split: [infos[task.path] for task in parts] for split, parts in tasks.items()}


def _finish(
    plan: planning.Plan, infos: Mapping[str, list[shards.ShardInfo]], settings: Settings
) -> dict[str, Any]:
    """Writes the ids of the balanced sets, then the manifest, which marks the build as whole."""
    left_out = {record_id for parts in infos.values() for i in parts for record_id, _ in i.bad}
    written = {
        split: [pair for pair in pairs if pair.id not in left_out]
        for split, pairs in plan.pairs.items()
    }
    for split in ("val", "test"):
        ids = splits.balanced_ids(
            written[split], per_class=settings.balanced_per_class, seed=settings.seed
        )
        path = os.path.join(settings.output_dir, f"balanced_{split}_ids.txt")
        files.write_file(path, "".join(f"{record_id}\n" for record_id in ids).encode())
    report = {**plan.report, "bad records": len(plan.bad) + len(left_out)}
    if left_out:
        report |= planning.counts(written, plan.image_ids)
    shards.write_manifest(
        settings.output_dir,
        name=settings.name,
        record_kind="own_relation" if settings.labels else "relation",
        kind=settings.kind,
        build=recorded(settings),
        splits=infos,
        notes=report,
    )
    return report


def _write_bad(settings: Settings, bad: Sequence[base.BadRecord]) -> None:
    lines = [f"{record.id}\t{' '.join(record.reason.split())}\n" for record in bad]
    data = "".join(sorted(lines)).encode("utf-8", "backslashreplace")
    files.write_file(os.path.join(settings.output_dir, BAD_RECORDS), data)


def summary(report: Mapping[str, Any]) -> str:
    """A report as text: pairs of each class and split, drops and swap shares."""
    names = list(report["pairs"])
    lines = [f"{'pairs (distinct texts)':24}" + "".join(f"{split:>18}" for split in names)]
    found = {relation for counts in report["pairs"].values() for relation in counts}
    classes = relations.RELATIONS if found <= set(relations.RELATIONS) else sorted(found)
    for relation in classes:
        cells = [
            f"{report['pairs'][s].get(relation, 0)} "
            f"({report['distinct texts'][s].get(relation, 0)})"
            for s in names
        ]
        lines.append(f"{relation:24}" + "".join(f"{cell:>18}" for cell in cells))
    totals = [sum(report["pairs"][split].values()) for split in names]
    lines.append(f"{'all':24}" + "".join(f"{total:>18}" for total in totals))
    for reason, number in report["dropped"].items():
        lines.append(f"dropped {number:7}: {reason}")
    for relation, share in report["positives that yield a negative"].items():
        lines.append(
            f"{share['share']:.1%} of {share['positives']} {relation} pairs yield a negative "
            f"(paper: {share['paper']:.1%})"
        )
    lines.append(f"bad records: {report['bad records']} (listed in {BAD_RECORDS})")
    lines += [
        f"no pair in split {split}: training needs some; add sources or mend --split_fractions"
        for split, total in zip(names, totals, strict=True)
        if not total
    ]
    return "\n".join(lines)


# Command -----------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    """Fills the settings from the flags and runs the build."""
    print(summary(build_command.result_of(argv, lambda: run(from_flags()))))


if __name__ == "__main__":
    define_flags()
    flags.adopt_module_key_flags(build_settings)  # --help lists them
    app.run(main)
