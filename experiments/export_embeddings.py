r"""Exports the embeddings that a trained run gives of a data set's images or texts, shard by shard.

    python -m experiments.export_embeddings --run_dir=runs/phrases --data_dir=datasets/queries \
        --split=train --output_dir=embeddings/train --processes=4
    python -m experiments.export_embeddings --run_dir=gs://mine/runs/phrases \
        --data_dir=gs://mine/queries --split=train --output_dir=gs://mine/embeddings \
        --runner=beam --beam_options=runner=DataflowRunner,project=mine,...

Runs of train_phrases (images), train_matching and train_retrieval (images or texts). For each shard
of the data there is one `.npy` [N, D] float32 with a list of ids; `embeddings.json` comes last. A
stopped export goes on at the first missing shard.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from absl import logging
from tqdm import tqdm

from experiments import common_flags, embedding_shards, settings_flags
from experiments.embedding_shards import EmbeddingTask
from imgtext_tf import filesystem, runs
from imgtext_tf.data import embeddings, runners, shards


@dataclasses.dataclass(frozen=True)
class Settings(settings_flags.RunnerSettings):
    """All settings; `HELP` says what each means."""

    run_dir: str
    data_dir: str
    output_dir: str
    split: str = "train"
    side: str = "image"
    which: str = "best"
    batch_size: int = 64
    verify: str = "size"


HELP = settings_flags.RUNNER_HELP | {
    "output_dir": "Folder of the embeddings; made where missing.",
    "split": "The split to embed.",
    "side": "What to embed: images, one row a record, or texts.",
}
CHOICES = settings_flags.RUNNER_CHOICES | {"side": embedding_shards.SIDES}


def run(settings: Settings) -> dict[str, Any]:
    """Exports, or finishes an export that was stopped; returns its manifest.

    Raises:
        RunError: if the run is not finished.
        ValueError: if it has no embeddings of this side.
        ShardError: if the data set is damaged, or the folder holds other embeddings.
    """
    runner = settings.shard_runner()
    manifest = shards.verify(settings.data_dir, settings.split, level=settings.verify)
    run_dir = runs.RunDirectory(settings.run_dir)
    model = run_dir.model_file(settings.which)
    if not model.exists():
        raise runs.RunError(f"{model} is missing: has this run been trained?")
    entry = manifest["splits"][settings.split]
    digests = [info["sha256"] for info in entry["shards"]]
    build = {
        "model_sha256": filesystem.sha256_of(model),
        "data": manifest["name"],
        "data_sha256": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        "split": settings.split,
        "side": settings.side,
        "batch_size": settings.batch_size,
    }
    embeddings.claim(settings.output_dir, build)
    count = len(digests)
    tasks = [
        EmbeddingTask(
            embeddings.shard_path(settings.output_dir, settings.split, number, count),
            settings.run_dir,
            settings.which,
            settings.side,
            settings.data_dir,
            settings.split,
            number,
            settings.batch_size,
        )
        for number in range(count)
    ]
    infos = {}
    made = runners.map_shards(
        embedding_shards.write_shard,
        tasks,
        runner,
        finished=embedding_shards.finished,
        folder=settings.output_dir,
        gpus=True,
    )
    for task, info in tqdm(made, total=count, desc="embed", unit="shard"):
        infos[task.path] = info
    found = embeddings.write_manifest(
        settings.output_dir,
        build=build,
        kind=manifest["kind"],
        infos=[infos[task.path] for task in tasks],
    )
    logging.info("%d embeddings of length %d", found["rows"], found["dim"])
    return found


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and exports."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES)
