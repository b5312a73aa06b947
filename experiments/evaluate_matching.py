r"""Evaluates trained matching runs: each by itself, and the mean of their scores.

    python -m experiments.evaluate_matching --run_dirs=runs/seed0,runs/seed1 \
        --data_dir=flickr8k_captions --eval_split=test --output=ensemble.json

Every run leaves its own `result.json` as `train_matching --eval_only` does. With several runs the
scores of all images and captions are averaged, too, and the ensemble's metrics go to `--output`.

Reference: Liu2019, Section 4.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags, logging

from experiments import common_flags, matching_report, matching_trained, settings_flags
from experiments.matching_flags import CHOICES, HELP, Settings
from imgtext_tf import runs
from imgtext_tf.metrics import retrieval

flags.adopt_module_key_flags(common_flags)


def run(settings: Settings, run_dirs: list[str], output: str = "") -> dict[str, Any]:
    """Evaluates runs.

    Args:
        settings: what to evaluate on; the model's settings are each run's own.
        run_dirs: of trained runs.
        output: where the ensemble's metrics go.

    Returns:
        Run directory -> result, and the metrics of the "ensemble" where there are several.

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
        if len(run_dirs) == 1:
            return results
        captions = trained.batches.part.captions
        if image_of is not None and list(image_of) != list(captions.image_of):
            raise ValueError(f"{folder}: was evaluated on other images and captions")
        image_of = captions.image_of
        arrays = evaluated[1]
        members.append(
            retrieval.Member(arrays["images"], arrays["captions"], trained.model.measure)
        )
    metrics = retrieval.ensemble_metrics(members, image_of, folds=settings.folds)
    name = next(iter(results.values()))["protocol"]
    results["ensemble"] = {"protocol": name, "runs": run_dirs, "metrics": metrics}
    if settings.folds > 1:
        results["ensemble"]["whole_split"] = retrieval.ensemble_metrics(members, image_of)
    logging.info("%s, mean scores of %d runs: rsum %.1f", name, len(run_dirs), metrics["rsum"])
    if output:
        runs.write_json(output, results["ensemble"])
    return results


def define_flags() -> None:
    """Defines the script's own flags, when it is started: other scripts have some of the names."""
    flags.DEFINE_list("run_dirs", [], "Folders of trained runs, separated by commas.")


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    settings = settings_flags.read(Settings)
    return run(settings, flags.FLAGS.run_dirs, flags.FLAGS.output)


if __name__ == "__main__":
    define_flags()
    settings_flags.define(Settings, HELP, CHOICES)
    flags.mark_flags_as_required(["run_dirs"])
    common_flags.run_main(main)
