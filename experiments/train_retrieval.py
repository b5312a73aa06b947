r"""Trains and evaluates Gordo2017's embedding of images for semantic retrieval.

    python -m experiments.train_retrieval --flagfile=gordo2017/table2_joint.flags \
        --data_dir=datasets/vg --run_dir=runs/joint

Started again with the same flags it goes on where it stopped. The report holds the queries by image
alone (V) and, of a joint model, by image and text (V+T).

Reference: Gordo2017, Sections 5 and 6, Table 2.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
from absl import flags, logging

from experiments import (
    common_flags,
    retrieval_data,
    retrieval_flags,
    retrieval_mining,
    retrieval_report,
    run_steps,
)
from experiments.retrieval_data import Data
from experiments.retrieval_flags import Settings
from imgtext_tf import distribution, runs, training, triplet_batches, untrusted
from imgtext_tf.models import semantic_retrieval
from imgtext_tf.text_similarity import TfIdf

# What an evaluation may be told anew; all else is the trained run's.
_EVALUATION = (*retrieval_flags.PLACES, *retrieval_flags.EVALUATION)
_MONITORS = ("ndcg_auc", "pcc_auc", "image_text/ndcg_auc", "image_text/pcc_auc")


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
        settings = run_steps.as_trained(settings, run_dir, evaluation=_EVALUATION)
    elif settings.monitor.removeprefix("val/") not in _MONITORS:
        known = ", ".join(f"val/{name}" for name in _MONITORS)
        raise ValueError(f"--monitor={settings.monitor}: use one of {known}")
    training.set_precision(settings.mixed_precision)
    with run_dir.locked():
        outcome: dict[str, Any] = {}
        if settings.eval_only:
            data = _open_trained(settings, run_dir)
        else:
            data, outcome = _train(settings, run_dir)
            if distribution.ends_here(outcome):
                return outcome
        model = untrusted.load_model(run_dir.model_file("best"))
        metrics = evaluate(model, data, settings.eval_split)
        return retrieval_report.report(
            settings, data, run_dir, metrics, script="experiments.train_retrieval", outcome=outcome
        )


def evaluate(model: semantic_retrieval.TripletModel, data: Data, split: str) -> dict[str, float]:
    """All metrics of a split; those of queries by image and text begin with "image_text/"."""
    metrics = {}
    found = retrieval_report.embeddings(model, data, split)
    database = found[retrieval_report.IMAGE]
    for name, queries in found.items():
        values = retrieval_report.evaluate_vectors(queries, database, data, split)
        values |= retrieval_report.study_agreement(queries, database, data, split)
        prefix = "" if name == retrieval_report.IMAGE else f"{name}/"
        metrics |= {f"{prefix}{key}": value for key, value in values.items()}
    return metrics


@distribution.scoped
def build_model(settings: Settings, data: Data) -> semantic_retrieval.TripletModel:
    """The compiled model, with its PCA whitening."""
    train = data.splits["train"]
    model = semantic_retrieval.semantic_retrieval(
        train.regions.shape[2],
        dimensions=settings.dimensions or None,
        vocabulary_size=None if settings.embedding == "visual" else len(data.vectorizer),
    )
    whitening = retrieval_data.open_whitening(settings, train.regions)
    semantic_retrieval.set_whitening(model, whitening["mean"], whitening["projection"])
    # Deviation 1: without it the convolutional layers stay as they are.
    if settings.tune_backbone:
        data.encoder.trainable = True
        semantic_retrieval.freeze_batch_norm(data.encoder)
        model = semantic_retrieval.with_backbone(model, data.encoder)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [settings.drop_step], [settings.learning_rate, settings.dropped_rate]
    )
    model.compile(
        keras.optimizers.Adam(rate, epsilon=1e-8),
        weights=semantic_retrieval.EMBEDDINGS[settings.embedding],
        margin=settings.margin,
        micro_batches=settings.micro_batches,
    )
    return model


def _train(settings: Settings, run_dir: runs.RunDirectory) -> tuple[Data, dict[str, Any]]:
    training.set_seed(settings.seed, settings.deterministic)
    data = retrieval_data.open_data(settings)
    run_steps.begin(
        run_dir,
        settings,
        data.description()["manifest_sha256"],
        script="experiments.train_retrieval",
        module=semantic_retrieval.__name__,
        evaluation=_EVALUATION,
    )
    # Anew: what was drawn while the data was opened depends on whether caches were there.
    training.set_seed(settings.seed, settings.deterministic)
    model = build_model(settings, data)
    logging.info("%d parameters", model.count_params())
    config = data.vectorizer.get_config()
    run_dir.describe_model(
        labels=(),
        vocabulary=config.pop("terms"),
        preprocessing={
            "longest_side": settings.longest_side,
            "rmac_levels": settings.rmac_levels,
            "tfidf": config,
        },
    )
    if not settings.tune_backbone:
        run_dir.save_backbone(data.encoder)
    feed = retrieval_mining.TripletFeed(data.splits["train"], settings, run_dir)
    feed.set_model(model)
    outcome = training.fit(
        model,
        feed.make_dataset,
        run=run_dir,
        **run_steps.schedule(settings),
        evaluate=functools.partial(retrieval_report.evaluate_on_val, data=data),
        callbacks=[feed],
        batch_ids=feed.batch_ids,
        sliced=True,
        cut=triplet_batches.cut_triplets,
    )
    return data, outcome | {"parameters": model.count_params()}


def _open_trained(settings: Settings, run_dir: runs.RunDirectory) -> Data:
    """The data of a trained run, by its own backbone and vocabulary."""
    return retrieval_data.open_data(
        settings,
        vectorizer=open_vectorizer(run_dir),
        encoder=None if settings.tune_backbone else untrusted.load_model(run_dir.backbone_file),
        splits=(settings.eval_split,),
    )


def open_vectorizer(run_dir: runs.RunDirectory) -> TfIdf:
    """The tf-idf weights that a run was trained with."""
    terms = runs.read_words(run_dir.vocabulary_file)
    config = runs.read_field(run_dir.preprocessing_file, "tfidf")
    return TfIdf.from_config({"terms": terms, **config})


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return run(retrieval_flags.settings_from_flags())


if __name__ == "__main__":
    retrieval_flags.define_flags()
    flags.mark_flags_as_required(["data_dir", "run_dir"])
    common_flags.run_main(main, trains=True)
