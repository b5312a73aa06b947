"""What train_classic and train_metric share: train a classifier, evaluate it, report.

Otto2020's classifiers differ in their labels only: the eight classes, or the values of one metric.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from absl import logging

from experiments import relation_data, relation_report, relation_start, run_steps
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import distribution, losses, relations, runs, training, untrusted
from imgtext_tf.data import fasttext, shards, text
from imgtext_tf.models import relation_classifier


def run(settings: Settings) -> dict[str, Any]:
    """Trains up to `max_steps`, from the last checkpoint if there is one, and evaluates.

    With `eval_only` the run's own settings count, whatever the command line says about the model.

    Returns:
        What `result.json` holds; the outcome of `training.fit` if a signal stopped the training.

    Raises:
        ShardError: if the data set is damaged.
        RunError: if the run directory holds a run of other settings, or is in use.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    if settings.eval_only:
        settings = run_steps.as_trained(settings, run_dir)
    training.set_precision(settings.mixed_precision)
    with run_dir.locked():
        board = training.Board(run_dir.tensorboard)
        outcome: dict[str, Any] = {}
        if settings.eval_only:
            data = open_trained(settings, run_dir)
        else:
            data, outcome = _train(settings, run_dir, board)
            if distribution.ends_here(outcome):
                return outcome
        return relation_report.report(data, run_dir, board, outcome)


def open_trained(settings: Settings, run_dir: runs.RunDirectory) -> Data:
    """The data of a trained run, without its word vectors: the model holds them."""
    readers = relation_data.open_readers(settings)
    encoder = None
    if settings.cache_features and settings.inputs != "text":
        encoder = untrusted.load_model(run_dir.backbone_file)
    return Data(
        settings,
        readers,
        text.Vocabulary.load(run_dir.vocabulary_file),
        runs.read_field(run_dir.preprocessing_file, "ngrams"),
        relation_data.open_features(settings, readers, encoder),
    )


def _train(
    settings: Settings, run_dir: runs.RunDirectory, board: training.Board
) -> tuple[Data, dict[str, Any]]:
    """Builds data and model and trains: (data, outcome of `training.fit`)."""
    readers = relation_data.open_readers(settings)
    labels = relation_data.labels_of(settings, readers)
    if settings.init_from:
        settings = relation_start.settings_from(settings, labels)
    relation_report.check_monitor(settings, labels)
    run_steps.begin(
        run_dir,
        settings,
        relation_data.manifest_digest(readers),
        script="experiments."
        + ("train_classic" if settings.target == "relation" else "train_metric"),
        module=relation_classifier.__name__,
    )
    build = _start_from_run if settings.init_from else _start_anew
    data, encoder, model = build(settings, readers, run_dir)
    run_dir.describe_model(
        labels=data.labels,
        vocabulary=data.vocabulary.words,
        preprocessing={
            "image_size": settings.image_size,
            "central_fraction": settings.central_fraction,
            "max_sentences": settings.max_sentences,
            "max_words": settings.max_words,
            "ngrams": data.ngrams,
        },
    )
    if data.features is not None:
        run_dir.save_backbone(encoder)
    outcome = training.fit(
        model,
        data.training_batches,
        run=run_dir,
        **run_steps.schedule(settings),
        evaluate=functools.partial(relation_report.evaluate_on_val, data=data, board=board),
        board=board,
        batch_ids=data.batch_ids,
        sliced=True,
    )
    return data, outcome | {"parameters": model.count_params()}


def _start_anew(
    settings: Settings, readers: dict[str, shards.ShardReader], run_dir: runs.RunDirectory
) -> tuple[Data, keras.Model | None, keras.Model]:
    """(data, image encoder, compiled model) with untrained weights."""
    vocabulary, vectors = relation_data.open_text(settings, readers["train"], run_dir)
    training.set_seed(settings.seed, settings.deterministic)
    encoder = relation_data.open_encoder(settings)
    ngrams = vectors.ngram_settings() if vectors is not None and vectors.has_ngrams else None
    features = relation_data.open_features(settings, readers, encoder)
    data = Data(settings, readers, vocabulary, ngrams, features)
    return data, encoder, build_model(data, vectors, encoder)


