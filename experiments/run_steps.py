"""The steps between a script's settings and its run directory, whatever the paper.

A script's `run` stays its own, to be read from top to bottom; these are the steps in it that must
be the same everywhere, since users resume and evaluate all runs by the same rules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

from imgtext_tf import runs

Settings = TypeVar("Settings")

# What an evaluation may be told anew; all else is the trained run's.
EVALUATION = ("data_dir", "run_dir", "verify", "eval_only", "eval_split")
# Stands among the saved settings: a run goes on with the data it was begun with, wherever it lies.
DIGEST = "manifest_sha256"
_OF_FIT = ("max_steps", "checkpoint_every", "seed", "eval_steps", "monitor", "deterministic")


def begin(
    run_dir: runs.RunDirectory,
    settings: Any,
    digest: str,
    *,
    script: str,
    module: str,
    evaluation: Collection[str] = EVALUATION,
) -> None:
    """Starts or resumes the run of these settings and these data.

    Args:
        run_dir: of the run.
        settings: a dataclass.
        digest: of the data's manifest.
        script: see `runs.RunDirectory.begin`, as for `module`.
        module: that registers the model's layers.
        evaluation: names of the settings that an evaluation may be told anew.

    Raises:
        RunError: if the directory holds a run of other settings or data, or is in use.
    """
    values = dataclasses.asdict(settings)
    may_change = {*runs.MAY_CHANGE, *evaluation, "checkpoint_every"}
    if values.get("learning_rate_schedule", "constant") != "constant":
        may_change -= {"max_steps"}  # the schedule depends on it
    run_dir.begin(values | {DIGEST: digest}, script=script, module=module, may_change=may_change)


def schedule(settings: Any, **instead: Any) -> dict[str, Any]:
    """What `training.fit` takes of any settings: steps, evaluations, seed.

    Args:
        settings: a dataclass; a field that it has not keeps the default of `training.fit`.
        **instead: values that count instead of the settings'.
    """
    values = dataclasses.asdict(settings)
    found = {name: values[name] for name in _OF_FIT if name in values}
    return found | {"eval_every": values["eval_every"] or None} | instead


def as_trained(
    settings: Settings, run_dir: runs.RunDirectory, *, evaluation: Collection[str] = EVALUATION
) -> Settings:
    """The settings of a trained run with the evaluation that `settings` asks for.

    Args:
        settings: of the command line.
        run_dir: of the trained run.
        evaluation: names of the settings that count as they are asked for.

    Raises:
        RunError: if the folder holds no run.
    """
    saved = runs.read_settings(run_dir.settings_file)["settings"]
    saved.pop(DIGEST, None)
    given = {name: getattr(settings, name) for name in evaluation}
    if settings.cache_features:  # Other data have other feature maps.
        given["cache_features"] = settings.cache_features
    return runs.restored(type(settings), saved | given, run_dir.settings_file)


@contextlib.contextmanager
def evaluating(settings: Any, *, script: str, module: str) -> Iterator[runs.RunDirectory]:
    """The run directory of a script that trains nothing, locked and begun.

    All settings may change: the folder holds whatever was evaluated last.

    Args:
        settings: a dataclass.
        script: see `runs.RunDirectory.begin`, as for `module`.
        module: of the script.

    Raises:
        RunError: if the directory is in use.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    every = [field.name for field in dataclasses.fields(settings)]
    with run_dir.locked():
        run_dir.begin(settings, script=script, module=module, may_change=every)
        yield run_dir


def command(script: str) -> str:
    """The command line that runs a script with the flags it was given.

    Args:
        script: named where none of ours was started, as in a test.
    """
    # One script evaluates the runs of another: the flags are those of the one that was started.
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    started = spec.name if spec and spec.name.startswith("experiments.") else script
    return shlex.join(["python", "-m", started, *sys.argv[1:]])
