"""How the Otto2020 classifiers are evaluated and what a run leaves: metrics, pictures, lists."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from matplotlib.figure import Figure

from experiments import relation_sources, run_steps
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import curve_figures, evaluation, figures, relations, runs, training, untrusted
from imgtext_tf.data import examples, images, pipeline
from imgtext_tf.metrics import calibration, classification

_PAIRS_SHOWN = 24
_COLUMNS = ("ids", "labels", "predicted", "probabilities")
# The abstain thresholds whose cost on val a run lists.
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def check_monitor(settings: Settings, labels: Sequence[str]) -> None:
    """Sees before a long training that its evaluations will give the monitored metric.

    Args:
        settings: of the run.
        labels: the class names.

    Raises:
        ValueError: listing the metrics, if they will not.
    """
    every = np.arange(len(labels))
    names = ["loss", *classification.classification_metrics(every, every, labels)]
    known = [f"val/{name}" for name in names]
    if settings.monitor not in known:
        raise ValueError(f"--monitor={settings.monitor}: use one of {', '.join(known)}")


def evaluate_on_val(
    model: keras.Model, step: int, *, data: Data, board: training.Board
) -> dict[str, float]:
    """The metrics of split val, whose pictures go to TensorBoard."""
    metrics, arrays = evaluation.evaluate_classifier(
        model, data.evaluation_batches("val"), data.labels, progress=False
    )
    figures.write_to_board(
        board,
        step,
        matrix=arrays["confusion_matrix"],
        class_names=data.labels,
        tiles=_examples(data, "val", arrays),
    )
    return metrics


def report(
    data: Data, run_dir: runs.RunDirectory, board: training.Board, outcome: dict[str, Any]
) -> dict[str, Any]:
    """Evaluates the best model on a whole split and on its balanced part, and writes it all.

    Args:
        data: the opened data set.
        run_dir: of a trained model.
        board: where the pictures go, beside the run's folder `figures`.
        outcome: of `training.fit`; empty where only the evaluation runs.

    Returns:
        What `result.json` holds.
    """
    split = data.settings.eval_split
    model = untrusted.load_model(run_dir.model_file("best"))
    metrics, arrays = evaluation.evaluate_classifier(
        model, data.evaluation_batches(split), data.labels
    )
    dataset = data.description()
    before = _before(run_dir, dataset, outcome)
    known = {
        "step": before.get("steps", 0),
        "seconds": before.get("seconds", 0.0),
        "best_step": before.get("best_step"),
    } | outcome
    reported = before.get("metrics", {}) | {f"{split}/loss": metrics["loss"]}
    temperature = _temperature(data, run_dir, model, arrays)
    reported |= relation_sources.by_source(data, split, arrays)
    for part, chosen in parts_of(data, split, arrays["ids"]).items():
        of_part = part_metrics(data, arrays["labels"][chosen], arrays["predicted"][chosen])
        of_part |= _errors(arrays["logits"][chosen], arrays["labels"][chosen], temperature)
        reported |= {f"{part}/{name}": value for name, value in of_part.items()}
        logging.info(
            "%s, %d pairs: accuracy %.4f, macro recall %.4f; majority class %.4f",
            part,
            chosen.sum(),
            *(of_part[name] for name in ("accuracy", "macro_recall", "majority")),
        )
        shown = {k: arrays[k][chosen] for k in _COLUMNS}
        for name, figure in _pictures(data, split, part, shown).items():
            # Read back, for drawing it again would take much longer.
            saved = figures.save(figure, run_dir.figures / f"{part}_{name}.png").read_bytes()
            pixels = images.decode_pixels(tf.constant(saved)).numpy()
            board.image(known["step"], f"{part}/{name}", pixels)
    if history := run_dir.read_history():
        figures.save(curve_figures.training_curves(history), run_dir.figures / "curves.png")
    board.flush()
    _write_predictions(run_dir.path / f"predictions_{split}.tsv", arrays, data.labels)
    this = run_steps.command(runs.read_field(run_dir.settings_file, "script"))
    result = run_dir.write_result(
        metrics=reported,
        seed=data.settings.seed,
        dataset=dataset,
        steps=known["step"],
        seconds=known["seconds"],
        parameters=model.count_params(),
        # An evaluation alone does not make the model that it reports on.
        command=before.get("command", this) if data.settings.eval_only else this,
        evaluation_command=this,
        best_step=known["best_step"],
        temperature=temperature,
        file=_result_name(run_dir, dataset),
    )
    logging.info("result in %s", run_dir.path / _result_name(run_dir, dataset))
    logging.info("look at it: tensorboard --logdir %s", run_dir.path)
    return result


def _before(
    run_dir: runs.RunDirectory, dataset: dict[str, str], outcome: dict[str, Any]
) -> dict[str, Any]:
    """The result so far, without the metrics of other weights or other data."""
    if not run_dir.result_file.exists():
        return {}
    before = runs.read_json(run_dir.result_file)
    weights = {"steps": outcome.get("step"), "best_step": outcome.get("best_step")}
    has_new_weights = any(before.get(name) != value for name, value in weights.items() if value)
    if has_new_weights or before.get("dataset") != dataset:
        return {name: value for name, value in before.items() if name != "metrics"}
    return before


def _result_name(run_dir: runs.RunDirectory, dataset: dict[str, str]) -> str:
    """The file of the result; one of its own for other data than the run was trained on."""
    trained_on = runs.read_settings(run_dir.settings_file)["settings"].get("manifest_sha256")
    digest = dataset["manifest_sha256"]
    if trained_on in (None, digest):
        return run_dir.result_file.name
    logging.warning(
        "these are other data than the run was trained on: make sure that none of these pairs was "
        "among its train pairs"
    )
    return f"result-{dataset['name']}-{digest[:8]}.json"


def _temperature(
    data: Data, run_dir: runs.RunDirectory, model: keras.Model, arrays: dict[str, Any]
) -> float:
    """The temperature of the best model, fitted on val once it is trained; 1 without a val.

    Args:
        data: the opened data set.
        run_dir: where `calibration.json` stands.
        model: the best one.
        arrays: its predictions for the split that is reported on.
    """
    if data.settings.eval_only and run_dir.calibration_file.exists():
        return runs.read_field(run_dir.calibration_file, "temperature")
    if "val" not in data.readers:
        logging.warning("no split val: the probabilities stay as they are, not calibrated")
        return 1.0
    if data.settings.eval_split != "val":
        logging.info("calibrating on val")
        arrays = evaluation.predict(model, data.evaluation_batches("val"))
    logits, truth = arrays["logits"], arrays["labels"]
    temperature = calibration.fit_temperature(logits, truth)
    errors = _errors(logits, truth, temperature)
    logging.info(
        "calibrated on val: temperature %.3f, expected calibration error %.4f before, %.4f after",
        temperature,
        *errors.values(),
    )
    calibrated = calibration.softmax(logits, temperature)
    content = {
        "temperature": temperature,
        "split": "val",
        "pairs": len(truth),
        **errors,
        "abstaining": calibration.selective_accuracy(calibrated, truth, _THRESHOLDS),
        "dataset": data.description(),
    }
    runs.write_json(run_dir.calibration_file, content)
    return temperature


def _errors(logits: np.ndarray, truth: np.ndarray, temperature: float) -> dict[str, float]:
    """The expected calibration error before and after the logits are divided by a temperature."""
    return {
        name: calibration.expected_calibration_error(calibration.softmax(logits, by), truth)
        for name, by in (("ece", 1.0), ("ece_calibrated", temperature))
    }


def parts_of(data: Data, split: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    """What is reported of a split: all its pairs, and its balanced part; [N] bool each."""
    parts = {split: np.ones(len(ids), bool)}
    if balanced_ids := data.balanced_ids(split):
        parts[f"{split}_balanced"] = np.isin(ids, balanced_ids)
    return parts


def part_metrics(data: Data, truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """All metrics of some pairs, beside the majority class and the accuracy's 95 % interval."""
    low, high = classification.bootstrap_interval(
        lambda *labels: float(np.mean(labels[0] == labels[1])),
        truth,
        predicted,
        seed=data.settings.seed,
    )
    labels = data.labels
    matrix = classification.confusion_matrix(truth, predicted, num_classes=len(labels))
    # Pairs of one's own may come without any to train on.
    train = data.truth("train")[data.rows("train")] if "train" in data.readers else None
    groups = {}
    if labels == relations.RELATIONS:
        groups = classification.group_metrics(matrix, relations.SOURCE_GROUPS)
    counts = {"hits": np.diagonal(matrix), "predicted": matrix.sum(axis=0)}
    return {
        **classification.classification_metrics(truth, predicted, labels),
        **groups,
        **{
            f"{name}/{label}": float(value)
            for name, values in counts.items()
            for label, value in zip(labels, values, strict=True)
        },
        **{
            f"confusion/{labels[row]}/{labels[column]}": float(matrix[row, column])
            for row, column in np.ndindex(matrix.shape)
        },
        "accuracy_low": low,
        "accuracy_high": high,
        "majority": classification.majority_baseline(truth, train),
        "pairs": float(len(truth)),
    }


