"""How the phrases of a generator are evaluated, and what a run leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from experiments import phrase_data, phrase_ranking, run_steps
from experiments.phrase_data import Data
from imgtext_tf import prototypes, runs, search, untrusted
from imgtext_tf.metrics import classification, multilabel
from imgtext_tf.models import phrase_generator

INDEX, PROTOTYPES, TRAIN_IMAGES = "phrases", "prototypes.npz", "train_images.txt"
TOP = 3  # phrases that the pipeline goes on with (Section 3.3)
_NEIGHBOURS = 20


def evaluate_on_val(model: keras.Model, step: int, *, data: Data) -> dict[str, float]:
    """Precision and recall of the softmax's best queries on split val."""
    embedder = phrase_generator.embedder(model)
    embeddings = data.embeddings(embedder, "val")
    index = search.build("exact", data.names, phrase_generator.query_weights(model))
    return _precisions(index.search(embeddings, 10).ids, data.queries["val"])


def _precisions(ranked: Sequence, truth: Sequence) -> dict[str, float]:
    return {
        **{
            f"precision@{k}": float(multilabel.precision_at(ranked, truth, k).mean())
            for k in (1, 3)
        },
        "recall@10": float(multilabel.recall_at(ranked, truth, 10).mean()),
    }


def _with_further(ranked: Sequence, right: Sequence) -> dict[str, float]:
    """The same where phrases of a photo's own captions are right, too, asked for or not."""
    found = {
        f"precision@{k}_with_captions": float(multilabel.precision_at(ranked, right, k).mean())
        for k in (1, TOP)
    }
    return found | {f"word_precision@{TOP}_with_captions": word_precision(ranked, right, TOP)}


def word_precision(ranked: Sequence, truth: Sequence, k: int) -> float:
    """The share of the words of the first k phrases that stand in some right phrase of the photo.

    A rare phrase is hardly ever among the few that people used, and may be right all the same.
    """
    shares = []
    for phrases, right in zip(ranked, truth, strict=True):
        known = {word for phrase in right for word in phrase.split()}
        words = [word for phrase in list(phrases)[:k] for word in phrase.split()]
        shares.append(np.mean([word in known for word in words]) if words else 0.0)
    return float(np.mean(shares))


def report(
    data: Data, encoder: keras.Model, run_dir: runs.RunDirectory, outcome: dict[str, Any]
) -> dict[str, Any]:
    """Makes the prototypes and their index, compares all ways to phrases, and writes it all.

    Args:
        data: the opened data set.
        encoder: image encoder, for the baseline of the nearest photo.
        run_dir: of a trained model.
        outcome: of `training.fit`; empty where only the evaluation runs.

    Returns:
        What `result.json` holds.
    """
    split, settings = data.settings.eval_split, data.settings
    model = untrusted.load_model(run_dir.model_file("best"))
    embedder = phrase_generator.embedder(model)
    photos = data.embeddings(embedder, split)
    found = _prototypes(data, embedder, run_dir)
    names, vectors, _ = found.vectors(min_count=settings.prototype_images)
    everything = search.build(settings.backend, names, vectors)
    everything.save(run_dir.path / INDEX)
    weights = search.build("exact", data.names, phrase_generator.query_weights(model))
    known = {name: vector for name, vector in zip(names, vectors, strict=True)}
    same = [name for name in data.names if name in known]
    of_same = search.build("exact", same, np.array([known[name] for name in same]))

    truth, right = data.queries[split], data.right_phrases(split)
    ranked = {
        "weights": weights.search(photos, 10).ids,
        "prototypes": of_same.search(photos, 10).ids,
        "all_prototypes": everything.search(photos, 10).ids,
        "frequency": [list(data.counts)[:10]] * len(photos),
        **_nearest_photos(data, encoder, split),
    }
    metrics: dict[str, Any] = {
        "queries": len(data.names),
        "prototypes": len(names),
        "index_recall@10": everything.recall(photos[:200], 10),
    }
    for method, phrases in ranked.items():
        of_method = _precisions(phrases, truth)
        at_3 = multilabel.precision_at(phrases, truth, TOP)
        low, high = classification.bootstrap_interval(np.mean, at_3, seed=settings.seed)
        of_method |= {"precision@3_low": low, "precision@3_high": high}
        of_method["word_precision@3"] = word_precision(phrases, truth, TOP)
        of_method |= _with_further(phrases, right)
        metrics |= {f"{split}/{method}/{name}": value for name, value in of_method.items()}
        logging.info(
            "%s: precision@3 %.3f [%.3f, %.3f], of words %.3f",
            method, at_3.mean(), low, high, of_method["word_precision@3"],
        )  # fmt: skip
    by_frequency = phrase_ranking.by_frequency(data, split, photos, weights, everything)
    metrics |= {f"{split}/{name}": value for name, value in by_frequency.items()}
    _write_phrases(run_dir, data, split, ranked)
    return _write_result(data, run_dir, model, metrics, outcome)


