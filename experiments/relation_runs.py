"""Trained runs of the Otto2020 classifiers, opened on a data set to be evaluated together."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from absl import flags

from experiments import relation_experiment, run_steps
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import relations, runs, untrusted
from imgtext_tf.data.edits import Edit, EditedReader

flags.DEFINE_string("classic_run", "", "Run directory of train_classic.")


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A trained classifier and the data it is evaluated on.

    Attributes:
        data: the opened data set, with the run's own vocabulary and feature maps.
        model: its best weights.
        result: what the training reported: seconds, steps, parameters; empty if it left none.
    """

    data: Data
    model: keras.Model
    result: dict[str, Any]


def open_run(
    folder: str,
    *,
    target: str,
    data_dir: str,
    split: str,
    cache_features: str = "",
    verify: str = "size",
) -> TrainedRun:
    """Opens a run that train_classic or train_metric left.

    Args:
        folder: the run directory.
        target: what the run must predict: "relation", "cmi", "sc" or "stat".
        data_dir: the shards to evaluate on.
        split: the split to evaluate on.
        cache_features: a folder of feature maps; empty for the one that the run was trained with.
        verify: "full" or "size", see `shards.verify`.

    Raises:
        RunError: if the folder holds no trained run, or one of another target or other classes.
        ShardError: if the data set is damaged, or lacks the split.
    """
    run_dir = runs.RunDirectory(folder)
    asked = Settings(
        data_dir=data_dir,
        run_dir=folder,
        verify=verify,
        eval_only=True,
        eval_split=split,
        cache_features=cache_features,
    )
    settings = run_steps.as_trained(asked, run_dir)
    if settings.target != target:
        raise runs.RunError(f"{folder} holds a run that predicts {settings.target}, not {target}")
    labels = tuple(runs.read_json(run_dir.labels_file))
    if labels != relations.labels_of(target):
        raise runs.RunError(
            f"{folder} holds a run of other classes than Otto2020's: {', '.join(labels)}"
        )
    if not run_dir.model_file("best").exists():
        raise runs.RunError(f"{run_dir.model_file('best')} is missing: train the run to its end")
    result = runs.read_json(run_dir.result_file) if run_dir.result_file.exists() else {}
    model = untrusted.load_model(run_dir.model_file("best"))
    return TrainedRun(relation_experiment.open_trained(settings, run_dir), model, result)


def mixed_seeds(trained: Mapping[str, TrainedRun], *, allowed: bool) -> dict[str, Any]:
    """What a result says of the runs' seeds beside its own: nothing where all are the same.

    Raises:
        RunError: naming them, if they differ and may not.
    """
    seeds = {name: run.data.settings.seed for name, run in trained.items()}
    if len(set(seeds.values())) == 1:
        return {}
    if not allowed:
        named = ", ".join(f"--{name}_run: {seed}" for name, seed in seeds.items())
        raise runs.RunError(
            f"the runs have different seeds ({named}), and a result is filed under one: give runs "
            "of one seed, or --allow_mixed_seeds"
        )
    return {"seeds": seeds}


def by_id(arrays: Mapping[str, np.ndarray], ids: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of `evaluation.predict`'s arrays in the order of other ids.

    Raises:
        KeyError: naming an id that was not predicted.
    """
    place_of = {name: place for place, name in enumerate(arrays["ids"].tolist())}
    missing = [name for name in ids.tolist() if name not in place_of]
    if missing:
        raise KeyError(f"{len(missing)} pairs were not predicted, such as {missing[0]!r}")
    order = np.array([place_of[name] for name in ids.tolist()], np.int64)
    return {name: values[order] for name, values in arrays.items()}


def seconds_per_pair(
    trained: Mapping[str, TrainedRun], split: str, *, pairs: int, rounds: int, seed: int
) -> dict[str, np.ndarray]:
    """Measures predictions of the same random pairs, all models in turn once a round.

    The batches are ready in memory, and a first round warms up. Feature maps count as given where
    they are cached; else the image encoder is part of the model.

    Returns:
        Name -> [rounds] seconds a pair.
    """
    batches = {}
    for name, run in trained.items():
        ids = ids_of(run.data, split)
        rows = np.random.default_rng(seed).permutation(len(ids))[:pairs]
        some = EditedReader(run.data.readers[split], [Edit(ids[row], int(row)) for row in rows])
        data = dataclasses.replace(run.data, readers=run.data.readers | {split: some})
        batches[name] = [inputs for inputs, _ in data.evaluation_batches(split)]
        for inputs in batches[name]:
            inputs.pop("id")
        pairs = len(rows)
    seconds: dict[str, list[float]] = {name: [] for name in trained}
    for _ in range(rounds + 1):
        for name, run in trained.items():
            started = time.perf_counter()
            for inputs in batches[name]:
                run.model.predict_on_batch(inputs)
            seconds[name].append((time.perf_counter() - started) / pairs)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def costs(
    trained: Mapping[str, TrainedRun], seconds: Mapping[str, np.ndarray], *, together: Sequence[str]
) -> dict[str, float]:
    """The costs of models, and of some of them used together, as the cascade does.

    Args:
        trained: the models.
        seconds: of `seconds_per_pair`.
        together: names of the models that make the cascade.

    Returns:
        `cost/<name>/...` and `cost/cascade/...` of `ms_per_pair` (the median over rounds),
        `parameters`, `train_seconds` and `train_steps`.
    """
    metrics = {}
    for name, run in trained.items():
        metrics[f"cost/{name}/ms_per_pair"] = float(1000 * np.median(seconds[name]))
        metrics[f"cost/{name}/parameters"] = float(run.model.count_params())
        metrics[f"cost/{name}/train_seconds"] = float(run.result.get("seconds", 0.0))
        metrics[f"cost/{name}/train_steps"] = float(run.result.get("steps", 0))
    of_all = sum(seconds[name] for name in together)
    metrics["cost/cascade/ms_per_pair"] = float(1000 * np.median(of_all))
    for what in ("parameters", "train_seconds", "train_steps"):
        metrics[f"cost/cascade/{what}"] = sum(metrics[f"cost/{name}/{what}"] for name in together)
    return metrics


def open_data_of_classes(run: TrainedRun) -> Data:
    """The same data set with the eight classes as its target."""
    return dataclasses.replace(
        run.data, settings=dataclasses.replace(run.data.settings, target="relation")
    )


def ids_of(data: Data, split: str) -> np.ndarray:
    """The ids of a split, in the order of its records: [N] str."""
    return np.char.decode(data.readers[split].index["id"], "utf-8")
