"""Trains and compares Shah2019's fusion classifiers: variants, visual strengths, phrase sets."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from experiments import fusion_data, fusion_pictures, fusion_report, phrase_labels, run_steps
from experiments.fusion_data import Photos
from experiments.fusion_flags import PHRASE_SETS, Settings
from experiments.fusion_phrases import Phrases
from experiments.phrase_labels import Labels
from imgtext_tf import distribution, runs, training, untrusted
from imgtext_tf.models import fusion_classifier

# One model: variant, visual strength, phrase set ("" where no phrase is seen), seed, fold.
Case = tuple[str, float, str, int, int]


def run(settings: Settings) -> dict[str, Any]:
    """Trains what is missing of all cases, and reports them all side by side.

    A killed run goes on at the case it was killed in. Each case is a run directory of its own below
    `cases`, whose `model_last.keras` can be exported.

    Returns:
        What `result.json` holds; the outcome of `training.fit` if a signal stopped the training.

    Raises:
        ShardError: if the data set is damaged.
        RunError: if the run directory holds a run of other settings, or is in use.
        ValueError: if the generator was trained on photos to evaluate on, or a setting is unknown.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    labels = phrase_labels.read_labels(settings.data_dir)
    with run_dir.locked():
        run_dir.begin(
            dataclasses.asdict(settings)
            | {"data": fusion_data.description(settings)}
            | fusion_data.fingerprints(settings),
            script="experiments.train_fusion",
            module=fusion_classifier.__name__,
            may_change={*runs.MAY_CHANGE, "data_dir", "verify", "seeds"} - {"max_steps"},
        )
        # A backbone without weights is drawn here.
        training.set_seed(settings.seed, settings.deterministic)
        photos = fusion_data.open_photos(settings, labels)
        phrases = {
            name: Phrases(settings, labels.terms, name)
            for name in settings.phrase_sets
            if any("text" in fusion_classifier.VARIANTS[v] for v in settings.variants)
        }
        predictions: dict[Case, tuple[np.ndarray, np.ndarray]] = {}
        frequency: dict[tuple, np.ndarray] = {}
        seconds = 0.0
        for case in cases(settings):
            train, test = _parts(settings, photos, case)
            outcome = _run_case(settings, case, train, test, phrases, labels)
            if outcome["status"] == "stopped":
                return outcome
            if not distribution.is_chief():
                continue
            seconds += outcome["seconds"]
            predictions[case] = (test.ids, outcome["logits"])
            frequency[case[3:]] = (train.labels == 1).sum(0)
        if not distribution.is_chief():
            return {"status": "finished"}
        everything = Photos.joined(list(photos.values()))
        # The train photos of each label, on average over seeds and folds.
        counts = np.mean(list(frequency.values()), axis=0)
        metrics = fusion_report.metrics_of(settings, labels, everything, counts, predictions)
        metrics["train_photos"] = len(photos["train"])
        fusion_pictures.write_pictures(
            settings, labels, everything, counts, phrases, predictions, run_dir
        )
        for name, found in phrases.items():
            metrics[f"phrases/{name}"] = len(found.index)
        return run_dir.write_result(
            metrics=metrics,
            seed=settings.seed,
            dataset=fusion_data.description(settings),
            steps=settings.max_steps,
            seconds=seconds,
            parameters=0,
            command=run_steps.command("experiments.train_fusion"),
            cases=len(predictions),
        )


def cases(settings: Settings) -> Iterator[Case]:
    """All models to train, the comparison of one fold and seed together.

    Raises:
        ValueError: if a variant or phrase set is unknown.
    """
    for name in settings.variants:
        if name not in fusion_classifier.VARIANTS:
            raise ValueError(f"unknown variant {name!r}: {', '.join(fusion_classifier.VARIANTS)}")
    for name in settings.phrase_sets:
        if name not in PHRASE_SETS:
            raise ValueError(f"unknown phrase set {name!r}: {', '.join(PHRASE_SETS)}")
    found: dict[Case, None] = {}
    for number, fold in itertools.product(range(settings.seeds), range(max(1, settings.folds))):
        seed = settings.seed + number
        for variant, strength, phrase_set in itertools.product(
            settings.variants, settings.strengths, settings.phrase_sets
        ):
            inputs = fusion_classifier.VARIANTS[variant]
            # A case that sees no visual feature or no phrase is the same for all of them.
            strength = strength if "visual" in inputs else 0.0
            phrase_set = phrase_set if "text" in inputs else ""
            found[(variant, strength, phrase_set, seed, fold)] = None
    return iter(found)


def _parts(settings: Settings, photos: dict[str, Photos], case: Case) -> tuple[Photos, Photos]:
    """(photos to train on, photos to evaluate on) of a case."""
    seed, fold = case[3:]
    if not settings.folds:
        train, test = photos["train"], photos[settings.eval_split]
    else:
        everything = Photos.joined([photos["train"], photos["val"]])
        of_fold = folds_of(everything.labels, settings.folds, seed)
        train = everything.take(np.flatnonzero(of_fold != fold))
        test = everything.take(np.flatnonzero(of_fold == fold))
    rows = fusion_data.few_shot_rows(train.labels, settings.most_per_label, seed)
    return train.take(np.sort(rows)), test


