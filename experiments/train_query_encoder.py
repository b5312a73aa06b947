r"""Trains Shah2019's text encoder on associated texts and evaluates it on held-out groups.

    python -m experiments.train_query_encoder --flagfile=shah2019/small_query_encoder.flags \
        --run_dir=runs/text --texts=flickr30k_text/train_captions.tsv \
        --queries=query_image_pairs/train.tsv

Associated are any two texts of one group: queries that led to one image, captions of one photo.
`--texts` are files of group<TAB>text, `--queries` of text<TAB>group. A share of the groups of each
file is held out: each of them gives two texts, and the second must be found by the first.

Reference: Shah2019, Section 3.3.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from sklearn.feature_extraction.text import TfidfVectorizer

from experiments import common_flags, run_steps, settings_flags
from imgtext_tf import distribution, optimizers, runs, training, untrusted
from imgtext_tf.data import associations, grams
from imgtext_tf.models import query_encoder

_MOST_HELD_OUT = 2000


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run; `HELP` says what each means."""

    run_dir: str
    texts: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    held_out: float = 0.03
    buckets: int = 2**18
    longest: int = 2
    dim: int = 200
    gram_dim: int = 200
    attention_units: int = 200
    pooling: str = "attention"
    dropout: float = 0.0
    scale: float = 20.0
    learn_scale: bool = False
    learning_rate: float = 0.001
    batch_size: int = 256
    max_steps: int = 20_000
    checkpoint_every: int = 1000
    eval_every: int = 0
    seed: int = 0
    deterministic: bool = False


HELP = {
    "texts": "Files of group<TAB>text (comma-separated): any two texts of a group are associated.",
    "queries": "Files of text<TAB>group, such as query-image pairs.",
    "held_out": "Share of the groups of each file that is not trained on but evaluated.",
    "buckets": "Hash buckets of the n-grams.",
    "longest": "Words of the longest n-gram (Section 3.3: bigrams).",
    "dim": "Length of the embedding (Section 3.3: 200).",
    "gram_dim": "Length of an n-gram's vector.",
    "attention_units": "Units of the attention's hidden layer.",
    "pooling": "How n-grams become a text.",
    "dropout": "Rate on the pooled bag.",
    "scale": "Of the cosines in the loss.",
    "learn_scale": "Learn the scale.",
    "learning_rate": "Of LazyAdam.",
}
CHOICES = {"pooling": query_encoder.POOLING}


