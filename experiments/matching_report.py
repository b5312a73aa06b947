"""How matching runs are evaluated and what they leave: metrics, pictures, embeddings."""

from __future__ import annotations

import logging as standard_logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments import matching_start, run_steps
from experiments.matching_data import Batches, Data
from experiments.matching_flags import Settings
from imgtext_tf import (
    embedding_figures,
    figures,
    matching_evaluation,
    runs,
    training,
    untrusted,
)
from imgtext_tf.metrics import retrieval
from imgtext_tf.models.sentence_matching import SentenceMatching
from imgtext_tf.stages import Stage

Evaluated = tuple[dict[str, float], dict[str, np.ndarray]]

_LOG = standard_logging.getLogger(__name__)
_POINTS = 300  # of each modality in the t-SNE picture


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
    drawn = _drawn(arrays, seed)
    of_what = name.removeprefix("modalities_").replace("_", " ")
    title = f"t-SNE of image and caption embeddings: {of_what}"
    figure = embedding_figures.modality_figure(*drawn, title=title, seed=seed)
    figures.save(figure, run_dir.figures / f"{name}.png")
    board.image(step, name, figures.to_image(figure))


def show_before_and_after(
    data: Data,
    batches: Batches,
    evaluated: Evaluated,
    run_dir: runs.RunDirectory,
    board: training.Board,
    step: int,
) -> None:
    """The t-SNE picture of both modalities before the adversarial stages beside the one after them.

    Args:
        data: the opened data set.
        batches: of the split that is shown.
        evaluated: of `evaluate`, after the training.
        run_dir: of the run.
        board: of the run.
        step: of the picture in TensorBoard.
    """
    settings = data.settings
    try:
        path = matching_start.before_the_game(settings, run_dir)
    except runs.RunError as error:  # without a picture an evaluation is one, too
        _LOG.warning("no picture of before and after: %s", error)
        return
    if path is None or not path.exists():  # trained from the start, or not as far as that
        return
    before = evaluate(untrusted.load_model(path), batches, seed=settings.seed)
    titles = tuple(
        f"{when}: probe {one['probe_accuracy']:.3f}, centroids {one['centroid_distance']:.3f} apart"
        for when, (one, _) in (("before", before), ("after", evaluated))
    )
    figure = embedding_figures.before_and_after_figure(
        *(tuple(_drawn(arrays, settings.seed)) for _, arrays in (before, evaluated)),
        titles=titles,
        title=f"t-SNE of image and caption embeddings: {settings.eval_split}",
        seed=settings.seed,
    )
    name = f"modalities_{settings.eval_split}_before_and_after"
    figures.save(figure, run_dir.figures / f"{name}.png")
    board.image(step, name, figures.to_image(figure))


def _drawn(arrays: Mapping[str, np.ndarray], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        arrays[key][rng.permutation(len(arrays[key]))[:_POINTS]] for key in ("images", "captions")
    ]


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
    evaluated = evaluated or evaluate(model, batches, folds=settings.folds, seed=settings.seed)
    metrics, arrays = evaluated
    name = protocol(settings, data.name, len(captions.image_ids))
    _LOG.info(
        "%s, %s: i2t %.1f/%.1f/%.1f  t2i %.1f/%.1f/%.1f  rsum %.1f  probe %.3f",
        split, name, *(metrics[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in (1, 5, 10)),
        metrics["rsum"], metrics["probe_accuracy"],
    )  # fmt: skip
    board = training.Board(run_dir.tensorboard)
    show(arrays, run_dir, board, outcome.get("steps", 0), name=f"modalities_{split}",
         seed=settings.seed)  # fmt: skip
    show_before_and_after(data, batches, evaluated, run_dir, board, outcome.get("steps", 0))
    embedding_figures.write_projector(
        run_dir.tensorboard,
        {"image": arrays["images"][:1000], "caption": arrays["captions"][:1000]},
        {"image": captions.image_ids[:1000], "caption": captions.texts[:1000]},
    )
    board.flush()
    named = named_metrics(metrics, arrays, batches, split=split, measure=model.measure)
    before = runs.read_json(run_dir.result_file) if run_dir.result_file.exists() else {}
    kept = _kept(before, data)
    done = outcome or (before if kept else {})
    on_val = matching_start.metrics_on_val(
        settings, run_dir, done.get("chosen", done.get("stages", ()))
    )
    more = {key: value for key, value in outcome.items() if key not in ("steps", "seconds")}
    this = run_steps.command(runs.read_field(run_dir.settings_file, "script"))
    return run_dir.write_result(
        metrics=kept | on_val | named,
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
