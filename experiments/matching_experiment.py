"""Training in stages: what train_matching runs.

Each stage is a run of its own in the folder `stages` of the run directory, so that a stopped
training goes on inside the stage where it was.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from absl import logging

from experiments import (
    matching_data,
    matching_features,
    matching_report,
    matching_start,
    matching_trained,
    matching_watch,
    run_steps,
)
from experiments.matching_data import Batches, Data, Part
from experiments.matching_flags import DIGEST, EVALUATION, Settings, parse_stages
from imgtext_tf import distribution, runs, training
from imgtext_tf.data import caption_batches, text
from imgtext_tf.models import sentence_matching
from imgtext_tf.models.sentence_matching import SentenceMatching
from imgtext_tf.stages import Stage

_MONITOR = "val/rsum"


def run(settings: Settings) -> dict[str, Any]:
    """Trains all stages, from where an earlier run stopped, and evaluates.

    With `eval_only` the run's own settings count, whatever the command line says about the model.

    Returns:
        What `result.json` holds; the outcome of `training.fit` if a signal stopped the training.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    if settings.eval_only:
        one = matching_trained.open_trained(settings)
        return matching_report.report(one.data, one.model, one.batches, run_dir, {})
    training.set_precision(settings.mixed_precision, scaled=False)
    stages = parse_stages(settings)
    if "triplet" not in stages[0].losses and not settings.start:
        raise ValueError(f"--stages: {stages[0].name} comes first and trains no triplets: give the "
                         "run that it goes on from, --start=<run>")  # fmt: skip
    # Before the data: a backbone without given weights starts at random, too.
    training.set_seed(settings.seed, settings.deterministic)
    data = matching_data.open_data(settings)
    with run_dir.locked():
        run_dir.begin(
            dataclasses.asdict(settings) | {DIGEST: data.digest},
            script="experiments.train_matching",
            module=sentence_matching.__name__,
            # What drop_shared_captions has dropped is told by the digest.
            may_change={
                *runs.MAY_CHANGE,
                *EVALUATION,
                *("checkpoint_every", "cache_features", "drop_shared_captions"),
            },
        )
        outcome, model, vocabulary = train(data, stages, run_dir, ("train",), val=data.parts["val"])
        if outcome["status"] == "stopped":
            return outcome
        if settings.refit:
            chosen = tuple(
                matching_start.chosen(stage, done)
                for stage, done in zip(stages, outcome["stages"], strict=False)
            )
            logging.info("again on train and val: %s", {s.name: s.steps for s in chosen})
            refit_dir = runs.RunDirectory(run_dir.path / "refit")
            splits = ("train", "val")
            again, model, vocabulary = train(data, chosen, refit_dir, splits, of=stages)
            if again["status"] == "stopped":
                return again
            outcome = again | {"chosen": outcome["stages"]}
        if not distribution.is_chief():
            return outcome
        run_dir.save_model(model, "best")
        describe(data, vocabulary, run_dir)
        batches = Batches(data.parts[settings.eval_split], vocabulary, settings, settings.seed)
        return matching_report.report(data, model, batches, run_dir, outcome)


def train(
    data: Data,
    stages: tuple[Stage, ...],
    run_dir: runs.RunDirectory,
    splits: tuple[str, ...],
    *,
    val: Part | None = None,
    of: tuple[Stage, ...] | None = None,
) -> tuple[dict[str, Any], SentenceMatching, text.Vocabulary]:
    """Trains the stages one after another on some splits.

    Args:
        data: the opened data set.
        stages: to train.
        run_dir: holds the folder `stages`.
        splits: to train on.
        val: to choose the best weights of each stage on; None: the last ones count.
        of: the stages of which these are the beginnings: their schedules count.

    Returns:
        (status, steps, seconds and outcome of each stage; the model; its vocabulary).
    """
    settings = data.settings
    part = data.joined(splits)
    vocabulary, vectors = matching_data.open_vocabulary(settings, part.captions)
    training.set_seed(settings.seed, settings.deterministic)
    model = build_model(data, vocabulary, vectors)
    if settings.start:
        matching_start.take_start(model, vocabulary, data, refit=val is None)
    stages_dir = run_dir.path / "stages"
    stages_dir.mkdir(parents=True, exist_ok=True)
    vocabulary.save(stages_dir / matching_start.VOCABULARY)
    logging.info(
        "%d images, %d captions, %d words, %d parameters",
        len(part.captions.image_ids), len(part.captions.texts), len(vocabulary),
        model.count_params(),
    )  # fmt: skip
    left, outcomes = settings.max_steps, []
    for number, stage in enumerate(stages):
        if left <= 0:
            break
        with distribution.scope():
            model.begin_stage(stage if of is None else of[number])
        # Other orders in each stage, from one seed.
        seed = settings.seed + 1000 * number
        batches = Batches(part, vocabulary, settings, seed)
        on_val = val and Batches(val, vocabulary, settings, seed)
        done = _train_stage(model, stage, run_dir, batches, on_val, steps=min(stage.steps, left))
        outcomes.append({"name": stage.name, **done})
        if done["status"] == "stopped":
            break
        left -= done["step"]
        logging.info("stage %s: %s", stage.name, done)
    summary = {
        "status": outcomes[-1]["status"],
        "steps": sum(done["step"] for done in outcomes),
        "seconds": sum(done["seconds"] for done in outcomes),
        "stages": outcomes,
    }
    return summary, model, vocabulary


