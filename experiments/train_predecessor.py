r"""Trains the predecessor of Table 7's row "[13]": Henning and Ewerth's encoder with two heads.

    python -m experiments.train_predecessor --flagfile=table7_predecessor \
        --data_dir=datasets/relations --run_dir=runs/predecessor --vectors=crawl-300d-2M.vec.gz

First, where --autoencoder_steps says so, an autoencoder learns to write text and picture anew from
the article embedding, without labels; then heads for CMI and SC learn on it. Started again with the
same flags it goes on where it stopped. The flags of the classifiers that this model has no use for,
such as --ema, are refused, and so is --eval_only: a finished run is evaluated by starting it again.

The printed row (68.8 and 49.6) is what the majority class gets on the paper's test pairs, so that
it is no target; the result holds the majority's share of the data at hand beside the model's.

Reference: Henning and Ewerth (2017, 2018); Otto2020, Table 7.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf
from absl import flags, logging

from experiments import (
    common_flags,
    relation_data,
    relation_flags,
    relation_predecessor,
    run_steps,
    settings_flags,
)
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from experiments.relation_predecessor import METRICS
from imgtext_tf import curve_figures, distribution, figures, relations, runs, training, untrusted
from imgtext_tf.data import fasttext
from imgtext_tf.models import article_encoder

_CLIP = 5.0

flags.DEFINE_integer("sentence_units", 600, "Units of sentence and image vectors.", lower_bound=1)
flags.DEFINE_integer("article_units", 2400, "Units of the article embedding.", lower_bound=1)
flags.DEFINE_integer("autoencoder_steps", 0, "Steps without labels before.", lower_bound=0)
flags.DEFINE_float("autoencoder_rate", 1.0, "Its learning rate (SGD), halved every epoch.")
flags.DEFINE_bool("train_encoder", True, "Train the encoder with the heads; else the heads alone.")
flags.DEFINE_integer("halve_every_epochs", 8, "Epochs after which the learning rate halves.")
flags.adopt_module_key_flags(relation_flags)


@dataclasses.dataclass(frozen=True)
class Predecessor:
    """What only this model has; the flag of the same name says what each means."""

    sentence_units: int = 600
    article_units: int = 2400
    autoencoder_steps: int = 0
    autoencoder_rate: float = 1.0
    train_encoder: bool = True
    halve_every_epochs: int = 8


def run(settings: Settings, own: Predecessor) -> dict[str, Any]:
    """Trains and evaluates.

    Returns:
        What `result.json` holds, with metrics `<cmi or sc>/<part>/...`; the outcome of
        `training.fit` if a signal stopped a training.

    Raises:
        ShardError: if the data set is damaged.
        RunError: if the run directory holds a run of other settings, or is in use.
        ValueError: if the settings ask for what this model has not.
    """
    relation_predecessor.check(settings)
    run_dir = runs.RunDirectory(settings.run_dir)
    training.set_precision(settings.mixed_precision)
    with run_dir.locked():
        readers = relation_data.open_readers(settings)
        digest = relation_data.manifest_digest(readers)
        run_dir.begin(
            {**dataclasses.asdict(settings), **dataclasses.asdict(own), "manifest_sha256": digest},
            script="experiments.train_predecessor",
            module=article_encoder.__name__,
            may_change={*runs.MAY_CHANGE, "verify", "checkpoint_every"},
        )
        vocabulary, vectors = relation_data.open_text(settings, readers["train"], run_dir)
        training.set_seed(settings.seed, settings.deterministic)
        backbone = relation_data.open_encoder(settings)
        data = Data(
            settings,
            readers,
            vocabulary,
            vectors.ngram_settings() if vectors is not None and vectors.has_ngrams else None,
            relation_data.open_features(settings, readers, backbone),
        )
        encoder = build_encoder(data, vectors, backbone, own)
        if own.autoencoder_steps:
            outcome = _train_autoencoder(data, encoder, own, run_dir)
            if outcome["status"] == "stopped":
                return outcome
        outcome, heads = _train_heads(data, encoder, backbone, own, run_dir)
        if distribution.ends_here(outcome):
            return outcome
        return _report(data, run_dir, outcome, heads.count_params())


@distribution.scoped
def build_encoder(
    data: Data,
    vectors: fasttext.WordVectors | None,
    backbone: keras.Model,
    own: Predecessor,
) -> keras.Model:
    """The encoder of articles, of feature maps where they are cached, else of pixels."""
    settings = data.settings
    pretrained = {}
    if vectors is not None:
        pretrained = {"word_dim": vectors.dim, "word_vectors": vectors.matrix(data.vocabulary)[0]}
        if data.ngrams is not None:
            pretrained["ngram_vectors"] = vectors.ngram_matrix()
    encoder = article_encoder.article_encoder(
        feature_shape=backbone.output_shape[1:],
        vocabulary_size=len(data.vocabulary),
        **pretrained,
        train_vectors=settings.train_vectors,
        sentence_units=own.sentence_units,
        article_units=own.article_units,
        dropout=settings.text_dropout,
        seed=settings.seed,
    )
    return (
        encoder if data.features is not None else article_encoder.with_backbone(encoder, backbone)
    )


def _sgd(data: Data, rate: float, epochs: int) -> keras.optimizers.Optimizer:
    """SGD whose rate halves every so many epochs, with clipped gradients."""
    steps = -(-len(data.readers["train"]) // data.settings.batch_size)
    schedule = keras.optimizers.schedules.ExponentialDecay(rate, epochs * steps, 0.5, True)
    return keras.optimizers.SGD(schedule, global_clipnorm=_CLIP)


def _train_autoencoder(
    data: Data, encoder: keras.Model, own: Predecessor, run_dir: runs.RunDirectory
) -> dict[str, Any]:
    """Trains encoder and decoders on the train split, without a look at its labels."""
    settings = data.settings
    # A picture can be drawn where pixels are read.
    size = settings.image_size if data.features is None else None
    losses: dict[str, keras.losses.Loss] = {
        "words": keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    }
    if size is not None:
        losses["picture"] = keras.losses.MeanSquaredError()
    with distribution.scope():
        model = article_encoder.autoencoder(
            encoder,
            vocabulary_size=len(data.vocabulary),
            sentence_units=own.sentence_units,
            image_size=size,
            seed=settings.seed,
        )
        model.compile(optimizer=_sgd(data, own.autoencoder_rate, 1), loss=losses)

    def batches(start: int, steps: int) -> tf.data.Dataset:
        return data.training_batches(start, steps, worker=(0, 1)).map(rewritten)

    def rewritten(inputs: dict[str, tf.Tensor], *_: tf.Tensor) -> tuple[dict, dict, dict]:
        targets = {"words": inputs["word_ids"]}
        # Of the whole batch, before a worker takes its slice: a mean over the real words.
        real = tf.cast(inputs["word_ids"] != 0, tf.float32)
        weights = {"words": tf.math.divide_no_nan(real, tf.reduce_mean(real))}
        if size is not None:
            targets["picture"] = 2 * inputs["image"] - 1
            # Keras wants as many axes as the loss has: one for each pixel.
            weights["picture"] = tf.ones_like(inputs["image"][..., 0])
        return inputs, targets, weights

    logging.info("autoencoder: %d steps without labels", own.autoencoder_steps)
    return training.fit(
        model,
        batches,
        run=runs.RunDirectory(run_dir.path / "autoencoder"),
        max_steps=own.autoencoder_steps,
        checkpoint_every=settings.checkpoint_every,
        seed=settings.seed,
        deterministic=settings.deterministic,
        batch_ids=data.batch_ids,
    )


def _train_heads(
    data: Data,
    encoder: keras.Model,
    backbone: keras.Model,
    own: Predecessor,
    run_dir: runs.RunDirectory,
) -> tuple[dict[str, Any], keras.Model]:
    """Trains the classifier: (outcome of `training.fit`, the model)."""
    settings = data.settings
    encoder.trainable = own.train_encoder
    if data.features is None:
        backbone.trainable = settings.tune_backbone
    labels = {metric: len(relations.METRIC_VALUES[metric]) for metric in METRICS}
    losses = {
        metric: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for metric in METRICS
    }
    with distribution.scope():
        model = article_encoder.metric_heads(encoder, num_labels=labels, seed=settings.seed)
        model.compile(
            optimizer=_sgd(data, settings.learning_rate, own.halve_every_epochs), loss=losses
        )
    tables = {
        metric: tf.constant(relation_predecessor.labels_of_classes(metric), tf.int32)
        for metric in METRICS
    }

    def batches(start: int, steps: int) -> tf.data.Dataset:
        return data.training_batches(start, steps).map(
            lambda inputs, label: (
                inputs,
                {metric: tf.gather(table, label) for metric, table in tables.items()},
            )
        )

    _describe(data, backbone, run_dir)
    outcome = training.fit(
        model,
        batches,
        run=run_dir,
        # On val: the authors chose by the pairs they reported on.
        **run_steps.schedule(settings, monitor="val/harmonic_accuracy"),
        evaluate=lambda trained, _: relation_predecessor.evaluate(trained, data, "val")[0],
        sliced=True,
        batch_ids=data.batch_ids,
    )
    return outcome, model


def _describe(data: Data, backbone: keras.Model, run_dir: runs.RunDirectory) -> None:
    """Writes what is needed beside the weights to use the model."""
    settings = data.settings
    run_dir.describe_model(
        labels=[name for metric in METRICS for name in relations.labels_of(metric)],
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
        run_dir.save_backbone(backbone)


def _report(
    data: Data, run_dir: runs.RunDirectory, outcome: dict[str, Any], parameters: int
) -> dict[str, Any]:
    split = data.settings.eval_split
    best = untrusted.load_model(run_dir.model_file("best"))
    _, arrays = relation_predecessor.evaluate(best, data, split)
    metrics = relation_predecessor.part_metrics(data, split, arrays, run_dir)
    curves = curve_figures.training_curves(run_dir.read_history())
    figures.save(curves, run_dir.figures / "curves.png")
    return run_dir.write_result(
        metrics=metrics,
        seed=data.settings.seed,
        dataset=data.description(),
        steps=outcome["step"],
        seconds=outcome["seconds"],
        parameters=parameters,
        command=run_steps.command("experiments.train_predecessor"),
        best_step=outcome["best_step"],
    )


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return run(relation_flags.settings_from_flags("relation"), settings_flags.read(Predecessor))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "run_dir"])
    common_flags.run_main(main, trains=True)