def folds_of(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each photo, each label dealt out evenly: [N] int64."""
    order = np.random.default_rng([seed, folds]).permutation(len(labels))
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    found = np.empty(len(labels), np.int64)
    found[order] = np.arange(len(labels)) % folds
    return found


def _run_case(
    settings: Settings,
    case: Case,
    train: Photos,
    test: Photos,
    phrases: dict[str, Phrases],
    labels: Labels,
) -> dict[str, Any]:
    """Trains the model of a case, or takes its predictions if they are there."""
    variant, strength, phrase_set, seed, fold = case
    folder = runs.RunDirectory(settings.run_dir).path / "cases" / name_of(case)
    predictions = folder / "predictions.npz"
    known = _read_predictions(predictions, test)
    if distribution.from_chief(known is not None):
        return {"status": "finished", "seconds": 0.0, **(known or {})}
    make = functools.partial(_inputs, settings, case, phrases.get(phrase_set))
    inputs = make(train)
    training.set_seed(seed, settings.deterministic)
    model = _build_model(settings, case, inputs, labels, several=train.labels.ndim > 1)
    run_dir = runs.RunDirectory(folder)
    run_dir.begin(
        dataclasses.asdict(settings)
        | {"case": list(case), "strength": strength, "phrase_set": phrase_set}
        | fusion_data.fingerprints(settings),
        script="experiments.train_fusion",
        module=fusion_classifier.__name__,
        may_change={*runs.MAY_CHANGE, "data_dir", "verify", "seeds"} - {"max_steps"},
    )
    run_dir.describe_model(
        labels=[terms[0] for terms in labels.terms],
        vocabulary=[],
        preprocessing=fusion_data.preprocessing(settings, train, strength, phrase_set, seed),
    )
    outcome = training.fit(
        model,
        functools.partial(_batches, inputs, train.labels, settings.batch_size, seed),
        run=run_dir,
        max_steps=settings.max_steps,
        checkpoint_every=settings.max_steps,
        seed=seed,
        deterministic=settings.deterministic,
        batch_ids=lambda step: train.ids[_rows(len(train), settings.batch_size, seed, step)],
    )
    if distribution.ends_here(outcome):
        return outcome
    logits = model.predict(make(test), batch_size=512, verbose=0)["logits"]
    with runs.atomic_path(predictions) as temporary, open(temporary, "wb") as file:
        np.savez(file, ids=test.ids, logits=logits, seconds=outcome["seconds"])
    logging.info("%s: %d photos, fold %d done", name_of(case), len(train), fold)
    return outcome | {"logits": logits}


@distribution.scoped
def _build_model(
    settings: Settings, case: Case, inputs: dict[str, np.ndarray], labels: Labels, *, several: bool
) -> keras.Model:
    """The compiled classifier of a case."""
    variant, *_, seed, _ = case
    model = fusion_classifier.fusion_classifier(
        num_labels=len(labels.ids),
        dims={name: array.shape[1] for name, array in inputs.items()},
        variant=variant,
        fusion=settings.fusion,
        fc_units=settings.fc_units,
        dropout=settings.dropout,
        normalize=settings.normalize,
        seed=seed,
    )
    # Named, as the layers are: Keras would count the models that the process has built.
    optimizer = keras.optimizers.Adam(
        settings.learning_rate, weight_decay=settings.weight_decay or None, name="adam"
    )
    return fusion_classifier.compile_classifier(model, optimizer, several_labels=several)


def _read_predictions(path: pathlib.Path, test: Photos) -> dict[str, Any] | None:
    """The logits of a case that is done, and the seconds it took; None where it is not."""
    if not path.exists():
        return None
    arrays = untrusted.load_npz(path)
    if not np.array_equal(arrays["ids"], test.ids):
        return None
    return {"logits": arrays["logits"], "seconds": float(arrays["seconds"])}


def name_of(case: Case) -> str:
    """The folder of a case."""
    variant, strength, phrase_set, seed, fold = case
    parts = [variant, f"{strength:g}" if strength else "", phrase_set, f"s{seed}", f"f{fold}"]
    return "-".join(part for part in parts if part)


def _inputs(
    settings: Settings, case: Case, phrases: Phrases | None, photos: Photos
) -> dict[str, np.ndarray]:
    """The arrays that a case's model takes."""
    variant, strength, _, seed, _ = case
    names = fusion_classifier.VARIANTS[variant]
    found: dict[str, np.ndarray] = {}
    if "visual" in names:
        channels = fusion_data.kept_channels(photos.visual.shape[1], strength, seed)
        found["visual"] = photos.visual[:, channels]
    if "text" in names:
        found["text"] = phrases.embed(phrases.of(photos.phrase))
    if "phrase" in names:
        found["phrase"] = photos.phrase
    return found


def _rows(photos: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The photos of a training batch, numbered from 0: [B] int64."""
    size = min(batch_size, photos)
    epoch, place = divmod(step, photos // size)
    order = np.random.default_rng([seed, epoch]).permutation(photos)
    return order[place * size : (place + 1) * size].astype(np.int64)


def _batches(
    inputs: dict[str, np.ndarray],
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
) -> tf.data.Dataset:
    """Batches of training steps: a pure function of (seed, step); short only if all photos are."""
    size = min(batch_size, len(labels))

    def rows_of(step: np.ndarray) -> np.ndarray:
        return _rows(len(labels), batch_size, seed, int(step))

    def make_batch(step: tf.Tensor) -> tuple:
        rows = tf.ensure_shape(tf.numpy_function(rows_of, [step], tf.int64, stateful=False), [size])
        batch = {name: tf.gather(array, rows) for name, array in constants.items()}
        return batch, {"logits": tf.gather(truth, rows)}

    constants = {name: tf.constant(array) for name, array in inputs.items()}
    truth = tf.constant(labels)
    dataset = tf.data.Dataset.range(start_step, start_step + num_steps)
    return dataset.map(make_batch, num_parallel_calls=2, deterministic=True).prefetch(4)
