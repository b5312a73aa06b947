"""How matching runs are evaluated and what they leave: metrics, pictures, embeddings."""

from __future__ import annotations

import logging as standard_logging
import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from experiments import run_steps
from experiments.matching_data import Batches, Data
from experiments.matching_flags import Settings
from imgtext_tf import embedding_figures, figures, matching_evaluation, runs, training
from imgtext_tf.metrics import retrieval
from imgtext_tf.models.sentence_matching import SentenceMatching
from imgtext_tf.stages import Stage

Evaluated = tuple[dict[str, float], dict[str, np.ndarray]]

_LOG = standard_logging.getLogger(__name__)
_POINTS = 300  # of each modality in the t-SNE picture
_SURE = 0.99
_NO_SPREAD = 0.02  # standard deviation of a batch's scores
_RECENT = 50  # steps that a warning is about
_LEARNT = 300  # steps after which a model has left the loss of equal scores


def evaluate(
    model: SentenceMatching, batches: Batches, *, folds: int = 1, seed: int = 0
) -> Evaluated:
    """The metrics and embeddings of one part of the data."""
    captions = batches.part.captions
    return matching_evaluation.evaluate_matching(
        model,
        batches.images(),
        batches.captions(),
        captions.image_of,
        count=len(captions.image_ids),
        folds=folds,
        seed=seed,
    )