def _start_from_run(
    settings: Settings, readers: dict[str, shards.ShardReader], _: runs.RunDirectory
) -> tuple[Data, keras.Model | None, keras.Model]:
    """(data, image encoder, compiled model) with the weights of the run `init_from`."""
    with distribution.scope():
        start = relation_start.load(settings)
    training.set_seed(settings.seed, settings.deterministic)
    share = relation_start.known_share(start.vocabulary, settings.data_dir)
    logging.info("the run's vocabulary knows %.1f %% of the train split's words", 100 * share)
    features = relation_data.open_features(settings, readers, start.encoder)
    data = Data(settings, readers, start.vocabulary, start.ngrams, features)
    with distribution.scope():
        classifier = relation_start.with_labels(start, data.labels)
    return data, start.encoder, _compiled(classifier, data, start.encoder)


@distribution.scoped
def build_model(
    data: Data,
    vectors: fasttext.WordVectors | None,
    encoder: keras.Model | None,
    *,
    compact: bool = True,
) -> keras.Model:
    """The compiled classifier, of feature maps where they are cached, else of pixels.

    Args:
        data: the opened data set.
        vectors: of the words; None where they are learnt.
        encoder: of the images; None for a model of texts only.
        compact: whether only real sentences are encoded; never under `jit_compile`, since XLA
            wants static shapes.
    """
    settings = data.settings
    logging.info("vocabulary of %d words", len(data.vocabulary.words))
    pretrained = {}
    if vectors is not None and settings.inputs != "image":
        matrix, _ = vectors.matrix(data.vocabulary)
        pretrained = {"word_dim": vectors.dim, "word_vectors": matrix}
        if data.ngrams is not None:
            pretrained["ngram_vectors"] = vectors.ngram_matrix()
    model = relation_classifier.relation_classifier(
        num_classes=len(data.labels),
        feature_shape=None if encoder is None else encoder.output_shape[1:],
        vocabulary_size=len(data.vocabulary),
        **pretrained,
        train_vectors=settings.train_vectors,
        inputs=settings.inputs,
        image_attention=settings.image_attention,
        fusion=settings.fusion,
        gru_units=settings.gru_units,
        image_dim=settings.image_dim or None,
        fc_units=settings.fc_units,
        image_dropout=settings.image_dropout,
        text_dropout=settings.text_dropout,
        word_dropout=settings.word_dropout,
        region_dropout=settings.region_dropout,
        word_scores=settings.word_scores,
        class_parts=relations.metric_parts() if settings.metric_logits else None,
        seed=settings.seed,
        compact=compact and not settings.jit_compile,
    )
    return _compiled(model, data, encoder)


@distribution.scoped
def _compiled(model: keras.Model, data: Data, encoder: keras.Model | None) -> keras.Model:
    """Puts the encoder in front of the classifier where pixels are read, and compiles it."""
    settings = data.settings
    if encoder is not None and data.features is None:
        model = relation_classifier.with_backbone(model, encoder)
    model.compile(
        optimizer=_optimizer(settings),
        loss={"logits": _loss(data)},
        metrics={"logits": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]},
        jit_compile=settings.jit_compile,
    )
    return model


def _loss(data: Data) -> keras.losses.Loss:
    if not data.settings.logit_adjustment:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Deviation 5: the paper's loss is plain cross entropy.
    return losses.AdjustedCrossEntropy(
        np.maximum(data.class_counts(), 1), strength=data.settings.logit_adjustment
    )


def _optimizer(settings: Settings) -> keras.optimizers.Optimizer:
    rate = settings.learning_rate
    if settings.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, settings.max_steps)
    return keras.optimizers.Adam(
        rate,
        epsilon=1e-8,  # TensorFlow 1's default, as the paper had; that of Keras is 1e-7
        weight_decay=settings.weight_decay or None,
        use_ema=settings.ema > 0,
        ema_momentum=settings.ema or 0.99,
    )
