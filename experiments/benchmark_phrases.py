r"""Measures Shah2019's two costs of scale: a training step by number of queries, and the search.

    python -m experiments.benchmark_phrases --output=phrases.md

Training: a sampled softmax with our row-sparse optimiser, the same with Keras' own Adam, and a
full softmax with it where that fits. Search: queries a second and recall@10 of each back end that
is installed, on vectors that lie in clusters as embeddings of images do. All variants of one size
take turns in one run, so that a slow moment of the machine meets all of them; ratios are to the
first variant.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from experiments import common_flags, settings_flags
from imgtext_tf import optimizers, runs, search
from imgtext_tf.models import phrase_generator

_CHANNELS = 256

Variant = Callable[[], float]


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; `HELP` says what each means."""

    output: str
    classes: tuple[int, ...] = (10_000, 100_000, 1_000_000, 4_000_000)
    most_full: int = 100_000
    most_dense: int = 1_000_000
    dim: int = 64
    batch_size: int = 128
    num_sampled: int = 4096
    entries: tuple[int, ...] = (200_000, 1_000_000)
    queries: int = 256
    rounds: int = 5
    steps: int = 5
    seed: int = 0


HELP = {
    "output": "Markdown file to write.",
    "classes": "Numbers of queries of the softmax.",
    "most_full": "Largest number at which a full softmax is measured.",
    "most_dense": "Largest number at which Keras' Adam is measured.",
    "dim": "Length of an embedding.",
    "num_sampled": "Queries sampled a step.",
    "entries": "Numbers of phrases that are searched.",
    "queries": "Images that phrases are searched for at once.",
    "rounds": "How often each variant is measured, after a round to warm up.",
    "steps": "Training steps of one measurement.",
}


def run(settings: Settings) -> str:
    """Measures and writes a page of Markdown, which it returns."""
    machine = runs.environment()
    parts = [
        "# Many queries",
        f"- machine: {machine['cpu']}, {machine['cpu_cores']} cores, {machine['device']}\n"
        f"- versions: {', '.join(f'{k} {v}' for k, v in machine['versions'].items())}\n"
        f"- batches of {settings.batch_size}, {settings.num_sampled} sampled queries, "
        f"{settings.dim} dimensions; {settings.rounds} rounds, alternating",
    ]
    for classes in settings.classes:
        seconds = alternate(training_variants(settings, classes), settings.rounds)
        rows = [
            [name, f"{np.median(v) * 1000:.1f}", _ratio(v, next(iter(seconds.values())))]
            for name, v in seconds.items()
        ]
        parts.append(f"## A training step at {classes:,} queries")
        parts.append(_table(["variant", "median ms", "times the first"], rows))
        logging.info("%s", parts[-1])
    for entries in settings.entries:
        parts.append(f"## Search among {entries:,} phrases")
        parts.append(search_table(settings, entries))
        logging.info("%s", parts[-1])
    page = "\n\n".join(parts) + "\n"
    with runs.atomic_path(settings.output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def training_variants(settings: Settings, classes: int) -> dict[str, Variant]:
    """Seconds a training step, by sampler and optimiser."""
    made = {"sampled, LazyAdam": _training(settings, classes, optimizers.LazyAdam())}
    rows = optimizers.SparseAdagrad(row_wise=True)
    made["sampled, row-wise Adagrad"] = _training(settings, classes, rows)
    if classes <= settings.most_dense:
        made["sampled, Keras Adam"] = _training(settings, classes, keras.optimizers.Adam())
    if classes <= settings.most_full:
        full = _training(settings, classes, keras.optimizers.Adam(), sampler="full")
        made["full softmax, Keras Adam"] = full
    return made


def _training(
    settings: Settings,
    classes: int,
    optimizer: keras.optimizers.Optimizer,
    sampler: str = "log_uniform",
) -> Variant:
    model = phrase_generator.phrase_generator(
        num_queries=classes,
        feature_shape=(1, 1, _CHANNELS),
        embedding_dim=settings.dim,
        sampler=sampler,
        num_sampled=min(settings.num_sampled, classes // 2),
        seed=settings.seed,
    )
    phrase_generator.compile_generator(model, optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(settings.seed)
    size = settings.batch_size
    inputs = {
        "image_features": tf.constant(rng.normal(size=[size, 1, 1, _CHANNELS]), tf.float32),
        "query": tf.constant(np.minimum(rng.zipf(1.3, size), classes) - 1, tf.int64),
    }
    batch = (inputs, {"candidates": tf.zeros([size], tf.int64)})
    step = tf.function(lambda: model.train_step(batch))

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(settings.steps):
            logs = step()
        float(logs["loss"])  # waits for the last step
        return (time.perf_counter() - started) / settings.steps

    return measure


def search_table(settings: Settings, entries: int) -> str:
    """Queries a second and recall of each installed back end, as a Markdown table."""
    vectors = clustered(entries, settings.dim, settings.seed)
    queries = clustered(settings.queries, settings.dim, settings.seed + 1)
    ids = [f"phrase {number}" for number in range(entries)]
    indexes, built = {}, {}
    for backend in search.BACKENDS:
        if search.available(backend):
            started = time.perf_counter()
            indexes[backend] = search.build(backend, ids, vectors)
            built[backend] = time.perf_counter() - started
    truth = indexes["exact"].search(queries, 10).places

    def measured(index: search.Index) -> Variant:
        def measure() -> float:
            started = time.perf_counter()
            index.search(queries, 10)
            return time.perf_counter() - started

        return measure

    seconds = alternate({name: measured(i) for name, i in indexes.items()}, settings.rounds)
    rows: list[list[Any]] = []
    for name, values in seconds.items():
        found = indexes[name].search(queries, 10).places
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])
        speed = settings.queries / np.median(values)
        ratio = _ratio(seconds["exact"], values)
        rows.append([name, f"{built[name]:.1f}", f"{speed:.0f}", ratio, f"{recall:.3f}"])
    return _table(["back end", "build s", "queries/s", "times exact", "recall@10"], rows)


def clustered(count: int, dim: int, seed: int) -> np.ndarray:
    """Vectors as embeddings of images lie: topics, concepts of Zipf's law in them, noise."""
    shape = np.random.default_rng(7)
    topics = shape.normal(size=[200, dim])
    concepts = topics[shape.integers(200, size=8000)] + 0.7 * shape.normal(size=[8000, dim])
    rng = np.random.default_rng(seed)
    chosen = concepts[np.minimum(rng.zipf(1.2, count), 8000) - 1]
    return (chosen + 0.5 * rng.normal(size=[count, dim])).astype(np.float32)


def alternate(variants: Mapping[str, Variant], rounds: int) -> dict[str, np.ndarray]:
    """Measures every variant once a round, in turn, after a round that only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, measure in variants.items():
            seconds[name].append(measure())
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def _ratio(values: np.ndarray, first: np.ndarray) -> str:
    ratios = values / first
    return f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


def _table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.define(Settings, HELP)
    flags.adopt_module_key_flags(common_flags)
    flags.mark_flags_as_required(settings_flags.names_of(Settings))
    common_flags.run_main(main)
