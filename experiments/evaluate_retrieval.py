r"""Evaluates what Gordo2017 compares its training with: no training at all.

    python -m experiments.evaluate_retrieval --method=visual --data_dir=datasets/vg \
        --run_dir=runs/baseline --backbone=resnet101

`visual` is R-MAC with PCA whitening on the ImageNet backbone, `text` the oracle that knows the
captions' tf-idf, `random` a draw of scores by --seed.

Reference: Gordo2017, Table 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from absl import flags

from experiments import common_flags, retrieval_data, retrieval_flags, retrieval_report
from experiments.retrieval_flags import Settings
from imgtext_tf import runs
from imgtext_tf.models import semantic_retrieval

METHODS = ("visual", "text", "random")


def run(settings: Settings, method: str) -> dict[str, Any]:
    """Evaluates a method and returns what `result.json` holds.

    Raises:
        ValueError: if there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: use one of {', '.join(METHODS)}")
    run_dir = runs.RunDirectory(settings.run_dir)
    with run_dir.locked():
        data = retrieval_data.open_data(settings)
        used = {name: getattr(settings, name) for name in retrieval_flags.OF_EVALUATIONS}
        run_dir.begin(
            used | {"method": method},
            script="experiments.evaluate_retrieval",
            module=semantic_retrieval.__name__,
            may_change={*retrieval_flags.PLACES, *retrieval_flags.EVALUATION},
        )
        split = settings.eval_split
        if method == "random":
            rng = np.random.default_rng([settings.seed, 3])
            images = len(data.splits[split].ids)
            scores = rng.random([len(data.splits[split].query_rows(settings.queries)), images])
            metrics = retrieval_report.evaluate_scores(scores, data, split)
            metrics |= retrieval_report.scored_agreement(
                lambda queries, _: rng.random(len(queries)), data, split
            )
        elif method == "text":
            part = data.splits[split]
            rows = part.query_rows(settings.queries)
            scores = (part.tfidf[rows] @ part.tfidf.T).toarray()
            metrics = retrieval_report.evaluate_scores(scores, data, split)
            metrics |= retrieval_report.study_agreement(part.tfidf, part.tfidf, data, split)
        else:
            vectors = retrieval_report.baseline_vectors(settings, data, split)
            metrics = retrieval_report.evaluate_vectors(vectors, vectors, data, split)
            metrics |= retrieval_report.study_agreement(vectors, vectors, data, split)
        return retrieval_report.report(
            settings, data, run_dir, metrics, script="experiments.evaluate_retrieval", outcome={}
        )


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return run(
        retrieval_flags.settings_from_flags(retrieval_flags.OF_EVALUATIONS), flags.FLAGS.method
    )


if __name__ == "__main__":
    retrieval_flags.define_flags(retrieval_flags.OF_EVALUATIONS)
    flags.DEFINE_enum("method", None, METHODS, "What to evaluate.", required=True)
    flags.mark_flags_as_required(["data_dir", "run_dir"])
    common_flags.run_main(main)
