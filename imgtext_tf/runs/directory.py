"""The directory of one run: its lock, and what is written while it trains."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from imgtext_tf import filesystem, mirror, run_log, untrusted
from imgtext_tf.runs import files
from imgtext_tf.runs.files import RunError, atomic_path, read_json, save_model, write_json
from imgtext_tf.runs.machine import environment
from imgtext_tf.runs.saved_settings import MAY_CHANGE, compare, read_settings

logger = logging.getLogger(__name__)


class RunDirectory:
    """The files of one run; the package's docstring lists them."""

    def __init__(self, path: str | os.PathLike):
        """Names the directory, which is made when something is written.

        Args:
            path: the run directory; a remote one is worked on in a local copy, see `mirror`.
        """
        self.path = mirror.local(path)
        self._lock = None

    settings_file = property(lambda self: self.path / "settings.json")
    environment_file = property(lambda self: self.path / "environment.json")
    labels_file = property(lambda self: self.path / "labels.json")
    vocabulary_file = property(lambda self: self.path / "vocabulary.txt")
    preprocessing_file = property(lambda self: self.path / "preprocessing.json")
    history_file = property(lambda self: self.path / "history.csv")
    result_file = property(lambda self: self.path / "result.json")
    checkpoints = property(lambda self: self.path / "checkpoint")
    backbone_file = property(lambda self: self.path / "backbone.keras")
    calibration_file = property(lambda self: self.path / "calibration.json")
    tensorboard = property(lambda self: self.path / "tensorboard")
    figures = property(lambda self: self.path / "figures")

    def model_file(self, which: str) -> Path:
        """The file of the "best" or "last" model."""
        return self.path / f"model_{which}.keras"

    @contextlib.contextmanager
    def locked(self) -> Iterator[RunDirectory]:
        """Keeps other processes out of the directory; may be nested in one object.

        The kernel holds the lock for the process, so that the lock of a dead process is free; the
        file `lock` only names the owner.

        Raises:
            RunError: if another process holds the lock, or a link leads out of the directory.
        """
        if self._lock is not None:
            yield self
            return
        self.path.mkdir(parents=True, exist_ok=True)
        # Both are opened in place; all else is written beside its path and moved there.
        for name in ("lock", "log.txt"):
            files.refuse_link(self.path / name)
        with open(self.path / "lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise RunError(
                    f"{self.path} is in use by process {file.read().strip() or 'unknown'}: wait "
                    "for it, stop it, or choose another run directory"
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            self._lock = file
            try:
                mirror.complete(self.path)
                self._remove_rests()
                with run_log.written(self.path / "log.txt"):
                    yield self
            finally:
                self._lock = None
                mirror.push(self.path)

    def _remove_rests(self) -> None:
        """Removes what killed processes had not finished writing; call it under the lock."""
        for left in list(self.path.rglob(".tmp-*")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def begin(
        self,
        settings: Any,
        *,
        script: str,
        module: str,
        may_change: Collection[str] = MAY_CHANGE,
    ) -> None:
        """Starts or resumes the run of these settings: writes or compares `settings.json`.

        Args:
            settings: a dataclass or dict of JSON values and paths.
            script: the module that runs the experiment, such as `experiments.train_classic`.
            module: the module whose import registers the model's layers; `load` imports it.
            may_change: names of settings that a resumed run may change.

        Raises:
            RunError: if the directory holds a run of other settings, or is in use.
        """
        settings = dataclasses.asdict(settings) if not isinstance(settings, Mapping) else settings
        # Through JSON and back, since tuples and paths come back as lists and strings.
        settings = json.loads(json.dumps(dict(settings), default=str))
        with self.locked():
            if self.settings_file.exists():
                before = read_settings(self.settings_file)["settings"]
                compare(before, settings, may_change, self.path)
            write_json(
                self.settings_file, {"script": script, "module": module, "settings": settings}
            )
            now = environment()
            if self.environment_file.exists():
                versions = read_json(self.environment_file)["versions"]
                if versions != now["versions"]:
                    logger.warning(
                        "%s was begun with other versions (%s, now %s): results may differ",
                        self.path, versions, now["versions"],
                    )  # fmt: skip
            write_json(self.environment_file, now)

    def describe_model(
        self,
        *,
        labels: Sequence[str],
        vocabulary: Sequence[str],
        preprocessing: Mapping[str, Any],
    ) -> None:
        """Writes what is needed beside the weights to use the model.

        Args:
            labels: class names in label order.
            vocabulary: words in the order of their ids, as `load` is to give them back.
            preprocessing: JSON values: image size, limits of the text, and so on.

        Raises:
            ValueError: if a word holds a line break, which would shift all later ids.
        """
        if any("\n" in word or "\r" in word for word in vocabulary):
            raise ValueError("a word of the vocabulary holds a line break")
        with atomic_path(self.vocabulary_file) as temporary:
            temporary.write_text("".join(f"{word}\n" for word in vocabulary), encoding="utf-8")
        write_json(self.labels_file, list(labels))
        write_json(self.preprocessing_file, dict(preprocessing))

    def save_model(self, model: keras.Model, which: str) -> None:
        """Saves a model as the run's "best" or "last"."""
        save_model(model, self.model_file(which))

    def save_backbone(self, encoder: keras.Model) -> None:
        """Saves, once, what made the features that the model takes: who loads the run needs it."""
        if not self.backbone_file.exists():
            save_model(encoder, self.backbone_file)

    def write_result(
        self,
        *,
        metrics: Mapping[str, Any],
        seed: int,
        dataset: Mapping[str, Any],
        steps: int,
        seconds: float,
        parameters: int,
        command: str,
        file: str = "result.json",
        **more: Any,
    ) -> dict[str, Any]:
        """Writes `result.json`, or another file, with the run's settings and environment.

        Args:
            metrics: flat metrics of the reported model.
            seed: seed of the run.
            dataset: name, manifest digest and kind ("real" or "synthetic") of the data.
            steps: training steps.
            seconds: seconds of training.
            parameters: number of the model's parameters.
            command: the command that makes this result.
            file: its name.
            **more: further JSON values.

        Returns:
            What was written.

        Raises:
            RunError: if the run was not begun with `begin`.
        """
        result = {
            **read_json(self.settings_file),
            "command": command,
            "seed": seed,
            "metrics": dict(metrics),
            "dataset": dict(dataset),
            "steps": steps,
            "seconds": round(seconds, 1),
            "parameters": parameters,
            **more,
            "environment": read_json(self.environment_file),
        }
        write_json(self.path / file, result)
        mirror.push(self.path)
        return result

    def read_history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`, oldest first.

        Raises:
            RunError: if it is damaged.
        """
        if not self.history_file.exists():
            return []
        try:
            with filesystem.open_text(self.history_file, newline="") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                int(row["step"]), [float(value) for value in row.values() if value]
            return rows
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise RunError(f"{self.history_file} is damaged ({error}): delete it, and the run goes "
                           "on with what it says from now on") from error  # fmt: skip

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes `history.csv`; a column for every key of any row, `step` first."""
        columns = list(dict.fromkeys(["step", *(key for row in rows for key in row)]))
        with (
            atomic_path(self.history_file) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def save_checkpoint(
        self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], *, keep: int = 2
    ) -> Path:
        """Saves arrays and a JSON state with the key `step`; then removes older checkpoints.

        Args:
            arrays: the values of all variables.
            state: JSON values; `step` names the file.
            keep: number of checkpoints that stay.

        Returns:
            The new file.
        """
        path = self.checkpoints / f"step-{state['step']:09d}.npz"
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **arrays)
        for old in self._checkpoint_files()[keep:]:
            old.unlink()
        mirror.push(self.path)
        return path

    def load_checkpoint(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The state and arrays of the newest readable checkpoint; None if there is none.

        Raises:
            RunError: if there are checkpoints but none is readable.
        """
        found = self._checkpoint_files()
        for path in found:
            try:
                arrays = untrusted.load_npz(path)
                return untrusted.parse_json(str(arrays.pop("state"))), arrays
            except (OSError, ValueError, KeyError) as error:
                logger.warning("%s is damaged (%s): trying the one before it", path, error)
        if found:
            raise RunError(f"no checkpoint in {self.checkpoints} is readable: delete the folder "
                           "to start this run anew")  # fmt: skip
        return None

    def newest_checkpoint(self) -> Path | None:
        """The file of the newest checkpoint; None if there is none."""
        return next(iter(self._checkpoint_files()), None)

    def _checkpoint_files(self) -> list[Path]:
        """The checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-*.npz"), reverse=True)
