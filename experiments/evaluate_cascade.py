r"""Evaluates the "cascade" classifier: three metric classifiers, one after the other, to a class.

    python -m experiments.evaluate_cascade --flagfile=table4_cascade --cmi_run=runs/cmi \
        --sc_run=runs/sc --stat_run=runs/stat --classic_run=runs/classic \
        --data_dir=datasets/relations --run_dir=runs/cascade

The three runs come from train_metric. With --classic_run the result also holds that classifier's
figures on the same pairs, the paired difference, and the cost of both. All runs have one seed: the
result stands beside others of its seed when seeds are compared.

Reference: Otto2020, Section 4.2 and Table 4.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from experiments import (
    common_flags,
    relation_matrices,
    relation_report,
    relation_runs,
    run_steps,
    settings_flags,
)
from experiments.relation_data import Data
from experiments.relation_runs import TrainedRun
from imgtext_tf import evaluation, relations, runs
from imgtext_tf.metrics import classification

_SCRIPT = "experiments.evaluate_cascade"

flags.DEFINE_string("cmi_run", None, "Run directory of train_metric --metric=cmi.")
flags.DEFINE_string("sc_run", None, "Run directory of train_metric --metric=sc.")
flags.DEFINE_string("stat_run", None, "Run directory of train_metric --metric=stat.")
flags.DEFINE_list(
    "order", list(relations.METRIC_VALUES), "The metrics in the order of their use (Section 4.2)."
)
flags.DEFINE_bool(
    "allow_mixed_seeds",
    False,
    "Take runs of different seeds; the result counts as one of the CMI run's and names them all.",
)
flags.DEFINE_integer("cost_pairs", 256, "Pairs whose prediction is timed; 0: none.", lower_bound=0)
flags.DEFINE_integer("cost_rounds", 5, "How often each model is timed.", lower_bound=1)
for _name in ("data_dir", "run_dir", "seed", "verify", "eval_split", "cache_features"):
    flags.declare_key_flag(_name)
flags.declare_key_flag("classic_run")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; the flag of the same name says what each means."""

    data_dir: str
    run_dir: str
    cmi_run: str
    sc_run: str
    stat_run: str
    classic_run: str = ""
    order: tuple[str, ...] = tuple(relations.METRIC_VALUES)
    allow_mixed_seeds: bool = False
    cost_pairs: int = 256
    cost_rounds: int = 5
    eval_split: str = "test"
    cache_features: str = ""
    verify: str = "full"
    seed: int = 0


def run(settings: Settings) -> dict[str, Any]:
    """Predicts with every classifier and compares.

    Returns:
        What `result.json` holds. Metrics: `<part>/...` of the cascade, `undefined` among them;
        `<metric>/<part>/...` of each metric's classifier; `classic/<part>/...`;
        `classic_minus_cascade/<part>` in accuracy with its 95 % interval over pairs; `cost/...`.

    Raises:
        RunError: if a run is missing or predicts something else, or the runs have several seeds.
        ShardError: if the data set is damaged.
    """
    started = time.monotonic()
    with run_steps.evaluating(settings, script=_SCRIPT, module=__name__) as run_dir:
        trained = open_runs(settings)
        mixed_seeds = relation_runs.mixed_seeds(trained, allowed=settings.allow_mixed_seeds)
        split = settings.eval_split
        data = relation_runs.open_data_of_classes(trained["cmi"])
        ids = relation_runs.ids_of(data, split)
        predicted = {name: _predict(run, split, ids) for name, run in trained.items()}
        labels, agreeing = cascade_labels(predicted, settings.order)
        truth = data.truth(split)
        metrics: dict[str, float] = {"orders_agreeing": float(agreeing)}
        for part, chosen in relation_report.parts_of(data, split, ids).items():
            matrix = relation_matrices.draw(
                run_dir,
                part,
                truth[chosen],
                labels[chosen],
                relations.RELATIONS,
                of="cascade",
                undefined=True,
            )
            of_part = _scores(data, truth[chosen], labels[chosen]) | _cells(matrix)
            metrics |= {f"{part}/{name}": value for name, value in of_part.items()}
            for name, one in trained.items():
                scores = _scores(one.data, one.data.truth(split)[chosen], predicted[name][chosen])
                metrics |= {f"{name}/{part}/{key}": value for key, value in scores.items()}
            if "classic" in predicted:
                others = predicted["classic"][chosen]
                metrics |= _difference(part, truth[chosen], labels[chosen], others, settings.seed)
            _log(part, metrics)
        if settings.cost_pairs:
            metrics |= cost(trained, settings)
        _write_predictions(run_dir, ids, truth, labels, predicted)
        return run_dir.write_result(
            metrics=metrics,
            # Of the training, as in the results of the runs themselves.
            seed=trained["cmi"].data.settings.seed,
            dataset=data.description(),
            steps=sum(trained[name].result.get("steps", 0) for name in settings.order),
            # Of the evaluation; the training's seconds are among the costs.
            seconds=time.monotonic() - started,
            parameters=sum(trained[name].model.count_params() for name in settings.order),
            command=run_steps.command(_SCRIPT),
            **mixed_seeds,
        )


def open_runs(settings: Settings) -> dict[str, TrainedRun]:
    """The runs of the three metrics, and "classic" where one is given."""
    folders = {name: (getattr(settings, f"{name}_run"), name) for name in relations.METRIC_VALUES}
    if settings.classic_run:
        folders["classic"] = (settings.classic_run, "relation")
    trained = {}
    for name, (folder, target) in folders.items():
        trained[name] = relation_runs.open_run(
            folder,
            target=target,
            data_dir=settings.data_dir,
            split=settings.eval_split,
            cache_features=settings.cache_features,
            # The bytes need one look only.
            verify=settings.verify if not trained else "size",
        )
    return trained