def run(settings: Settings) -> dict[str, Any]:
    """Trains up to `max_steps`, from the last checkpoint if there is one, and evaluates.

    Raises:
        AssociationError: if a file of texts is damaged or there is none.
        RunError: if the run directory holds a run of other settings, or is in use.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    train, held_out, digest = read_texts(settings)
    with run_dir.locked():
        run_dir.begin(
            dataclasses.asdict(settings) | {"texts_sha256": digest},
            script="experiments.train_query_encoder",
            module=query_encoder.__name__,
        )
        hashing = {"buckets": settings.buckets, "longest": settings.longest}
        run_dir.describe_model(labels=[], vocabulary=[], preprocessing=hashing)
        training.set_seed(settings.seed, settings.deterministic)
        model = build_model(settings)
        untrained = evaluate(model, settings.max_steps, settings=settings, held_out=held_out)
        outcome = training.fit(
            model,
            functools.partial(_batches, train, settings),
            run=run_dir,
            **run_steps.schedule(settings, monitor="val/mrr"),
            evaluate=functools.partial(evaluate, settings=settings, held_out=held_out),
            batch_ids=functools.partial(_batch_ids, train, settings),
        )
        if distribution.ends_here(outcome):
            return outcome
        best = untrusted.load_model(run_dir.model_file("best"))
        metrics = {
            **evaluate(best, outcome["step"], settings=settings, held_out=held_out),
            **{f"untrained/{name}": value for name, value in untrained.items()},
            **{f"tf-idf/{name}": value for name, value in _tfidf(held_out, settings.seed).items()},
        }
        for name, value in metrics.items():
            logging.info("%s: %.4f", name, value)
        return run_dir.write_result(
            metrics=metrics,
            seed=settings.seed,
            dataset={"name": "texts", "kind": "real", "manifest_sha256": digest},
            steps=outcome["step"],
            seconds=outcome["seconds"],
            parameters=model.count_params(),
            command=run_steps.command("experiments.train_query_encoder"),
            best_step=outcome["best_step"],
            groups=len(train),
        )


@distribution.scoped
def build_model(settings: Settings) -> keras.Model:
    """The compiled dual encoder."""
    encoder = query_encoder.query_encoder(
        buckets=settings.buckets,
        dim=settings.dim,
        gram_dim=settings.gram_dim,
        attention_units=settings.attention_units,
        pooling=settings.pooling,
        dropout=settings.dropout,
        seed=settings.seed,
    )
    model = query_encoder.dual_encoder(
        encoder, scale=settings.scale, learn_scale=settings.learn_scale
    )
    return query_encoder.compile_dual(model, optimizers.LazyAdam(settings.learning_rate))


def read_texts(
    settings: Settings,
) -> tuple[associations.Associations, dict[str, associations.Associations], str]:
    """(groups to train on, held-out groups of captions and of queries, digest of all texts)."""
    train: dict[str, list[str]] = {}
    source_of: dict[str, str] = {}
    held_out = {}
    digest = hashlib.sha256()
    for kind, paths in (("texts", settings.texts), ("queries", settings.queries)):
        held: dict[str, list[str]] = {}
        for path in paths:
            groups = associations.read_groups(path, group_first=kind == "texts")
            # Photos of both files must fall on the same side.
            groups = {name.removesuffix(".jpg"): texts for name, texts in groups.items()}
            digest.update(repr(sorted(groups.items())).encode("utf-8"))
            rest, part = associations.Associations(groups).split(settings.held_out)
            for name, own in zip(rest.names, rest.texts, strict=True):
                train.setdefault(f"{kind}/{name}", []).extend(own)
                # Captions and queries of one photo are not wrong for each other.
                source_of[f"{kind}/{name}"] = name
            held.update(zip(part.names, part.texts, strict=True))
        if held:
            held_out[kind] = associations.Associations(held)
    if not train:
        raise associations.AssociationError("give --texts or --queries")
    return associations.Associations(train, source_of=source_of), held_out, digest.hexdigest()


def _batches(
    train: associations.Associations, settings: Settings, start_step: int, num_steps: int
) -> tf.data.Dataset:
    return associations.pair_dataset(
        train,
        batch_size=settings.batch_size,
        seed=settings.seed,
        start_step=start_step,
        num_steps=num_steps,
        buckets=settings.buckets,
        longest=settings.longest,
    )


def _batch_ids(train: associations.Associations, settings: Settings, step: int) -> list[str]:
    """Group and texts of the pairs of a training batch, numbered from 0."""
    pairs, groups = train.batch(step, batch_size=settings.batch_size, seed=settings.seed)
    names = [train.names[group] for group in groups]
    return [f"{name}: {a} | {b}" for name, (a, b) in zip(names, pairs, strict=True)]


def evaluate(
    model: keras.Model,
    step: int,
    *,
    settings: Settings,
    held_out: dict[str, associations.Associations],
) -> dict[str, float]:
    """How well second texts are found by first ones, on average over the kinds and by kind."""
    encoder = query_encoder.encoder_of(model)
    found: dict[str, float] = {}
    for kind, groups in held_out.items():
        first, second = _held_out_pairs(groups, settings.seed)
        ids = [
            grams.gram_ids(tf.constant(side), buckets=settings.buckets, longest=settings.longest)
            for side in (first, second)
        ]
        a, b = (encoder.predict_on_batch({"gram_ids": one})["embedding"] for one in ids)
        scores = _without_shared(a @ b.T, first, second)
        found |= {f"{kind}/{name}": value for name, value in _retrieval(scores).items()}
    found["mrr"] = float(np.mean([value for name, value in found.items() if "mrr" in name]))
    return found


def _tfidf(held_out: dict[str, associations.Associations], seed: int) -> dict[str, float]:
    """The same for cosines of tf-idf vectors of unigrams and bigrams."""
    found = {}
    for kind, groups in held_out.items():
        first, second = _held_out_pairs(groups, seed)
        vectors = TfidfVectorizer(ngram_range=(1, 2)).fit_transform([*first, *second])
        scores = (vectors[: len(first)] @ vectors[len(first) :].T).toarray()
        scores = _without_shared(scores, first, second)
        found |= {f"{kind}/{name}": value for name, value in _retrieval(scores).items()}
    return found


def _held_out_pairs(groups: associations.Associations, seed: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(groups))[:_MOST_HELD_OUT]
    first, second = zip(*groups.pairs(chosen, rng), strict=True)
    return list(first), list(second)


def _without_shared(scores: np.ndarray, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """-inf for other pairs that have a text in common with a row's pair: they are not wrong."""
    _, numbers = np.unique([*first, *second], return_inverse=True)
    one, two = numbers[: len(first)], numbers[len(first) :]
    same = (one[:, None] == one) | (two[:, None] == two) | (one[:, None] == two)
    np.fill_diagonal(same, False)
    return np.where(same, -np.inf, scores)


def _retrieval(scores: np.ndarray) -> dict[str, float]:
    """Recall and mean reciprocal rank of the diagonal; equal scores count against it."""
    own = np.diag(scores)[:, None]
    ranks = (scores >= own).sum(1)
    return {
        "recall@1": float((ranks <= 1).mean()),
        "recall@10": float((ranks <= 10).mean()),
        "mrr": float((1 / ranks).mean()),
    }


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES, trains=True)
