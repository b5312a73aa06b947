r"""Makes a run's prototypes from exported embeddings, shard by shard (Shah2019, Eq. 2).

    python -m experiments.export_embeddings --run_dir=runs/phrases --data_dir=datasets/queries \
        --split=train --output_dir=embeddings/train
    python -m experiments.make_prototypes --run_dir=runs/phrases --data_dir=datasets/queries \
        --embeddings_dir=embeddings/train --output_dir=prototypes

For photos by the million: each shard is summed by itself, by processes or an Apache Beam runner,
and the sums are added in the order of the shards, so that the result does not depend on who was
first. The folder gets `prototypes.npz`, `phrases` (the index, as train_phrases makes it) and the
sums of the shards. `--install` puts prototypes and index into the run.

Reference: Shah2019, Eq. 2.
"""

from __future__ import annotations

import dataclasses
import os

from absl import logging
from tqdm import tqdm

from experiments import (
    common_flags,
    phrase_labels,
    phrase_prototypes,
    phrase_report,
    settings_flags,
)
from experiments.phrase_generation import index_settings
from experiments.phrase_prototypes import PrototypeTask
from imgtext_tf import filesystem, prototypes, runs, search
from imgtext_tf.data import embeddings, runners, shards


@dataclasses.dataclass(frozen=True)
class Settings(settings_flags.RunnerSettings):
    """All settings; `HELP` says what each means."""

    run_dir: str
    data_dir: str
    embeddings_dir: str
    output_dir: str
    split: str = "train"
    install: bool = False


HELP = settings_flags.RUNNER_HELP | {
    "embeddings_dir": "Folder of export_embeddings for the same shards, side image.",
    "output_dir": "Folder of the prototypes; made where missing.",
    "split": "The split whose photos are averaged.",
    "install": "Put prototypes and index into the run, in place of its own.",
}
CHOICES = settings_flags.RUNNER_CHOICES


def run(settings: Settings) -> prototypes.Prototypes:
    """Makes the prototypes, or finishes a pass that was stopped.

    Raises:
        RunError: if the folder holds no run of train_phrases.
        ShardError: if the embeddings are not of these shards, or the output is of others.
    """
    runner = settings.shard_runner()
    run_dir = runs.RunDirectory(settings.run_dir)
    saved = index_settings(run_dir)
    exported = embeddings.EmbeddingShards(settings.embeddings_dir)
    count = len(shards.load_manifest(settings.data_dir)["splits"][settings.split]["shards"])
    if exported.count != count:
        raise shards.ShardError(
            f"{settings.embeddings_dir}: has {exported.count} shards, split {settings.split} of "
            f"{settings.data_dir} {count}; export the embeddings of this split"
        )
    how = {name: saved[name] for name in ("normalize", "more_queries", "train_share")}
    how["left_out"] = sorted(phrase_labels.stems_in(saved.get("leave_out_labels", ())))
    embeddings.claim(settings.output_dir, how | {"embeddings": exported.manifest["build"]})
    tasks = [
        PrototypeTask(
            os.path.join(settings.output_dir, f"sums-{number:05d}-of-{count:05d}.npz"),
            settings.embeddings_dir,
            settings.data_dir,
            settings.split,
            number,
            **how,
        )
        for number in range(count)
    ]
    made = runners.map_shards(
        phrase_prototypes.write_shard,
        tasks,
        runner,
        finished=phrase_prototypes.finished,
        folder=settings.output_dir,
    )
    for _ in tqdm(made, total=count, desc="sum", unit="shard"):
        pass
    found = prototypes.Prototypes(exported.manifest["dim"], normalize=saved["normalize"])
    for task in tasks:  # in this order, whoever was done first: floats round
        found.merge(prototypes.Prototypes.load(task.path))
    _write(settings, found, saved, run_dir)
    return found


def _write(
    settings: Settings, found: prototypes.Prototypes, saved: dict, run_dir: runs.RunDirectory
) -> None:
    names, vectors, _ = found.vectors(min_count=saved["prototype_images"])
    index = search.build(saved["backend"], names, vectors)
    found.save(os.path.join(settings.output_dir, phrase_report.PROTOTYPES))
    index_dir = os.path.join(settings.output_dir, phrase_report.INDEX)
    if filesystem.is_remote(index_dir):
        with filesystem.staged(index_dir) as local:
            index.save(local)
    else:
        index.save(index_dir)
    logging.info("%d phrases of %s", len(names), settings.output_dir)
    if settings.install:
        with run_dir.locked():
            found.save(run_dir.path / phrase_report.PROTOTYPES)
            index.save(run_dir.path / phrase_report.INDEX)
        logging.info("%s has them now", settings.run_dir)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and makes the prototypes."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES)
