"""The weights that a matching run, or one of its stages, begins with."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from experiments.matching_data import Data
from experiments.matching_flags import DIGEST, Settings, parse_stages
from imgtext_tf import runs, untrusted
from imgtext_tf.data import text
from imgtext_tf.models.sentence_matching import SentenceMatching
from imgtext_tf.stages import Stage

VOCABULARY = "vocabulary.txt"  # in the folder of stages: that of train and val is another one
# What makes the model; rates of dropout, precision and the training itself may be others.
_MODEL = (
    *("live_images", "image_pooling", "image_hidden", "normalize_features", "center_features"),
    *("tokens", "gru_layers", "bidirectional", "text_pooling", "embed_dim", "measure"),
    *("unit_images", "absolute", "classifier_units"),
)
# What makes the features, where they are not given.
_FEATURES = ("image_size", "central_fraction")


def settings_of(run_dir: runs.RunDirectory) -> Settings:
    """The settings that a run was begun with."""
    saved = runs.read_settings(run_dir.settings_file)["settings"]
    saved.pop(DIGEST, None)
    return runs.restored(Settings, saved, run_dir.settings_file)


def chooses(settings: Settings, stage: Stage) -> bool:
    """Whether a stage hands on its best weights on val, not its last.

    Where the encoders stay, so does the recall: no weights are better than the last.
    """
    return settings.stage_start == "best" and stage.train != ("classifier",)


def take_start(
    model: SentenceMatching, vocabulary: text.Vocabulary, data: Data, *, refit: bool
) -> None:
    """Gives a model the weights that the run of `--start` ended with.

    Args:
        model: of the run that begins.
        vocabulary: of the run that begins.
        data: of the run that begins.
        refit: see `start_file`.

    Raises:
        runs.RunError: if that run is not finished, or has no such weights.
        ValueError: if it is of another model, other data or other words.
    """
    folder = data.settings.start
    path = start_file(folder, refit=refit)
    _must_be_alike(runs.RunDirectory(folder), data)
    words = path.parent.parent / VOCABULARY
    if not words.exists() and path.parent == runs.RunDirectory(folder).path:
        words = runs.RunDirectory(folder).vocabulary_file
    if not words.exists():  # of an older version
        logging.warning("%s: its words are not known; only shapes are compared", path)
    elif text.Vocabulary.load(words).words != vocabulary.words:
        raise ValueError(f"{words}: has other words than this run; use the same data, --min_count, "
                         "--tokens and --scan_vocabulary")  # fmt: skip
    take_weights(model, path)
    logging.info("begins with %s", path)


def _must_be_alike(run: runs.RunDirectory, data: Data) -> None:
    """Raises ValueError, naming the first difference, if a run is of another model or other data.

    Shapes do not tell: `--text_pooling`, `--measure` and many others leave them as they are.
    """
    if not run.settings_file.exists():  # an imported checkpoint of an older version
        return
    here, there = data.settings, settings_of(run)
    from_images = bool(here.data_dir and there.data_dir)
    for name in _MODEL + (_FEATURES if from_images else ()):
        mine, its = getattr(here, name), getattr(there, name)
        if mine != its:
            raise ValueError(f"--start={here.start}: was trained with {name} {its!r}, this run has "
                             f"{mine!r}: give both the same --{name}")  # fmt: skip
    if from_images and not _same_backbone(run, there, data):
        raise ValueError(f"--start={here.start}: was trained with backbone {there.backbone!r} "
                         f"({there.backbone_weights}), this run has {here.backbone!r} "
                         f"({here.backbone_weights}): give both the same --backbone and "
                         "--backbone_weights")  # fmt: skip
    digest = runs.read_settings(run.settings_file)["settings"].get(DIGEST)
    if digest and digest != data.digest:  # an imported checkpoint has none
        raise ValueError(f"--start={here.start}: was trained on other data (sha256 {digest:.12}, "
                         f"here {data.digest:.12}): give both the same --data_dir, or the same "
                         "--precomputed and --drop_shared_captions")  # fmt: skip


def _same_backbone(run: runs.RunDirectory, there: Settings, data: Data) -> bool:
    """Whether two runs' features are of one backbone, wherever its file lies by now."""
    here = data.settings
    if here.live_images:  # it is among the weights that are taken
        return True
    names = [(one.backbone, one.backbone_weights) for one in (here, there)]
    if names[0] == names[1] and here.backbone_weights != "none":  # those depend on the seed
        return True
    if data.encoder is None or not run.backbone_file.exists():
        return names[0] == names[1]
    mine, its = (
        one.get_weights() for one in (data.encoder, untrusted.load_model(run.backbone_file))
    )
    same = len(mine) == len(its) and all(map(np.array_equal, mine, its))
    return same and (bool(mine) or names[0] == names[1])


