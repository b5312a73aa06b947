r"""Classifies photos by the phrase generator alone: the label whose term is nearest (Section 4.3).

    python -m experiments.evaluate_zero_shot --flagfile=shah2019/small_zero_shot.flags \
        --data_dir=datasets/webvision --run_dir=runs/zero_shot --generator=runs/phrases \
        --backbone=efficientnet_lite0.keras --eval_split=val

A term that is a query has that query's vector. For other terms a text model is trained here that
maps the base queries to their vectors. Of several terms of a label the nearest counts. Everything
stands twice: with all queries, and without those that hold a word of a label. No photo is trained
on: of a small set `--splits=train,val` takes them all, but those of the generator.

Reference: Shah2019, Section 4.3.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from experiments import (
    common_flags,
    fusion_data,
    phrase_generation,
    phrase_labels,
    run_steps,
    settings_flags,
)
from experiments.fusion_flags import Settings as FusionSettings
from imgtext_tf import distribution, optimizers, runs, training
from imgtext_tf.data import grams
from imgtext_tf.metrics import classification, multilabel
from imgtext_tf.models import query_encoder


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run; `HELP` says what each means."""

    data_dir: str
    run_dir: str
    generator: str
    backbone: str = "resnet101"
    backbone_weights: str = "imagenet"
    image_size: int = 224
    central_fraction: float = 1.0
    cache_features: str = "auto"
    output_space: str = "small"
    buckets: int = 2**16
    dropout: float = 0.2
    learning_rate: float = 0.002
    batch_size: int = 256
    max_steps: int = 2000
    seed: int = 0
    deterministic: bool = False
    verify: str = "full"
    eval_split: str = "test"
    splits: tuple[str, ...] = ()


HELP = {
    "generator": "Run folder of train_phrases.",
    "backbone": "The generator's backbone; another one only costs time.",
    "backbone_weights": "imagenet, none, or the path of a weights file.",
    "image_size": "Height and width in pixels.",
    "central_fraction": "Share of height and width that is kept of an image.",
    "cache_features": "Folder of the pooled features; 'auto' is a folder beside the shards.",
    "output_space": "small: w_c of the softmax (Section 4.3); large: prototypes.",
    "buckets": "Hash buckets of the text model of terms.",
    "dropout": "Rate in the text model of terms.",
    "learning_rate": "Of the text model of terms.",
    "splits": "Splits to classify (comma-separated), in place of --eval_split.",
}
CHOICES = {"output_space": ("small", "large")}