def cascade_labels(
    predicted: dict[str, np.ndarray], order: Sequence[str]
) -> tuple[np.ndarray, int]:
    """Label numbers of the three metrics -> class labels, -1 for Undefined.

    Returns:
        [N] int64 labels; and how many of the six orders of the metrics give just these.
    """
    values = {
        metric: [relations.METRIC_VALUES[metric][label] for label in predicted[metric].tolist()]
        for metric in relations.METRIC_VALUES
    }
    classes = relations.cascade(values, order=order)
    agreeing = sum(
        relations.cascade(values, order=other) == classes
        for other in itertools.permutations(relations.METRIC_VALUES)
    )
    names = [*relations.RELATIONS, relations.UNDEFINED]
    labels = np.array([names.index(name) for name in classes], np.int64)
    return np.where(labels == len(relations.RELATIONS), -1, labels), agreeing


def cost(trained: dict[str, TrainedRun], settings: Settings) -> dict[str, float]:
    """What a pair takes each model and the cascade; `cascade_to_classic`, the ratio of both."""
    seconds = relation_runs.seconds_per_pair(
        trained,
        settings.eval_split,
        pairs=settings.cost_pairs,
        rounds=settings.cost_rounds,
        seed=settings.seed,
    )
    metrics = relation_runs.costs(trained, seconds, together=tuple(relations.METRIC_VALUES))
    if "classic" in trained:
        # The ratio of each round, so that a slow moment of the machine meets both.
        ratios = sum(seconds[name] for name in relations.METRIC_VALUES) / seconds["classic"]
        ratio = float(np.median(ratios))
        metrics["cost/cascade_to_classic"] = ratio
        metrics["cost/cascade_to_classic_low"] = float(ratios.min())
        metrics["cost/cascade_to_classic_high"] = float(ratios.max())
        logging.info("a pair takes the cascade %.2f times as long as the classic one", ratio)
    return metrics


def _predict(trained: TrainedRun, split: str, ids: np.ndarray) -> np.ndarray:
    arrays = evaluation.predict(trained.model, trained.data.evaluation_batches(split))
    return relation_runs.by_id(arrays, ids)["logits"].argmax(axis=1)


def _scores(data: Data, truth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All metrics of some pairs; an undefined prediction is a wrong one."""
    low, high = classification.bootstrap_interval(
        lambda truth, labels: float(np.mean(truth == labels)),
        truth,
        labels,
        seed=data.settings.seed,
    )
    # Pairs of one's own may come without any to train on.
    train = data.truth("train") if "train" in data.readers else None
    return {
        "undefined": 0.0,
        **classification.classification_metrics(truth, labels, data.labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "majority": classification.majority_baseline(truth, train),
        "pairs": float(len(truth)),
    }


def _cells(matrix: np.ndarray) -> dict[str, float]:
    """The confusion matrix as metrics `confusion/<truth>/<predicted>`."""
    columns = [*relations.RELATIONS, relations.UNDEFINED]
    return {
        f"confusion/{relations.RELATIONS[row]}/{columns[column]}": float(matrix[row, column])
        for row, column in np.ndindex(matrix.shape)
    }


def _difference(
    part: str, truth: np.ndarray, cascade: np.ndarray, classic: np.ndarray, seed: int
) -> dict[str, float]:
    def statistic(truth: np.ndarray, cascade: np.ndarray, classic: np.ndarray) -> float:
        return float(np.mean(classic == truth) - np.mean(cascade == truth))

    low, high = classification.bootstrap_interval(statistic, truth, cascade, classic, seed=seed)
    name = f"classic_minus_cascade/{part}"
    return {
        f"{name}/accuracy": statistic(truth, cascade, classic),
        f"{name}/accuracy_low": low,
        f"{name}/accuracy_high": high,
    }


def _write_predictions(
    run_dir: runs.RunDirectory,
    ids: np.ndarray,
    truth: np.ndarray,
    labels: np.ndarray,
    predicted: dict[str, np.ndarray],
) -> None:
    """A table of every pair's id, true class, the cascade's class and the predicted metrics."""
    names = [*relations.RELATIONS, relations.UNDEFINED]
    lines = ["\t".join(("id", "truth", "predicted", *relations.METRIC_VALUES)) + "\n"]
    for place, pair_id in enumerate(ids):
        values = [
            str(relations.METRIC_VALUES[metric][predicted[metric][place]])
            for metric in relations.METRIC_VALUES
        ]
        lines.append(
            "\t".join((pair_id, names[truth[place]], names[labels[place]], *values)) + "\n"
        )
    with runs.atomic_path(run_dir.path / "predictions.tsv") as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _log(part: str, metrics: dict[str, float]) -> None:
    accuracies = {
        name: metrics[f"{name}/{part}/accuracy"]
        for name in (*relations.METRIC_VALUES, "classic")
        if f"{name}/{part}/accuracy" in metrics
    }
    logging.info(
        "%s, %d pairs: cascade %.4f, undefined %.4f; %s",
        part,
        metrics[f"{part}/pairs"],
        metrics[f"{part}/accuracy"],
        metrics[f"{part}/undefined"],
        ", ".join(f"{name} {value:.4f}" for name, value in accuracies.items()),
    )


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "run_dir", "cmi_run", "sc_run", "stat_run"])
    common_flags.run_main(main)
