"""Otto2020: what padding to the longest text saves, and what cached feature maps save."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import keras
import tensorflow as tf

from experiments import relation_data, relation_experiment
from experiments.benchmarks.measure import Comparison, Timer, draining, timer
from experiments.benchmarks.place import Place
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import runs, training

TITLE = "The classic classifier (Otto2020)"
MINUTES = 1.5


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Training steps and batches of a measurement; the model where the user names none."""

    steps: int = 10
    pipeline_steps: int = 20
    batch_size: int = 12
    backbone: str = "mobilenet_v2"
    image_size: int = 224
    gru_units: int = 256
    inputs: str = "both"


QUICK = Sizes(steps=2, pipeline_steps=4, backbone="small_cnn", image_size=64, gru_units=16)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """Training steps and input batches, on the user's settings or on drawn scenes."""
    settings = _settings(place, sizes)
    run_dir = runs.RunDirectory(place.folder / "classic")
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

        def step(data: Data, *, compact: bool = True) -> Timer:
            model = relation_experiment.build_model(data, vectors, encoder, compact=compact)
            return _training(model, data, sizes.steps)

        to_longest = step(cached)
        size = f"{settings.max_sentences} x {settings.max_words}"
        note = (
            f"{place.data_note()} Backbone {os.path.basename(settings.backbone)} at "
            f"{settings.image_size} pixels, GRUs of {settings.gru_units} units."
        )
        shared = {"unit": "pairs", "amount": settings.batch_size, "note": note}
        yield Comparison(
            f"Padding: a training step of {settings.batch_size} pairs, cached features",
            {
                f"to {size}, all sentences encoded": step(fixed, compact=False),
                f"to {size}, real sentences encoded": step(fixed),
                "to the longest text of the batch": to_longest,
            },
            **shared,
        )
        yield Comparison(
            f"Feature maps: a training step of {settings.batch_size} pairs",
            {"live": step(live), "cached": to_longest},
            **shared,
        )
        yield Comparison(
            f"Input of the classifier: a batch of {settings.batch_size} pairs",
            {
                "decoded and distorted images": _input(live, sizes.pipeline_steps),
                "cached features": _input(cached, sizes.pipeline_steps),
            },
            **shared,
        )
    training.set_precision(False)


def _settings(place: Place, sizes: Sizes) -> Settings:
    if place.relations is not None:
        return place.relations
    return Settings(
        data_dir=place.relation_shards(),
        run_dir="",
        backbone=sizes.backbone,
        backbone_weights="none",
        image_size=sizes.image_size,
        vectors="learnt",
        image_attention="regions",
        fusion="product",
        inputs=sizes.inputs,
        gru_units=sizes.gru_units,
        fc_units=(512, 128),
        batch_size=sizes.batch_size,
    )


def _training(model: keras.Model, data: Data, steps: int) -> Timer:
    """Of a step on batches that are ready in memory, the same in every round."""
    dataset = data.training_batches(0, steps)
    step = tf.function(model.train_step, input_signature=[dataset.element_spec])
    batches = list(dataset)

    def run() -> None:
        for batch in batches:
            logs = step(batch)
        float(logs["loss"])  # waits for the last step

    return timer(run, units=steps)


def _input(data: Data, steps: int) -> Timer:
    return draining(data.training_batches(0, steps + 1))
