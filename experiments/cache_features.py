r"""Computes the features that a training reads with --cache_features, by processes or on a cluster.

    python -m experiments.cache_features --model=relations --data_dir=datasets/relations \
        --backbone=inception_v3 --image_size=299 --output_dir=features --processes=4
    python -m experiments.train_classic ... --cache_features=features

`--model` says who will read them: relations (whole maps, train_classic and train_metric), matching
(train_matching), phrases (train_phrases) or retrieval (region vectors, train_retrieval). The flags
of the backbone are those of that training, and so are the bytes. A stopped job goes on at the first
missing shard.
"""

from __future__ import annotations

import dataclasses

from absl import logging

from experiments import (
    common_flags,
    matching_data,
    matching_features,
    matching_flags,
    phrase_data,
    phrase_flags,
    relation_data,
    relation_flags,
    retrieval_data,
    retrieval_flags,
    settings_flags,
)
from imgtext_tf import training
from imgtext_tf.data import shards

MODELS = ("relations", "matching", "phrases", "retrieval")


@dataclasses.dataclass(frozen=True)
class Settings(settings_flags.RunnerSettings):
    """All settings; `HELP` says what each means."""

    model: str
    data_dir: str
    output_dir: str
    backbone: str
    backbone_weights: str = "imagenet"
    image_size: int = 224
    central_fraction: float = 1.0
    longest_side: int = 576
    rmac_levels: int = 2
    verify: str = "size"


HELP = settings_flags.RUNNER_HELP | {
    "model": "Whose training reads the features.",
    "output_dir": "Folder of the features; made where missing.",
    "backbone": "Image encoder: a Keras application in snake_case, a .keras file, or hub:<handle>.",
    "backbone_weights": "imagenet, none, or the path of a weights file.",
    "image_size": "Height and width in pixels; not for retrieval.",
    "central_fraction": "Share of height and width that is kept; not for retrieval.",
    "longest_side": "Pixels of the longest side; for retrieval.",
    "rmac_levels": "Levels of R-MAC's regions; for retrieval.",
}
CHOICES = settings_flags.RUNNER_CHOICES | {"model": MODELS}


def run(settings: Settings) -> str:
    """Computes the features of all splits, or finishes a job that was stopped; returns the folder.

    Raises:
        ShardError: if the data set is damaged, or a worker failed.
        FeatureError: if the folder holds other features.
    """
    training.set_seed(0)  # of a backbone without weights
    runner = settings.shard_runner()
    manifest = shards.verify(settings.data_dir, level=settings.verify)
    readers = {split: shards.ShardReader(settings.data_dir, split) for split in manifest["splits"]}
    common = {
        "data_dir": settings.data_dir,
        "run_dir": "",
        "backbone": settings.backbone,
        "backbone_weights": settings.backbone_weights,
        "tune_backbone": False,
        "cache_features": settings.output_dir,
    }
    view = {
        "image_size": settings.image_size,
        "central_fraction": settings.central_fraction,
    }
    if settings.model == "relations":
        asked = relation_flags.Settings(**common, **view)
        encoder = relation_data.open_encoder(asked)
        relation_data.open_features(asked, readers, encoder, runner)
    elif settings.model == "matching":
        common.pop("tune_backbone")  # the training's stages say it
        asked = matching_flags.Settings(**common, **view)
        encoder = matching_data.open_encoder(asked)
        matching_features.open_features(asked, list(readers.values()), encoder, runner)
    elif settings.model == "phrases":
        asked = phrase_flags.Settings(**common, **view)
        encoder = phrase_data.open_encoder(asked)
        phrase_data.open_features(asked, list(readers.values()), encoder, runner)
    else:
        asked = retrieval_flags.Settings(
            **common, longest_side=settings.longest_side, rmac_levels=settings.rmac_levels
        )
        encoder = retrieval_data.open_encoder(asked)
        retrieval_data.cached_regions(asked, encoder, runner)
    logging.info("features in %s", settings.output_dir)
    return settings.output_dir


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and computes."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES)
