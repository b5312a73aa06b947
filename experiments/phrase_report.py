"""How the phrases of a generator are evaluated, and what a run leaves."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from experiments import phrase_data
from experiments.phrase_data import Data
from imgtext_tf import prototypes, runs, search, untrusted
from imgtext_tf.metrics import classification, multilabel
from imgtext_tf.models import phrase_generator

INDEX, PROTOTYPES, TRAIN_IMAGES = "phrases", "prototypes.npz", "train_images.txt"
TOP = 3  # phrases that the pipeline goes on with (Section 3.3)
_NEIGHBOURS = 20
# Train photos of a phrase: (name, fewest, most).
_BUCKETS = (
    ("1-2", 1, 2),
    ("3-5", 3, 5),
    ("6-20", 6, 20),
    ("21-100", 21, 100),
    ("101-", 101, 10**9),
)


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
    train, photos = data.embeddings(embedder, "train"), data.embeddings(embedder, split)
    train = train[data.train_rows]
    found = _prototypes(data, train, run_dir)
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
    metrics |= {
        f"{split}/{name}": value
        for name, value in _by_frequency(data, split, photos, weights, of_same).items()
    }
    _write_phrases(run_dir, data, split, ranked)
    return _write_result(data, run_dir, model, metrics, outcome)


def _prototypes(
    data: Data, embeddings: np.ndarray, run_dir: runs.RunDirectory
) -> prototypes.Prototypes:
    """Makes the prototypes after a training; later ones may have been edited, and are kept."""
    path = run_dir.path / PROTOTYPES
    if data.settings.eval_only and path.exists():
        return prototypes.Prototypes.load(path)
    found = prototypes_of(data, embeddings)
    ids = data.readers["train"].index["image_id"][data.train_rows].tolist()
    with runs.atomic_path(run_dir.path / TRAIN_IMAGES) as temporary:
        temporary.write_text("".join(f"{name.decode()}\n" for name in ids), encoding="utf-8")
    found.save(path)
    return found


def prototypes_of(data: Data, embeddings: np.ndarray) -> prototypes.Prototypes:
    """The prototypes of all queries of the train photos, further ones included (Eq. 2)."""
    found = prototypes.Prototypes(embeddings.shape[1], normalize=data.settings.normalize)
    queries = list(zip(data.queries["train"], data.more_queries(), strict=True))
    found.add(embeddings, [{*queries[row][0], *queries[row][1]} for row in data.train_rows])
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


def _by_frequency(
    data: Data, split: str, photos: np.ndarray, weights: search.Index, phrases: search.Index
) -> dict[str, float]:
    """w_c against phi_c for the same phrases, by how many train photos a phrase has.

    Of each phrase, the photos of the split are ranked by their cosine to it: its average precision
    does not depend on how frequent it is among all phrases.
    """
    truth = [set(own) for own in data.queries[split]]
    unit = photos / np.maximum(np.linalg.norm(photos, axis=1, keepdims=True), 1e-12)
    found: dict[str, float] = {}
    members = {name: [name in own for own in truth] for name in phrases.ids}
    tables = [(name, {one: index.vectors[place] for place, one in enumerate(index.ids)})
              for name, index in (("weights", weights), ("prototypes", phrases))]  # fmt: skip
    for bucket, fewest, most in _BUCKETS:
        chosen = [
            name
            for name in phrases.ids
            if fewest <= data.counts[name] <= most and any(members[name])
        ]
        if not chosen:
            continue
        found[f"phrases/{bucket}"] = len(chosen)
        for method, vector_of in tables:
            scores = unit @ np.array([vector_of[name] for name in chosen]).T
            precisions = [
                multilabel.average_precision(scores[:, place], members[name])
                for place, name in enumerate(chosen)
            ]
            found[f"photo_ap/{method}/{bucket}"] = float(np.mean(precisions))
    return found


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
    this = shlex.join(["python", "-m", script, *sys.argv[1:]])
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
