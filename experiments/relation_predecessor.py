"""How the predecessor of Otto2020 is evaluated: one model, a head for CMI and one for SC."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from absl import logging

from experiments import relation_matrices, relation_report
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import evaluation, relations, runs
from imgtext_tf.metrics import classification
from imgtext_tf.models import article_encoder

METRICS = ("cmi", "sc")
# Settings of the classifiers that this model has not: its layers, loss, optimiser and choice of the
# best weights are its own.
_OTHERS = (
    *("init_from", "inputs", "image_attention", "gru_units", "image_dim", "fusion", "fc_units"),
    *("image_dropout", "word_dropout", "region_dropout", "word_scores", "metric_logits"),
    *("learning_rate_schedule", "weight_decay", "ema", "class_weights", "logit_adjustment"),
    *("monitor", "jit_compile", "leave_out_source"),
)


def check(settings: Settings) -> None:
    """Sees that nothing is asked for that this model would pass over in silence.

    Raises:
        ValueError: naming the flag.
    """
    if settings.eval_only:
        raise ValueError(
            "--eval_only is not for train_predecessor: the command of a finished run, given again "
            "without it, evaluates anew and trains no further"
        )
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    for name in _OTHERS:
        value = getattr(settings, name)
        if value != defaults[name]:
            raise ValueError(
                f"--{name}={value}: train_predecessor has no such setting; leave it out (its "
                "default counts for nothing here)"
            )


def labels_of_classes(metric: str) -> np.ndarray:
    """The label of a metric for each of the eight classes: [8] int64."""
    return np.array([relations.label_index(metric, name) for name in relations.RELATIONS])


def evaluate(
    model: keras.Model, data: Data, split: str
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Predicts a split with all heads.

    Returns:
        `cmi/accuracy`, `sc/accuracy` and `harmonic_accuracy`, their harmonic mean; and the arrays
        `ids` [N], `truth/<metric>` and `predicted/<metric>` [N].
    """
    arrays = evaluation.predict(
        article_encoder.joint_logits(model), data.evaluation_batches(split), progress=False
    )
    found, metrics, start = {"ids": arrays["ids"]}, {}, 0
    for metric in METRICS:
        stop = start + len(relations.METRIC_VALUES[metric])
        found[f"predicted/{metric}"] = arrays["logits"][:, start:stop].argmax(axis=1)
        found[f"truth/{metric}"] = labels_of_classes(metric)[arrays["labels"]]
        right = found[f"predicted/{metric}"] == found[f"truth/{metric}"]
        metrics[f"{metric}/accuracy"] = float(right.mean())
        start = stop
    product = metrics["cmi/accuracy"] * metrics["sc/accuracy"]
    total = metrics["cmi/accuracy"] + metrics["sc/accuracy"]
    return metrics | {"harmonic_accuracy": 2 * product / max(total, 1e-9)}, found


def part_metrics(
    data: Data, split: str, arrays: dict[str, np.ndarray], run_dir: runs.RunDirectory
) -> dict[str, float]:
    """The metrics `<cmi or sc>/<part>/...` of what `evaluate` predicted; draws the matrices."""
    metrics: dict[str, float] = {}
    for part, chosen in relation_report.parts_of(data, split, arrays["ids"]).items():
        for metric in METRICS:
            truth = arrays[f"truth/{metric}"][chosen]
            predicted = arrays[f"predicted/{metric}"][chosen]
            low, high = classification.bootstrap_interval(
                lambda truth, predicted: float(np.mean(truth == predicted)),
                truth,
                predicted,
                seed=data.settings.seed,
            )
            train = labels_of_classes(metric)[data.truth("train")]
            names = relations.labels_of(metric)
            scores = classification.classification_metrics(truth, predicted, names)
            scores |= {
                "accuracy_low": low,
                "accuracy_high": high,
                "majority": classification.majority_baseline(truth, train),
                "pairs": float(len(truth)),
            }
            metrics |= {f"{metric}/{part}/{name}": value for name, value in scores.items()}
            relation_matrices.draw(
                run_dir, part, truth, predicted, names, of=f"predecessor, {metric}", name=metric
            )
            accuracy, majority = scores["accuracy"], scores["majority"]
            logging.info("%s, %s: %.4f, majority class %.4f", part, metric, accuracy, majority)
    return metrics
