"""How Gordo2017's methods are evaluated and what a run leaves: metrics, curves, result."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from experiments import (
    retrieval_data,
    retrieval_flags,
    retrieval_mining,
    retrieval_study,
    run_steps,
)
from experiments.retrieval_data import Data
from experiments.retrieval_flags import Settings
from imgtext_tf import filesystem, runs
from imgtext_tf.metrics import graded_ranking, triplet_agreement
from imgtext_tf.models import semantic_retrieval
from imgtext_tf.models.semantic_retrieval import TripletModel

# What a query consists of at test time; the database is always images alone.
IMAGE, IMAGE_AND_TEXT = "image", "image_text"


def embeddings(model: TripletModel, data: Data, split: str) -> dict[str, np.ndarray]:
    """The vectors of a split's images as a database, and as each kind of query.

    Returns:
        [N, D] float32 under "image" and, of a joint model, "image_text": l2(phi + theta).
    """
    phi = retrieval_mining.embed_images(
        model, data.splits[split], longest_side=data.settings.longest_side
    )
    found = {IMAGE: phi}
    if "theta" in model.output:
        both = phi + retrieval_mining.embed_texts(model, data.splits[split].tfidf)
        found[IMAGE_AND_TEXT] = both / np.maximum(
            np.linalg.norm(both, axis=1, keepdims=True), 1e-12
        )
    return found


def baseline_vectors(settings: Settings, data: Data, split: str) -> np.ndarray:
    """The whitened R-MAC descriptors of a split without any training: [N, D] float32."""
    train = data.splits["train"]
    whitening = retrieval_data.open_whitening(settings, train.regions)
    model = semantic_retrieval.semantic_retrieval(
        train.regions.shape[2], dimensions=settings.dimensions or None
    )
    semantic_retrieval.set_whitening(model, whitening["mean"], whitening["projection"])
    return embeddings(model, data, split)[IMAGE]


def evaluate_vectors(
    queries: np.ndarray, database: np.ndarray, data: Data, split: str
) -> dict[str, float]:
    """NDCG and PCC of a split: its queries against all its images but themselves.

    Args:
        queries: [N, D], a row for every image of the split; those of `Split.query_rows` are used.
        database: [N, D].
        data: the opened data set.
        split: its name.
    """
    rows = data.splits[split].query_rows(data.settings.queries)
    return evaluate_scores(queries[rows] @ database.T, data, split)


def evaluate_scores(scores: np.ndarray, data: Data, split: str) -> dict[str, float]:
    """As `evaluate_vectors`, of scores [queries, N]."""
    part = data.splits[split]
    rows = part.query_rows(data.settings.queries)
    relevance = (part.tfidf[rows] @ part.tfidf.T).toarray()
    grid = [r for r in data.settings.r_grid if r < len(part.ids)]
    settings = data.settings
    return graded_ranking.ranking_metrics(
        relevance,
        scores,
        grid,
        exclude=rows,
        scale=settings.auc_scale,
        gain=settings.ndcg_gain,
        discount=settings.ndcg_discount,
        ideal=settings.ndcg_ideal,
    )


def evaluate_on_val(model: TripletModel, step: int, *, data: Data) -> dict[str, float]:
    """The metrics of split val that training watches."""
    del step
    metrics = {}
    found = embeddings(model, data, "val")
    for name, vectors in found.items():
        prefix = "" if name == IMAGE else f"{name}/"
        values = evaluate_vectors(vectors, found[IMAGE], data, "val")
        metrics |= {f"{prefix}{key}": values[key] for key in ("ndcg_auc", "pcc_auc", "ndcg@1")}
    return metrics


def study_agreement(
    queries: np.ndarray, database: np.ndarray, data: Data, split: str
) -> dict[str, float]:
    """A method's agreement with the users of `study_dir`, on the triplets inside a split.

    Args:
        queries: [N, D], dense or sparse.
        database: [N, D], of the same kind.
        data: the opened data set.
        split: its name.

    Raises:
        ValueError: if no triplet lies in the split.
    """

    def score(query: np.ndarray, image: np.ndarray) -> np.ndarray:
        first, second = queries[query], database[image]
        product = first.multiply(second) if hasattr(first, "multiply") else first * second
        return np.asarray(product.sum(axis=1)).ravel()

    return scored_agreement(score, data, split)


def scored_agreement(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray], data: Data, split: str
) -> dict[str, float]:
    """As `study_agreement`, by a function of query rows [T] and image rows [T] to scores [T]."""
    if not data.settings.study_dir:
        return {}
    triplets, users, places, answers = retrieval_study.read_study(data.settings.study_dir)
    row_of = {name: row for row, name in enumerate(data.splits[split].ids.tolist())}
    rows = np.array([[row_of.get(one, -1) for one in triplet] for triplet in triplets])
    known = (rows >= 0).all(axis=1)
    if not known.any():
        raise ValueError(f"{data.settings.study_dir}: no triplet lies in split {split}")
    counts = triplet_agreement.votes(users, places, answers, count=len(triplets))[known]
    q, first, second = rows[known].T
    values = triplet_agreement.method_agreement(score(q, first), score(q, second), counts)
    return {f"study/{name}": value for name, value in values.items()}


def _made_of(settings: Settings, data: Data, run_dir: runs.RunDirectory) -> dict[str, Any]:
    """What metrics depend on beside the run's settings, in JSON values."""
    model = run_dir.model_file("best")
    evaluation = {name: getattr(settings, name) for name in retrieval_flags.EVALUATION}
    return {
        "dataset": data.description(),
        "model_sha256": filesystem.sha256_of(model) if model.exists() else None,
        "evaluation": json.loads(json.dumps(evaluation)),
    }


