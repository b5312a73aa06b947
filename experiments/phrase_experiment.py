"""Trains Shah2019's phrase generator and evaluates its phrases."""

from __future__ import annotations

import functools
from typing import Any

import keras
from absl import logging

from experiments import phrase_data, phrase_report, run_steps
from experiments.phrase_flags import Settings
from imgtext_tf import distribution, optimizers, runs, training
from imgtext_tf.models import phrase_generator

_EVALUATION = (*run_steps.EVALUATION, "backend")


def run(settings: Settings) -> dict[str, Any]:
    """Trains up to `max_steps`, from the last checkpoint if there is one, and evaluates.

    With `eval_only` the run's own settings count, whatever the command line says of the model.

    Returns:
        What `result.json` holds; the outcome of `training.fit` if a signal stopped the training.

    Raises:
        ShardError: if the data set is damaged.
        RunError: if the run directory holds a run of other settings, or is in use.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    if settings.eval_only:
        settings = run_steps.as_trained(settings, run_dir, evaluation=_EVALUATION)
    training.set_precision(settings.mixed_precision, scaled=False)
    with run_dir.locked():
        training.set_seed(settings.seed, settings.deterministic)
        encoder = phrase_data.open_encoder(settings)
        data = phrase_data.open_data(settings, encoder)
        outcome: dict[str, Any] = {}
        if not settings.eval_only:
            outcome = _train(data, encoder, run_dir)
            if distribution.ends_here(outcome):
                return outcome
        return phrase_report.report(data, encoder, run_dir, outcome)


def _train(
    data: phrase_data.Data, encoder: keras.Model, run_dir: runs.RunDirectory
) -> dict[str, Any]:
    settings = data.settings
    run_steps.begin(
        run_dir,
        settings,
        data.description()["manifest_sha256"],
        script="experiments.train_phrases",
        module=phrase_generator.__name__,
        evaluation=_EVALUATION,
    )
    run_dir.describe_model(
        labels=[],
        vocabulary=data.names,
        preprocessing={
            "image_size": settings.image_size,
            "central_fraction": settings.central_fraction,
        },
    )
    model = build_model(data, encoder)
    if data.features is not None:
        run_dir.save_backbone(phrase_data.pooled(encoder))
    outcome = training.fit(
        model,
        data.training_batches,
        run=run_dir,
        **run_steps.schedule(settings),
        evaluate=functools.partial(phrase_report.evaluate_on_val, data=data),
        sliced=True,
        batch_ids=data.batch_ids,
    )
    return outcome | {"parameters": model.count_params()}


@distribution.scoped
def build_model(data: phrase_data.Data, encoder: keras.Model) -> keras.Model:
    """The compiled generator, of pooled features where they are cached, else of pixels.

    Raises:
        ValueError: if no query has `min_images` train photos.
    """
    settings, names = data.settings, data.names
    if not names:
        raise ValueError(f"no query has --min_images={settings.min_images} train photos")
    sampled = settings.sampler in ("log_uniform", "uniform", "mixed")
    sampler = settings.sampler
    if sampled and (not settings.num_sampled or settings.num_sampled >= len(names)):
        sampler = "full"
    logging.info(
        "%d queries in the softmax (%s), %d pairs", len(names), sampler, len(data.pairs().rows)
    )
    shape = encoder.output_shape[1:] if data.features is None else data.features.shape
    model = phrase_generator.phrase_generator(
        num_queries=len(names),
        feature_shape=shape,
        embedding_dim=settings.embedding_dim,
        hidden_units=settings.hidden_units,
        dropout=settings.dropout,
        sampler=sampler,
        num_sampled=settings.num_sampled or len(names),
        scale=settings.scale,
        learn_scale=settings.learn_scale,
        log_q=settings.log_q,
        seed=settings.seed,
    )
    phrase_data.set_frequencies(model, data)
    if data.features is None:
        model = phrase_generator.with_backbone(model, encoder)
    return phrase_generator.compile_generator(model, _optimizer(settings))


def _optimizer(settings: Settings) -> keras.optimizers.Optimizer:
    rate: Any = settings.learning_rate
    if settings.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, settings.max_steps)
    if settings.optimizer == "lazy_adam":
        return optimizers.LazyAdam(rate)
    if settings.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    return optimizers.SparseAdagrad(rate, row_wise=settings.optimizer == "row_adagrad")