def _prototypes(
    data: Data, embedder: keras.Model, run_dir: runs.RunDirectory
) -> prototypes.Prototypes:
    """Makes the prototypes after a training; later ones may have been edited, and are kept."""
    path = run_dir.path / PROTOTYPES
    if data.settings.eval_only and path.exists():
        return prototypes.Prototypes.load(path)
    found = prototypes_of(data, embedder)
    ids = data.readers["train"].index["image_id"][data.train_rows].tolist()
    with runs.atomic_path(run_dir.path / TRAIN_IMAGES) as temporary:
        temporary.write_text("".join(f"{name.decode()}\n" for name in ids), encoding="utf-8")
    found.save(path)
    return found


def prototypes_of(data: Data, embedder: keras.Model) -> prototypes.Prototypes:
    """The prototypes of all queries of the train photos, further ones included, in one pass.

    Reference: Shah2019, Eq. 2.
    """
    settings = data.settings
    found = prototypes.Prototypes(settings.embedding_dim, normalize=settings.normalize)
    # Sorted: sets have no order, and it decides that of the file.
    queries = [
        sorted({*own, *more})
        for own, more in zip(data.queries["train"], data.more_queries(), strict=True)
    ]
    rows, done = data.train_rows, 0
    for embeddings in data.embedding_batches(embedder, "train", rows):
        of_batch = rows[done : done + len(embeddings)]
        found.add(embeddings, [queries[row] for row in of_batch])
        done += len(embeddings)
    return found


def _nearest_photos(data: Data, encoder: keras.Model, split: str) -> dict[str, list[list[str]]]:
    """Baselines without training: the phrases of the train photos whose features are nearest."""
    if data.features is not None:
        model = phrase_data.feature_model(data.features.shape)
    else:
        model = phrase_data.image_model(encoder)
    train, photos = data.embeddings(model, "train"), data.embeddings(model, split)
    rows, counts = data.train_rows, data.counts
    queries = [data.queries["train"][row] for row in rows]
    ids = [str(row) for row in rows]
    near = search.build("exact", ids, train[rows]).search(photos, _NEIGHBOURS).places
    one, vote = [], []
    for rows in near:
        one.append(sorted(queries[rows[0]], key=lambda name: (-counts[name], name)))
        votes: dict[str, int] = {}
        for row in rows:
            for name in queries[row]:
                votes[name] = votes.get(name, 0) + 1
        vote.append(sorted(votes, key=lambda name: (-votes[name], -counts[name], name)))
    return {"nearest_photo": one, f"nearest_{_NEIGHBOURS}_photos": vote}


def _write_phrases(
    run_dir: runs.RunDirectory, data: Data, split: str, ranked: dict[str, Sequence]
) -> None:
    """A table of every photo's best three phrases by each method, right ones marked."""
    ids = [name.decode("utf-8") for name in data.readers[split].index["id"].tolist()]
    lines = ["id\t" + "\t".join(ranked) + "\n"]
    for row, name in enumerate(ids):
        right = set(data.queries[split][row])
        cells = [
            ", ".join(f"{one} *" if one in right else one for one in list(phrases[row])[:TOP])
            for phrases in ranked.values()
        ]
        lines.append("\t".join([name, *cells]) + "\n")
    with runs.atomic_path(run_dir.path / f"phrases_{split}.tsv") as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _write_result(
    data: Data,
    run_dir: runs.RunDirectory,
    model: keras.Model,
    metrics: dict[str, Any],
    outcome: dict[str, Any],
) -> dict[str, Any]:
    before = runs.read_json(run_dir.result_file) if run_dir.result_file.exists() else {}
    dataset = data.description()
    if before.get("dataset") != dataset:
        before = {name: value for name, value in before.items() if name != "metrics"}
    script = runs.read_field(run_dir.settings_file, "script")
    this = run_steps.command(script)
    result = run_dir.write_result(
        metrics=before.get("metrics", {}) | metrics,
        seed=data.settings.seed,
        dataset=dataset,
        steps=outcome.get("step", before.get("steps", 0)),
        seconds=outcome.get("seconds", before.get("seconds", 0.0)),
        parameters=model.count_params(),
        command=before.get("command", this) if data.settings.eval_only else this,
        evaluation_command=this,
        best_step=outcome.get("best_step", before.get("best_step")),
    )
    logging.info("result in %s", run_dir.result_file)
    return result