def run(settings: Settings) -> dict[str, Any]:
    """Trains the text models of terms and classifies the photos of a split.

    Returns:
        What `result.json` holds; the outcome of `training.fit` if a signal stopped the training.

    Raises:
        ShardError: if the data set is damaged.
        RunError: if the run directory holds a run of other settings, or is in use.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    labels = phrase_labels.read_labels(settings.data_dir)
    fusion = FusionSettings(
        text_encoder="",
        **{
            name: getattr(settings, name)
            for name in (
                *("data_dir", "run_dir", "generator", "backbone", "backbone_weights"),
                *("image_size", "central_fraction", "cache_features", "verify", "eval_split"),
            )
        },
    )
    with run_dir.locked():
        run_dir.begin(
            dataclasses.asdict(settings)
            | {"data": fusion_data.description(fusion)}
            | fusion_data.fingerprints(fusion),
            script="experiments.evaluate_zero_shot",
            module=query_encoder.__name__,
        )
        # A backbone without weights is drawn here.
        training.set_seed(settings.seed, settings.deterministic)
        splits = settings.splits or (settings.eval_split,)
        opened = fusion_data.open_photos(fusion, labels, splits=splits)
        photos = fusion_data.Photos.joined(list(opened.values()))
        names, vectors = phrase_generation.output_space(settings.generator, settings.output_space)
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        stems = phrase_labels.label_stems(labels.terms)
        without = [not stems & phrase_labels.stems_of(name) for name in names]
        metrics: dict[str, Any] = {}
        seconds = 0.0
        for phrase_set, kept in (("all", [True] * len(names)), ("without_labels", without)):
            rows = np.flatnonzero(kept)
            known = {names[row]: vectors[row] for row in rows}
            model, outcome = _term_model(settings, known, phrase_set)
            if outcome["status"] == "stopped":
                return outcome
            seconds += outcome["seconds"]
            scores, share = _scores(settings, model, known, labels.terms, photos.phrase)
            found = _metrics(settings, labels, scores, photos.labels)
            found |= {"queries": len(rows), "terms_that_are_queries": share}
            metrics |= {f"{phrase_set}/{name}": value for name, value in found.items()}
        if not distribution.is_chief():
            return outcome
        for name, value in metrics.items():
            logging.info("%s: %.4f", name, value)
        return run_dir.write_result(
            metrics=metrics,
            seed=settings.seed,
            dataset=fusion_data.description(fusion),
            steps=settings.max_steps,
            seconds=seconds,
            parameters=model.count_params(),
            command=run_steps.command("experiments.evaluate_zero_shot"),
        )


def _term_model(
    settings: Settings, known: dict[str, np.ndarray], phrase_set: str
) -> tuple[keras.Model, dict[str, Any]]:
    """The model text -> vector of a query, trained on the base queries: (model, outcome)."""
    training.set_seed(settings.seed, settings.deterministic)
    with distribution.scope():
        model = query_encoder.query_encoder(
            buckets=settings.buckets,
            dim=next(iter(known.values())).shape[0],
            dropout=settings.dropout,
            seed=settings.seed,
        )
        # 1 - cos: the distance that the photos are compared by.
        loss = {"embedding": keras.losses.CosineSimilarity()}
        # Named: Keras would count the optimizers that the process has made.
        optimizer = optimizers.LazyAdam(settings.learning_rate, name="lazy_adam")
        model.compile(optimizer=optimizer, loss=loss)
    folder = runs.RunDirectory(os.path.join(settings.run_dir, "terms", phrase_set))
    outcome = training.fit(
        model,
        functools.partial(_batches, settings, list(known), np.array(list(known.values()))),
        run=folder,
        max_steps=settings.max_steps,
        checkpoint_every=settings.max_steps,
        seed=settings.seed,
        deterministic=settings.deterministic,
        batch_ids=lambda step: [list(known)[row] for row in _rows(settings, len(known), step)],
    )
    return model, outcome


def _rows(settings: Settings, names: int, step: int) -> np.ndarray:
    """The queries of a training batch, numbered from 0: [B] int64."""
    size = min(settings.batch_size, names)
    epoch, place = divmod(step, names // size)
    order = np.random.default_rng([settings.seed, epoch]).permutation(names)
    return order[place * size : (place + 1) * size].astype(np.int64)


def _batches(
    settings: Settings, names: Sequence[str], vectors: np.ndarray, start_step: int, num_steps: int
) -> tf.data.Dataset:
    size = min(settings.batch_size, len(names))
    ids, targets = _grams(settings, names), tf.constant(vectors)

    def rows_of(step: np.ndarray) -> np.ndarray:
        return _rows(settings, len(names), int(step))

    def make_batch(step: tf.Tensor) -> tuple:
        rows = tf.ensure_shape(tf.numpy_function(rows_of, [step], tf.int64, stateful=False), [size])
        return {"gram_ids": tf.gather(ids, rows)}, {"embedding": tf.gather(targets, rows)}

    dataset = tf.data.Dataset.range(start_step, start_step + num_steps)
    return dataset.map(make_batch, num_parallel_calls=2, deterministic=True).prefetch(4)


def _grams(settings: Settings, texts: Sequence[str]) -> tf.Tensor:
    return grams.gram_ids(tf.constant(list(texts)), buckets=settings.buckets)


def _scores(
    settings: Settings,
    model: keras.Model,
    known: dict[str, np.ndarray],
    terms: Sequence[Sequence[str]],
    photos: np.ndarray,
) -> tuple[np.ndarray, float]:
    """(cosine of each photo to the nearest term of each label [N, L], share of terms known)."""
    flat = [term.lower() for own in terms for term in own]
    made = model.predict_on_batch({"gram_ids": _grams(settings, flat)})["embedding"]
    vectors = np.array([known.get(term, made[place]) for place, term in enumerate(flat)])
    unit = photos / np.maximum(np.linalg.norm(photos, axis=1, keepdims=True), 1e-12)
    return nearest_terms(unit @ vectors.T, [len(own) for own in terms]), float(
        np.mean([term in known for term in flat])
    )


def nearest_terms(scores: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """The largest score over the terms of each label: [N, terms] -> [N, labels].

    Args:
        scores: of the terms of the first label, then of the second, ...
        lengths: number of terms of each label.

    Reference: Shah2019, Section 4.3.
    """
    starts = np.cumsum([0, *lengths])[:-1]
    return np.maximum.reduceat(scores, starts, axis=1)


def _metrics(
    settings: Settings, labels: phrase_labels.Labels, scores: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    if truth.ndim > 1:
        chosen = labels.trainable
        # What a random order gets: the share of positives among a label's verified photos.
        shares = [(one == 1).sum() / max(1, (one >= 0).sum()) for one in truth[:, chosen].T]
        return {
            "map": multilabel.mean_average_precision(scores[:, chosen], truth[:, chosen]),
            "map_chance": float(np.mean(shares)),
        }
    right = scores.argmax(1) == truth
    low, high = classification.bootstrap_interval(np.mean, right, seed=settings.seed)
    return {
        "top1": float(right.mean()),
        "top1_low": low,
        "top1_high": high,
        "top5": multilabel.top_k_accuracy(scores, truth, 5),
        "chance": 1 / scores.shape[1],
        "majority": float(np.bincount(truth).max() / len(truth)),
    }


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES, trains=True)
