r"""Measures training steps and the input pipeline, as ratios of what alternates in one run.

    python -m experiments.benchmark --flagfile=small_classic --data_dir=datasets/relations \
        --run_dir=runs/benchmark --backbone=efficientnet_lite0.keras --vectors=en.vec.gz \
        --batch_size=12 --output=benchmark.md

Three questions: what padding a batch to its longest text saves against 30 sentences of 50 words,
what cached feature maps save against the live backbone, and how many pairs a second the input
pipeline gives. Every variant runs once a round, in turn, so that a slow moment of the machine
meets all of them. `--output` is a file of Markdown; the default is `benchmark.md` of the run.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from experiments import common_flags, relation_data, relation_experiment, relation_flags
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import runs, training

FLAGS = flags.FLAGS

flags.DEFINE_integer("rounds", 5, "How often each variant is measured.", lower_bound=2)
flags.DEFINE_integer("steps", 10, "Training steps of one measurement.", lower_bound=1)
flags.DEFINE_integer("pipeline_steps", 20, "Batches of one pipeline measurement.", lower_bound=1)
flags.declare_key_flag("output")
flags.adopt_module_key_flags(relation_flags)

# Gives the seconds of one training step or of one batch.
Variant = Callable[[], float]


def run(
    settings: Settings,
    *,
    output: str | None = None,
    rounds: int = 5,
    steps: int = 10,
    pipeline_steps: int = 20,
) -> str:
    """Measures and writes a page of Markdown, which it returns.

    Args:
        settings: the model, the data and the batch size to measure.
        output: the file to write; None means `benchmark.md` in the run directory.
        rounds: how often each variant is measured.
        steps: training steps of one measurement.
        pipeline_steps: batches of one pipeline measurement.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    with run_dir.locked():
        readers = relation_data.open_readers(settings)
        vocabulary, vectors = relation_data.open_text(settings, readers["train"], run_dir)
        training.set_seed(settings.seed)
        training.set_precision(settings.mixed_precision)
        encoder = relation_data.open_encoder(settings)
        with_cache = dataclasses.replace(
            settings, cache_features=settings.cache_features or "auto", tune_backbone=False
        )
        ngrams = vectors.ngram_settings() if vectors is not None and vectors.has_ngrams else None
        live = Data(settings, readers, vocabulary, ngrams)
        cached = dataclasses.replace(
            live, features=relation_data.open_features(with_cache, readers, encoder)
        )
        fixed = dataclasses.replace(
            cached, settings=dataclasses.replace(settings, fixed_padding=True)
        )

    def model(data: Data, *, compact: bool = True) -> keras.Model:
        return relation_experiment.build_model(data, vectors, encoder, compact=compact)

    from_cache = _training(model(cached), cached, steps)
    size = f"{settings.max_sentences} x {settings.max_words}"
    tables = {
        "Padding (training step, cached features)": {
            "to the longest text of the batch": from_cache,
            f"to {size}, real sentences encoded": _training(model(fixed), fixed, steps),
            f"to {size}, all sentences encoded": _training(
                model(fixed, compact=False), fixed, steps
            ),
        },
        "Feature maps (training step)": {
            "cached": from_cache,
            "live": _training(model(live), live, steps),
        },
        "Input pipeline (one batch)": {
            "cached features": _pipeline(cached, pipeline_steps),
            "decoded and distorted images": _pipeline(live, pipeline_steps),
        },
    }
    sections = []
    for title, variants in tables.items():
        seconds = alternate(variants, rounds)
        sections.append(f"## {title}\n\n{table(seconds, settings.batch_size)}")
        logging.info("%s\n%s", title, sections[-1])
    page = "\n\n".join([_head(settings, rounds, steps, pipeline_steps), *sections]) + "\n"
    with runs.atomic_path(output or run_dir.path / "benchmark.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def alternate(variants: Mapping[str, Variant], rounds: int) -> dict[str, np.ndarray]:
    """Measures every variant once a round, in turn, after a round that only warms up.

    Returns:
        Variant -> [rounds] seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, measure in variants.items():
            seconds[name].append(measure())
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def table(seconds: Mapping[str, np.ndarray], batch_size: int) -> str:
    """A Markdown table: median, quartiles, pairs a second, and the ratio to the first variant.

    The ratio is the median of the rounds' own ratios, with the smallest and the largest.
    """
    lines = [
        "| variant | median ms | quartiles | pairs/s | times the first |",
        "|---|---|---|---|---|",
    ]
    first = next(iter(seconds.values()))
    for name, values in seconds.items():
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]) * 1000
        ratios = values / first
        lines.append(
            f"| {name} | {median:.1f} | {low:.1f} to {high:.1f} "
            f"| {batch_size / median * 1000:.1f} "
            f"| {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}) |"
        )
    return "\n".join(lines)


def _training(model: keras.Model, data: Data, steps: int) -> Variant:
    """Seconds a training step on batches that are ready in memory, the same in every round."""
    dataset = data.training_batches(0, steps)
    step = tf.function(model.train_step, input_signature=[dataset.element_spec])
    batches = list(dataset)

    def measure() -> float:
        started = time.perf_counter()
        for batch in batches:
            logs = step(batch)
        float(logs["loss"])  # waits for the last step
        return (time.perf_counter() - started) / steps

    return measure


def _pipeline(data: Data, steps: int) -> Variant:
    """Seconds a batch, from the second one on: the first waits for the threads to start."""
    dataset = data.training_batches(0, steps + 1)

    def measure() -> float:
        batches = iter(dataset)
        next(batches)
        started = time.perf_counter()
        count = sum(1 for _ in batches)
        return (time.perf_counter() - started) / count

    return measure


def _head(settings: Settings, rounds: int, steps: int, pipeline_steps: int) -> str:
    machine = runs.environment()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    backbone = os.path.basename(settings.backbone)
    return "\n".join(
        [
            "# Benchmark",
            "",
            f"- machine: {machine['cpu']}, {machine['cpu_cores']} cores, {machine['device']}",
            f"- versions: {versions}",
            f"- model: {backbone} at {settings.image_size} pixels, GRU of {settings.gru_units} "
            f"units, attention {settings.image_attention}, batches of {settings.batch_size}",
            f"- {rounds} rounds of {steps} training steps and {pipeline_steps} pipeline batches, "
            "alternating, after one round to warm up",
        ]
    )


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(
        relation_flags.settings_from_flags("relation"),
        output=FLAGS.output,
        rounds=FLAGS.rounds,
        steps=FLAGS.steps,
        pipeline_steps=FLAGS.pipeline_steps,
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "run_dir"])
    common_flags.run_main(main)