def start_file(folder: str, *, refit: bool) -> pathlib.Path:
    """The weights that a finished run left after its last stage.

    Args:
        folder: of the run, or of an imported checkpoint.
        refit: those of its training on train and val, not the best ones on val: weights that have
            seen val must not be chosen on it.

    Raises:
        runs.RunError: if the run is not finished or has no such weights.
    """
    run = runs.RunDirectory(folder)
    if run.model_file("best").exists() and not (run.path / "stages").exists():
        return run.model_file("best")  # an imported checkpoint
    if not run.result_file.exists():
        raise runs.RunError(f"--start={folder}: has no {run.result_file.name}: train that run to "
                            "its end first")  # fmt: skip
    settings, result = settings_of(run), runs.read_json(run.result_file)
    if refit and not settings.refit:
        raise runs.RunError(f"--start={folder}: was not trained on train and val; train it with "
                            "--refit, or this run with --norefit")  # fmt: skip
    name = _last_stage(result, refit=refit)
    stage = {one.name: one for one in parse_stages(settings)}[name]
    path = _handed_on(run, settings, stage, refit=refit)
    if not path.exists():
        raise runs.RunError(f"--start={folder}: {path} is missing; train that run again")
    return path


def _handed_on(
    run: runs.RunDirectory, settings: Settings, stage: Stage, *, refit: bool
) -> pathlib.Path:
    """The weights that a stage hands on."""
    which = "best" if chooses(settings, stage) and not refit else "last"
    return run.path / ("refit" if refit else "") / "stages" / stage.name / f"model_{which}.keras"


def before_the_game(settings: Settings, run: runs.RunDirectory) -> pathlib.Path | None:
    """The weights that a run's first adversarial stage begins with.

    Returns:
        None where there is no such stage, or it begins with new weights.

    Raises:
        runs.RunError: as `start_file`.
    """
    stages = parse_stages(settings)
    first = next((n for n, stage in enumerate(stages) if "adversarial" in stage.losses), None)
    if first is None:
        return None
    if first:
        return _handed_on(run, settings, stages[first - 1], refit=settings.refit)
    return start_file(settings.start, refit=settings.refit) if settings.start else None


def metrics_on_val(
    settings: Settings, run: runs.RunDirectory, done: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The metrics on val of what was chosen there: of the weights that the last stage hands on.

    Args:
        settings: of the run.
        run: the run, trained on train.
        done: outcomes of its stages.

    Returns:
        `val/...` -> value; empty where val was not evaluated.
    """
    if not done:
        return {}
    last = done[-1]
    stage = {one.name: one for one in parse_stages(settings)}[last["name"]]
    step = last["best_step"] if chooses(settings, stage) else last["step"]
    history = runs.RunDirectory(run.path / "stages" / stage.name).read_history()
    rows = [row for row in history if int(row["step"]) == step]
    found = rows[-1].items() if rows else ()
    return {name: float(value) for name, value in found if name.startswith("val/") and value}


def _last_stage(result: Mapping[str, Any], *, refit: bool) -> str:
    done = result.get("stages", ()) if refit else result.get("chosen", result.get("stages", ()))
    if not done or any(stage["status"] != "finished" for stage in done):
        raise runs.RunError(f"--start={result.get('settings', {}).get('run_dir', '')}: its result "
                            "names no finished stages; train that run to its end")  # fmt: skip
    return done[-1]["name"]


def take_weights(model: SentenceMatching, path: pathlib.Path) -> None:
    """Gives the model the weights of a saved one.

    Raises:
        ValueError: if that is another model.
    """
    weights = untrusted.load_model(path).get_weights()
    shapes = [[tuple(one.shape) for one in some] for some in (weights, model.get_weights())]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{path}: its weights have other shapes than this run's model; use the "
                         "same data, vocabulary and model flags")  # fmt: skip
    model.set_weights(weights)


def chosen(stage: Stage, done: Mapping[str, Any]) -> Stage:
    """The stage up to the step with the best recall on val; all of it where the encoders stay."""
    best = done["best_step"] if stage.train != ("classifier",) else None
    return dataclasses.replace(stage, steps=best or done["step"])