def _train_stage(
    model: SentenceMatching,
    stage: Stage,
    run_dir: runs.RunDirectory,
    batches: Batches,
    on_val: Batches | None,
    *,
    steps: int,
) -> dict[str, Any]:
    """Trains one stage, leaves the weights that the next begins with: outcome of `training.fit`."""
    settings = batches.settings
    stage_dir = runs.RunDirectory(run_dir.path / "stages" / stage.name)
    evaluate = None
    if on_val is not None:
        evaluate = functools.partial(matching_report.on_val, batches=on_val, seed=settings.seed)
    done = training.fit(
        model,
        batches.training,
        run=stage_dir,
        **run_steps.schedule(settings, max_steps=steps, seed=batches.seed, monitor=_MONITOR),
        evaluate=evaluate,
        callbacks=[matching_watch.Watch(stage, settings.batch_size)],
        board=training.Board(run_dir.tensorboard / stage.name),
        batch_ids=caption_batches.training_ids(
            batches.part.captions,
            batches.word_ids,
            batch_size=settings.batch_size,
            seed=batches.seed,
            by_length=settings.by_length,
        ),
        sliced=True,
    )
    if not distribution.ends_here(done) and on_val is not None:
        best = stage_dir.model_file("best")
        if matching_start.chooses(settings, stage) and best.exists():
            matching_start.take_weights(model, best)
        matching_report.show_stage(model, stage, on_val, run_dir, done["step"])
    return done


@distribution.scoped
def build_model(
    data: Data, vocabulary: text.Vocabulary, vectors: np.ndarray | None
) -> SentenceMatching:
    """The model of the settings, with new weights."""
    settings = data.settings
    live = settings.live_images
    shape = data.encoder.output_shape[1:] if live else data.parts["train"].source.shape
    center = None
    if settings.center_features:
        part = data.parts["train"]
        center = matching_features.mean_features(
            part.source, len(part.captions.image_ids), unit=settings.normalize_features
        )
    common = {"embed_dim": settings.embed_dim, "absolute": settings.absolute, "seed": settings.seed}
    images = sentence_matching.image_branch(
        shape,
        pooling=settings.image_pooling,
        normalize_input=settings.normalize_features,
        center=center,
        hidden=settings.image_hidden,
        dropout=settings.image_dropout,
        unit=settings.unit_images,
        **common,
    )
    texts = sentence_matching.text_branch(
        len(vocabulary),
        word_dim=settings.word_dim,
        word_vectors=vectors,
        train_vectors=settings.train_vectors,
        bidirectional=settings.bidirectional,
        gru_layers=settings.gru_layers,
        pooling=settings.text_pooling,
        dropout=settings.word_dropout,
        **common,
    )
    classifier = sentence_matching.modality_classifier(
        settings.embed_dim,
        units=settings.classifier_units,
        dropout=settings.classifier_dropout,
        seed=settings.seed,
    )
    return SentenceMatching(
        images,
        texts,
        classifier,
        backbone=data.encoder if live else None,
        measure=settings.measure,
    )


def describe(data: Data, vocabulary: text.Vocabulary, run_dir: runs.RunDirectory) -> None:
    """Writes what is needed beside the weights to use the model."""
    settings = data.settings
    run_dir.describe_model(
        labels=("text", "image"),
        vocabulary=vocabulary.words,
        preprocessing={
            "image_size": settings.image_size,
            "central_fraction": settings.central_fraction,
            "max_words": settings.max_words,
            "tokens": settings.tokens,
            "features": "maps" if settings.feature_maps or settings.live_images else "pooled",
        },
    )
    if data.encoder is not None and not settings.live_images:
        run_dir.save_backbone(data.encoder)