def protocol(settings: Settings, data_name: str, images: int) -> str:
    """The name of an evaluation, such as "flickr30k 1k" or "coco 1k (mean of 5 folds)"."""
    if settings.protocol:
        return settings.protocol
    size, rest = divmod(images // settings.folds, 1000)
    name = f"{data_name} {size}k" if size and not rest else f"{data_name} {images} images"
    return f"{name} (mean of {settings.folds} folds)" if settings.folds > 1 else name


def named_metrics(
    metrics: Mapping[str, float],
    arrays: Mapping[str, np.ndarray],
    batches: Batches,
    *,
    split: str,
    measure: str,
) -> dict[str, float]:
    """The metrics by the names that a result has: of COCO in 5 folds `test/...` and `test_1k/...`.

    Args:
        metrics: of `evaluate`, the recalls over the folds of the settings.
        arrays: the embeddings, of which those of the whole split are taken too.
        batches: of the split.
        split: that was evaluated.
        measure: of the model.
    """
    captions, folds = batches.part.captions, batches.settings.folds
    if folds == 1:
        return {f"{split}/{name}": value for name, value in metrics.items()}
    whole = retrieval.retrieval_metrics(
        arrays["images"], arrays["captions"], captions.image_of, measure=measure
    )
    size, rest = divmod(len(captions.image_ids) // folds, 1000)
    part = f"{size}k" if size and not rest else f"{folds}_folds"
    of_folds = {f"{split}_{part}/{name}": metrics[name] for name in whole}
    return {f"{split}/{name}": value for name, value in {**metrics, **whole}.items()} | of_folds


class Watch(keras.callbacks.Callback):
    """Warns where the training has collapsed or the modality classifier is sure of everything."""

    def __init__(self, stage: Stage, batch_size: int):
        """Notes what a collapse looks like.

        Args:
            stage: that is trained.
            batch_size: pairs a step.
        """
        super().__init__()
        self._stage = stage
        self._collapsed = 2 * batch_size * stage.margin
        self._warned: set[str] = set()
        self._recent: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Looks at the last steps; Keras' own means begin anew with each checkpoint."""
        self._recent.append(dict(logs or {}))
        if len(self._recent) < _RECENT:
            return
        logs = {
            name: float(np.mean([one.get(name, 0.0) for one in self._recent]))
            for name in ("triplet_loss", "score_spread", "classifier_accuracy")
        }
        self._recent.clear()
        loss, stage = logs["triplet_loss"], self._stage
        if stage.mining == "hardest" and "triplet" in stage.losses:
            at_collapse = abs(loss - self._collapsed) < 0.05 * self._collapsed
            # Negatives that are only hard keep the loss there, too, while the recall rises.
            at_collapse = at_collapse and logs["score_spread"] < _NO_SPREAD
            # The first steps stand there too, before anything is learnt.
            step = int(self.model.optimizer.iterations)
            if at_collapse and step > _LEARNT + stage.all_negatives_steps:
                self._warn(
                    f"the triplet loss stands at {loss:.2f} = 2 x batch x margin: all embeddings "
                    "have become one. Lower the learning rate, or begin with all negatives "
                    "(all_negatives_steps) or with a trained stage"
                )
        accuracy = logs["classifier_accuracy"]
        if "adversarial" in stage.losses and accuracy > _SURE and stage.target == "reverse":
            self._warn(
                f"the modality classifier is right in {accuracy:.1%}: its reversed gradient "
                "vanishes. Use --adversarial_target=flip with --adversarial_mode=alternating, a "
                "higher --adversarial_lambda or a weaker classifier"
            )

    def _warn(self, text: str) -> None:
        if text[:20] not in self._warned:
            self._warned.add(text[:20])
            _LOG.warning("stage %s: %s", self._stage.name, text)


def on_val(model: SentenceMatching, step: int, *, batches: Batches, seed: int) -> dict[str, float]:
    """The metrics of split val at a step."""
    metrics, _ = evaluate(model, batches, seed=seed)
    return metrics


def show_stage(
    model: SentenceMatching,
    stage: Stage,
    batches: Batches,
    run_dir: runs.RunDirectory,
    step: int,
) -> None:
    """The t-SNE picture of split val after a stage: S1's is before the game, S3's after it."""
    name = f"modalities_val_{stage.name}"
    if (run_dir.figures / f"{name}.png").exists():  # of the run that was stopped later
        return
    _, arrays = evaluate(model, batches, seed=batches.settings.seed)
    board = training.Board(run_dir.tensorboard / stage.name)
    show(arrays, run_dir, board, step, name=name, seed=batches.settings.seed)
    board.flush()


def show(
    arrays: Mapping[str, np.ndarray],
    run_dir: runs.RunDirectory,
    board: training.Board,
    step: int,
    *,
    name: str,
    seed: int,
) -> None:
    """The t-SNE picture of both modalities, in the run's folder `figures` and in TensorBoard."""
    rng = np.random.default_rng(seed)
    drawn = [
        arrays[key][rng.permutation(len(arrays[key]))[:_POINTS]] for key in ("images", "captions")
    ]
    of_what = name.removeprefix("modalities_").replace("_", " ")
    title = f"t-SNE of image and caption embeddings: {of_what}"
    figure = embedding_figures.modality_figure(*drawn, title=title, seed=seed)
    figures.save(figure, run_dir.figures / f"{name}.png")
    board.image(step, name, figures.to_image(figure))


def report(
    data: Data,
    model: SentenceMatching,
    batches: Batches,
    run_dir: runs.RunDirectory,
    outcome: Mapping[str, Any],
    *,
    evaluated: Evaluated | None = None,
) -> dict[str, Any]:
    """Evaluates a model on a split and writes `result.json`, pictures and projector files.

    Args:
        data: the opened data set.
        model: trained.
        batches: of the split that is reported.
        run_dir: of the run.
        outcome: steps, seconds and whatever else the training has to say.
        evaluated: of `evaluate`, where that has been done.

    Returns:
        What `result.json` holds.
    """
    settings = data.settings
    split, captions = settings.eval_split, batches.part.captions
    metrics, arrays = evaluated or evaluate(
        model, batches, folds=settings.folds, seed=settings.seed
    )
    name = protocol(settings, data.name, len(captions.image_ids))
    _LOG.info(
        "%s, %s: i2t %.1f/%.1f/%.1f  t2i %.1f/%.1f/%.1f  rsum %.1f  probe %.3f",
        split, name, *(metrics[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in (1, 5, 10)),
        metrics["rsum"], metrics["probe_accuracy"],
    )  # fmt: skip
    board = training.Board(run_dir.tensorboard)
    show(arrays, run_dir, board, outcome.get("steps", 0), name=f"modalities_{split}",
         seed=settings.seed)  # fmt: skip
    embedding_figures.write_projector(
        run_dir.tensorboard / "projector",
        {"image": arrays["images"][:1000], "caption": arrays["captions"][:1000]},
        {"image": captions.image_ids[:1000], "caption": captions.texts[:1000]},
    )
    board.flush()
    named = named_metrics(metrics, arrays, batches, split=split, measure=model.measure)
    before = runs.read_json(run_dir.result_file) if run_dir.result_file.exists() else {}
    kept = _kept(before, data)
    more = {key: value for key, value in outcome.items() if key not in ("steps", "seconds")}
    this = run_steps.command(runs.read_field(run_dir.settings_file, "script"))
    return run_dir.write_result(
        metrics=kept | named,
        seed=settings.seed,
        dataset=data.description(),
        steps=outcome.get("steps", before.get("steps", 0)),
        seconds=outcome.get("seconds", before.get("seconds", 0.0)),
        parameters=model.count_params(),
        command=before.get("command", this) if settings.eval_only else this,
        evaluation_command=this,
        protocol=name,
        **more or {key: before[key] for key in ("stages", "chosen") if key in before},
    )


def _kept(before: Mapping[str, Any], data: Data) -> dict[str, float]:
    """The metrics of an earlier result that are of the same data.

    Each split of precomputed features is a pair of files of its own: those of others stay.
    """
    now, then = data.description(), before.get("dataset", {})
    metrics = before.get("metrics", {})
    if now == then:
        return dict(metrics)
    if not data.split_digests or now["name"] != then.get("name"):
        return {}
    split = data.settings.eval_split
    return {key: value for key, value in metrics.items() if not re.match(f"{split}[_/]", key)}
