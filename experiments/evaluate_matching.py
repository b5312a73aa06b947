r"""Evaluates trained matching runs: each by itself, and the mean of their scores.

    python -m experiments.evaluate_matching --run_dirs=runs/seed0,runs/seed1 \
        --data_dir=flickr8k_captions --eval_split=test --output=ensemble.json
    python -m experiments.evaluate_matching --scores=ours.npy,scan_t2i.npy --folds=5

Every run leaves its own `result.json` as `train_matching --eval_only` does. With several runs the
scores of all images and captions are averaged, too, and the ensemble's metrics go to `--output`;
with one run, its recalls and ranks.
`--save_scores` keeps these scores. `--scores` takes matrices that any model left, [images,
captions] with `--precomputed_captions` captions an image, one image after another, and averages
them.

Reference: Liu2019, Section 4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from experiments import common_flags, matching_report, matching_trained, settings_flags
from experiments.matching_flags import CHOICES, HELP, Settings
from imgtext_tf import runs, untrusted
from imgtext_tf.metrics import retrieval

flags.adopt_module_key_flags(common_flags)


def run(
    settings: Settings, run_dirs: Sequence[str], output: str = "", save_scores: str = ""
) -> dict[str, Any]:
    """Evaluates runs.

    Args:
        settings: what to evaluate on; the model's settings are each run's own.
        run_dirs: of trained runs.
        output: where the ensemble's metrics go, or those of the only run.
        save_scores: where the scores go, the mean of all runs', a `.npy` file.

    Returns:
        Run directory -> result, and the metrics of the "ensemble" where there are several, or
        where `output` asks for them.

    Raises:
        ValueError: if there is no run, or the runs have other test data.
    """
    if not run_dirs:
        raise ValueError("--run_dirs: give the folder of a trained run")
    results, members, image_of = {}, [], None
    for folder in run_dirs:
        own = dataclasses.replace(settings, run_dir=folder, eval_only=True)
        trained = matching_trained.open_trained(own)
        evaluated = matching_report.evaluate(
            trained.model, trained.batches, folds=settings.folds, seed=trained.data.settings.seed
        )
        results[folder] = matching_report.report(
            trained.data,
            trained.model,
            trained.batches,
            runs.RunDirectory(folder),
            {},
            evaluated=evaluated,
        )
        captions = trained.batches.part.captions
        if image_of is not None and list(image_of) != list(captions.image_of):
            raise ValueError(f"{folder}: was evaluated on other images and captions")
        image_of = captions.image_of
        arrays = evaluated[1]
        members.append(
            retrieval.Member(arrays["images"], arrays["captions"], trained.model.measure)
        )
    if save_scores:
        _save_scores(members, save_scores)
    if len(members) == 1 and not output:
        return results
    metrics = retrieval.ensemble_metrics(members, image_of, folds=settings.folds)
    name = next(iter(results.values()))["protocol"]
    results["ensemble"] = {"protocol": name, "runs": [*run_dirs], "metrics": metrics}
    if settings.folds > 1:
        results["ensemble"]["whole_split"] = retrieval.ensemble_metrics(members, image_of)
    logging.info("%s, mean scores of %d runs: rsum %.1f", name, len(run_dirs), metrics["rsum"])
    if output:
        runs.write_json(output, results["ensemble"])
    return results


def run_scores(settings: Settings, paths: Sequence[str], output: str = "") -> dict[str, Any]:
    """Evaluates the mean of matrices of scores.

    Args:
        settings: `precomputed_captions`, `folds` and `protocol` count.
        paths: of `.npy` files, [images, captions] float, the larger the nearer.
        output: where the metrics go.

    Returns:
        `protocol`, `scores` and `metrics`.

    Raises:
        ValueError: naming the file that has another shape.
    """
    matrices, captions = [], settings.precomputed_captions
    for path in paths:
        one = untrusted.load_npy(path, mmap=True)
        if one.ndim != 2 or one.shape[1] != captions * one.shape[0] or one.dtype.kind != "f":
            raise ValueError(
                f"{path}: holds {one.dtype} {one.shape}, not floats [images, captions] with "
                f"{captions} captions an image (--precomputed_captions says how many)"
            )
        matrices.append(one)
    image_of = np.arange(matrices[0].shape[1]) // captions
    metrics = retrieval.retrieval_metrics_of_scores(matrices, image_of, folds=settings.folds)
    name = matching_report.protocol(settings, "scores of", len(matrices[0]))
    result = {"protocol": name, "scores": [*paths], "metrics": metrics}
    logging.info("%s: rsum %.1f", name, metrics["rsum"])
    if output:
        runs.write_json(output, result)
    return result


def _save_scores(members: Sequence[retrieval.Member], path: str) -> None:
    total = np.float32(0)
    for one in members:
        total = total + retrieval.similarity(one.images, one.captions, measure=one.measure)
    with runs.atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, total / len(members))
    logging.info("scores in %s", path)


def define_flags() -> None:
    """Defines the script's own flags, when it is started: other scripts have some of the names."""
    flags.DEFINE_list("run_dirs", [], "Folders of trained runs, separated by commas.")
    flags.DEFINE_list("scores", [], "Matrices of scores (.npy) to evaluate, not --run_dirs.")
    flags.DEFINE_string("save_scores", "", "File (.npy) of the scores, the mean of all runs'.")


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    settings, values = settings_flags.read(Settings), flags.FLAGS
    if bool(values.run_dirs) == bool(values.scores):
        raise ValueError("give either --run_dirs or --scores")
    if values.scores:
        return run_scores(settings, values.scores, values.output)
    return run(settings, values.run_dirs, values.output, values.save_scores)


if __name__ == "__main__":
    define_flags()
    settings_flags.define(Settings, HELP, CHOICES)
    common_flags.run_main(main)