def _of_other_splits(
    before: dict[str, Any], made_of: dict[str, Any], split: str
) -> dict[str, float]:
    """The metrics of a result that stand beside those of a split: of the same model and measure."""

    def measured(result: dict[str, Any]) -> list:
        evaluation = {**result.get("evaluation", {}), "eval_split": None}
        return [result.get("dataset"), result.get("model_sha256"), evaluation]

    if not before or measured(before) != measured(made_of):
        return {}
    return {k: v for k, v in before["metrics"].items() if not k.startswith(f"{split}/")}


def report(
    settings: Settings,
    data: Data,
    run_dir: runs.RunDirectory,
    metrics: dict[str, float],
    *,
    script: str,
    outcome: dict[str, Any],
) -> dict[str, Any]:
    """Writes `result.json`, whose metrics are named `<split>/<name>`, and returns it."""
    before = runs.read_json(run_dir.result_file) if run_dir.result_file.exists() else {}
    split = settings.eval_split
    made_of = _made_of(settings, data, run_dir)
    kept = _of_other_splits(before, made_of, split)
    result = run_dir.write_result(
        metrics=kept | {f"{split}/{name}": value for name, value in metrics.items()},
        seed=settings.seed,
        steps=outcome.get("step", before.get("steps", 0)),
        seconds=outcome.get("seconds", before.get("seconds", 0.0)),
        parameters=outcome.get("parameters", before.get("parameters", 0)),
        command=run_steps.command(script),
        best_step=outcome.get("best_step", before.get("best_step")),
        queries=len(data.splits[split].query_rows(settings.queries)),
        images=len(data.splits[split].ids),
        **made_of,
    )
    for name in ("", f"{IMAGE_AND_TEXT}/"):
        if f"{name}ndcg_auc" in metrics:
            logging.info(
                "%s, queries by %s: NDCG AUC %.2f, PCC AUC %.2f",
                split, name.rstrip("/") or IMAGE, metrics[f"{name}ndcg_auc"],
                metrics[f"{name}pcc_auc"],
            )  # fmt: skip
        if f"{name}study/normalised" in metrics:
            logging.info(
                "%s, queries by %s: agreement with users %.1f, plain mean %.1f (%d triplets)",
                split, name.rstrip("/") or IMAGE, metrics[f"{name}study/normalised"],
                metrics[f"{name}study/plain"], metrics[f"{name}study/triplets"],
            )  # fmt: skip
    logging.info("result in %s", run_dir.result_file)
    return result