def _pictures(
    data: Data, split: str, part: str, arrays: dict[str, np.ndarray]
) -> dict[str, Figure]:
    """The confusion matrix and the example predictions of a part of a split."""
    matrix = classification.confusion_matrix(
        arrays["labels"], arrays["predicted"], num_classes=len(data.labels)
    )
    accuracy = f"{part}: {classification.accuracy(matrix):.1%} of {matrix.sum():,} pairs"
    return {
        "confusion_matrix": figures.confusion_matrix_figure(matrix, data.labels, title=accuracy),
        "examples": figures.pair_sheet(_examples(data, split, arrays), title=accuracy),
    }


def _examples(data: Data, split: str, arrays: dict[str, np.ndarray]) -> list[figures.PairTile]:
    """Some random pairs of every class and what the model says of them, always the same pairs."""
    order = np.random.default_rng(data.settings.seed).permutation(len(arrays["ids"]))
    per_class = -(-_PAIRS_SHOWN // len(data.labels))
    places = np.concatenate(
        [order[arrays["labels"][order] == label][:per_class] for label in range(len(data.labels))]
    )
    reader = data.readers[split]
    ids = arrays["ids"][places].tolist()
    records = reader.read(pipeline.rows_of_ids(reader.index, ids))
    tiles = []
    for place, record in zip(places, records, strict=True):
        pair = examples.from_bytes(reader.record_kind, record)
        predicted = arrays["predicted"][place]
        tiles.append(
            figures.PairTile(
                image=figures.thinned(images.checked_pixels(pair["image"])),
                text=" ".join(pair["sentences"]),
                truth=data.labels[arrays["labels"][place]],
                predicted=data.labels[predicted],
                probability=float(arrays["probabilities"][place, predicted]),
                title=pair["id"],
            )
        )
    return tiles


def _write_predictions(
    path: pathlib.Path, arrays: dict[str, np.ndarray], labels: tuple[str, ...]
) -> None:
    """A table of every pair's id, true class, predicted class and its probability."""
    lines = ["id\ttruth\tpredicted\tprobability\n"]
    for place, pair_id in enumerate(arrays["ids"]):
        truth, predicted = arrays["labels"][place], arrays["predicted"][place]
        probability = arrays["probabilities"][place, predicted]
        lines.append(f"{pair_id}\t{labels[truth]}\t{labels[predicted]}\t{probability:.4f}\n")
    with runs.atomic_path(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
