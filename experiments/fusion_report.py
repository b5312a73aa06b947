"""What a comparison of fusion classifiers shows: accuracies or mAP, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from experiments.fusion_data import Photos
from experiments.fusion_flags import Settings
from experiments.phrase_labels import Labels
from imgtext_tf.metrics import classification, multilabel

if TYPE_CHECKING:
    from experiments.fusion_experiment import Case

_PRECISION = 0.8  # of Section 4.2.3
_RESAMPLES, _RESAMPLES_OF_MAP = 1000, 100
# A comparison's name: variant/strength/phrase set.
Scores = dict[str, list[tuple[np.ndarray, np.ndarray]]]


def by_comparison(photos: Photos, predictions: dict[Case, tuple[np.ndarray, np.ndarray]]) -> Scores:
    """Comparison -> for each seed (labels, logits) of all its photos, folds joined."""
    row_of = {name: row for row, name in enumerate(photos.ids.tolist())}
    joined: dict[tuple, list[tuple[np.ndarray, np.ndarray]]] = {}
    for (variant, strength, phrase_set, seed, _), parts in predictions.items():
        name = "/".join(x for x in (variant, f"{strength:g}" if strength else "", phrase_set) if x)
        joined.setdefault((name, seed), []).append(parts)
    found: Scores = {}
    for (name, _), parts in joined.items():
        ids = np.concatenate([part[0] for part in parts])
        order = np.argsort(ids)
        rows = np.array([row_of[one] for one in ids[order].tolist()])
        logits = np.concatenate([part[1] for part in parts])[order]
        found.setdefault(name, []).append((photos.labels[rows], logits))
    return found


def metrics_of(
    settings: Settings,
    labels: Labels,
    everything: Photos,
    counts: np.ndarray,
    predictions: dict[Case, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    """All metrics, flat: `<comparison>/<metric>`, with intervals and gains over visual only.

    Args:
        settings: of the run.
        labels: the taxonomy.
        everything: all photos.
        counts: [L], the train photos that have each label, where photos have several.
        predictions: case -> ids and logits of the photos that it was evaluated on.
    """
    scores = by_comparison(everything, predictions)
    metrics: dict[str, Any] = {}
    for name, seeds in scores.items():
        found = (
            _several_labels(settings, labels, counts, seeds)
            if everything.labels.ndim > 1
            else _one_label(settings, seeds)
        )
        variant, *rest = name.split("/")
        baselines = {}
        if rest:
            baselines = {"gain": f"visual/{rest[0]}", "gain_over_text": f"text/{rest[-1]}"}
        for gain, baseline in baselines.items():
            if variant not in ("visual", "text") and baseline in scores:
                values = _gain(settings, labels, seeds, scores[baseline])
                found |= {gain + part: value for part, value in values.items()}
                if gain == "gain" and everything.labels.ndim > 1:
                    values = _gain(settings, _all_of(labels), seeds, scores[baseline])
                    found |= {f"gain_all_labels{part}": value for part, value in values.items()}
        metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
        shown = {key: round(value, 4) for key, value in found.items() if "/" not in key}
        logging.info("%s: %s", name, shown)
    return metrics


def _one_label(settings: Settings, seeds: list) -> dict[str, float]:
    found = {}
    for k in (1, 5):
        values = [multilabel.top_k_accuracy(logits, truth, k) for truth, logits in seeds]
        found |= {f"top{k}": float(np.mean(values)), f"top{k}_sd": float(np.std(values))}
    right = np.mean([logits.argmax(1) == truth for truth, logits in seeds], axis=0)
    found["top1_low"], found["top1_high"] = _interval(np.mean, right, settings=settings)
    return found


def _several_labels(
    settings: Settings, labels: Labels, counts: np.ndarray, seeds: list
) -> dict[str, float]:
    chosen, how = labels.trainable, {"unannotated": settings.unannotated}
    maps, of_all, recalls, slices = [], [], [], []
    cuts = np.quantile(counts[chosen], [1 / 3, 2 / 3])
    group = np.digitize(counts, cuts)
    for truth, logits in seeds:
        found = multilabel.average_precisions(logits, truth, **how)
        maps.append(np.nan_to_num(_mean(found[chosen])))
        of_all.append(np.nan_to_num(_mean(found)))
        recalls.append(
            multilabel.recall_at_precision(*cells_of(settings, labels, truth, logits), _PRECISION)
        )
        slices.append([_mean(found[chosen & (group == part)]) for part in range(3)])
    result = {
        "map": float(np.mean(maps)),
        "map_sd": float(np.std(maps)),
        "map_all_labels": float(np.mean(of_all)),
        "recall_at_80_precision": float(np.mean(recalls)),
    }
    for name, value in zip(("rare", "middle", "frequent"), np.mean(slices, axis=0), strict=True):
        if np.isfinite(value):  # A group may hold no label that can be evaluated.
            result[f"map_{name}"] = float(value)
    result["map_low"], result["map_high"] = _interval(
        lambda rows: _map_of(seeds, rows, labels, settings),
        np.arange(len(seeds[0][0])),
        settings=settings,
        resamples=_RESAMPLES_OF_MAP,
    )
    return result


def _all_of(labels: Labels) -> Labels:
    """The labels, with the rare ones that the paper's mAP leaves out as good as the others."""
    return dataclasses.replace(labels, trainable=np.ones(len(labels.ids), bool))


def _mean(precisions: np.ndarray) -> float:
    """The mean over the labels that have an average precision; NaN if none has."""
    known = precisions[np.isfinite(precisions)]
    return float(known.mean()) if len(known) else float("nan")


def cells_of(
    settings: Settings, labels: Labels, truth: np.ndarray, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(logits, labels) of the cells that the mAP looks at, as it takes the unannotated ones."""
    truth, logits = truth[:, labels.trainable], logits[:, labels.trainable]
    if settings.unannotated == "negative":
        truth = np.maximum(truth, 0)
    return logits, truth


def _gain(settings: Settings, labels: Labels, seeds: list, baseline: list) -> dict[str, float]:
    """The mean gain over a baseline on the same photos, with a paired bootstrap interval.

    Returns:
        Under "" the gain, under "_low" and "_high" its interval.
    """
    pairs = list(zip(seeds, baseline, strict=True))
    if seeds[0][0].ndim == 1:
        right = [
            (ours.argmax(1) == truth).astype(float) - (theirs.argmax(1) == truth)
            for (truth, ours), (_, theirs) in pairs
        ]
        gain = np.mean(right, axis=0)
        low, high = _interval(np.mean, gain, settings=settings)
        return {"": float(gain.mean()), "_low": low, "_high": high}

    def difference(rows: np.ndarray) -> float:
        ours, theirs = (_map_of(side, rows, labels, settings) for side in (seeds, baseline))
        return ours - theirs

    rows = np.arange(len(seeds[0][0]))
    low, high = _interval(difference, rows, settings=settings, resamples=_RESAMPLES_OF_MAP)
    return {"": difference(rows), "_low": low, "_high": high}


def _map_of(seeds: list, rows: np.ndarray, labels: Labels, settings: Settings) -> float:
    """The mAP over the trainable labels of some photos, on average over the seeds."""
    chosen = labels.trainable
    found = [
        multilabel.mean_average_precision(
            logits[rows][:, chosen], truth[rows][:, chosen], unannotated=settings.unannotated
        )
        for truth, logits in seeds
    ]
    return float(np.mean(found))


def _interval(
    statistic: Callable, values: np.ndarray, *, settings: Settings, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    return classification.bootstrap_interval(
        statistic, values, resamples=resamples, seed=settings.seed
    )
