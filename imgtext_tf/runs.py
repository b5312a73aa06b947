"""A run directory: everything a training run leaves, and how to get its model back.

    settings.json      script, module, settings          environment.json  versions, device, commit
    labels.json        class names in label order        vocabulary.txt    one word a line
    preprocessing.json what inputs went through          history.csv       one row per evaluation
    model_best.keras   best by the monitored metric      model_last.keras  after the last step
    backbone.keras     only where features were cached: what made them
    calibration.json   temperature of the best model's logits, fitted on val
    checkpoint/        exact resume (see `training`)     tensorboard/      event files
    result.json        the run's outcome                 figures/          PNG files
    log.txt            the last log lines, rotated       lock              who is at work

Every file is written beside its place and then renamed, so that it is complete or absent.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import fcntl
import importlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import filesystem, mirror, run_log, untrusted

logger = logging.getLogger(__name__)

# Settings that a resumed run may change: they choose how long to train and what to report.
MAY_CHANGE = frozenset({"run_dir", "max_steps", "eval_only", "eval_every", "eval_steps"})
# Errors of a disk that is full, over its quota, broken or not to be written.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
_PACKAGES = ("imgtext_tf", "tensorflow", "keras", "tensorflow-text", "tensorflow-hub", "numpy")


class RunError(RuntimeError):
    """A run directory is in use, belongs to other settings, or lacks a file."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path to write in the folder of `path`, which it becomes on success.

    On any failure the temporary file is removed and `path` is as it was.

    Raises:
        OSError: if the disk is full or broken, with path and mend in the message.
    """
    if filesystem.is_remote(path):
        with filesystem.staged(path) as staged:
            yield Path(staged)
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: Keras and matplotlib choose the format by it.
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise OSError(
            error.errno,
            f"{path} cannot be written ({error.strerror}): free space or mend the folder, then run "
            "the same command again; what was there before is as it was",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as JSON; paths become strings, NumPy numbers become numbers."""

    def default(item: Any) -> Any:
        return item.item() if isinstance(item, np.generic) else str(item)

    text = json.dumps(value, indent=2, ensure_ascii=False, default=default)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        RunError: if it is missing or no JSON.
    """
    try:
        return untrusted.parse_json(untrusted.read_bytes(path))
    except FileNotFoundError:
        folder = os.path.dirname(path)
        raise RunError(f"{path} is missing: is {folder} a run directory?") from None
    except ValueError as error:
        raise RunError(f"{path} is no JSON: {error}") from error


def read_field(path: str | os.PathLike, name: str) -> Any:
    """One field of a JSON file that holds an object.

    Raises:
        RunError: if the file is missing or no JSON, or has no such field.
    """
    content = read_json(path)
    if not isinstance(content, dict) or name not in content:
        raise RunError(
            f"{path} has no field {name!r}: copy it again from where the run was trained"
        )
    return content[name]


def restored(kind: type, values: Mapping[str, Any], path: str | os.PathLike) -> Any:
    """Settings as a run's file has them: lists become tuples.

    Args:
        kind: the dataclass of the settings.
        values: of its fields.
        path: the file, for errors.

    Raises:
        RunError: naming the file and the setting that is unknown or of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    found = {}
    for name, value in values.items():
        value = tuple(value) if isinstance(value, list) else value
        default = fields[name].default if name in fields else dataclasses.MISSING
        wanted = (int, float) if isinstance(default, float) else type(default)
        free = default is None or value is None or default is dataclasses.MISSING
        if name not in fields or not (free or isinstance(value, wanted)):
            raise RunError(f"{path}: the setting {name!r:.80} is {value!r:.80}; a run of another "
                           "version, or a damaged file")  # fmt: skip
        found[name] = value
    try:
        return kind(**found)
    except TypeError as error:
        raise RunError(f"{path}: {error}") from error


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a run's `settings.json`: script, module, settings.

    Raises:
        RunError: if it is missing or lacks one of them.
    """
    content = read_json(path)
    try:
        if not isinstance(content, dict):
            raise ValueError(f"{path}: holds no JSON object")
        untrusted.need(content, {"module": str, "settings": dict}, path)
    except ValueError as error:
        raise RunError(f"{error}; no run of ours wrote it") from None
    return content


def read_words(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads a run's `vocabulary.txt`.

    Raises:
        RunError: if it is missing, no UTF-8 or cut short, or a word comes twice.
    """
    try:
        text = untrusted.read_bytes(path).decode("utf-8")
    except FileNotFoundError:
        raise RunError(f"{path} is missing: has this run been trained?") from None
    except ValueError as error:
        raise RunError(f"{path} is no vocabulary: {error}") from error
    words = text.split("\n")
    if words.pop() or len(set(words)) < len(words) or not all(words):
        raise RunError(f"{path} is cut short, or has an empty word or one that comes twice: copy "
                       "it again from where the run was trained")  # fmt: skip
    return tuple(words)


def environment() -> dict[str, Any]:
    """Versions, devices and the commit of the code, for `environment.json`."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "versions": versions,
        "device": ", ".join(gpus) or "CPU",
        "cpu": _cpu_name(),
        "cpu_cores": os.cpu_count(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if match:
            return match.group(1)
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """The commit of this file, with "-dirty" after it if the tree has changes; None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    options = {"check": True, "capture_output": True, "text": True, "timeout": 10}
    try:
        # An installed copy may lie inside some other repository, which does not track it.
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], **options)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


class RunDirectory:
    """The files of one run; see the module's docstring."""

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
            RunError: if another process holds the lock.
        """
        if self._lock is not None:
            yield self
            return
        self.path.mkdir(parents=True, exist_ok=True)
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
                _compare(before, settings, may_change, self.path)
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
        """The rows of `history.csv`, oldest first."""
        if not self.history_file.exists():
            return []
        with open(self.history_file, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

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
        files = self._checkpoint_files()
        for path in files:
            try:
                arrays = untrusted.load_npz(path)
                return untrusted.parse_json(str(arrays.pop("state"))), arrays
            except (OSError, ValueError, KeyError) as error:
                logger.warning("%s is damaged (%s): trying the one before it", path, error)
        if files:
            raise RunError(f"no checkpoint in {self.checkpoints} is readable: delete the folder "
                           "to start this run anew")  # fmt: skip
        return None

    def newest_checkpoint(self) -> Path | None:
        """The file of the newest checkpoint; None if there is none."""
        return next(iter(self._checkpoint_files()), None)

    def _checkpoint_files(self) -> list[Path]:
        """The checkpoints, newest first."""
        return sorted(self.checkpoints.glob("step-*.npz"), reverse=True)


def _compare(before: Mapping, now: Mapping, may_change: Collection[str], path: Path) -> None:
    """Raises RunError if settings differ in more than the names in `may_change`."""
    differences = [
        f"  {name}: {before.get(name, 'absent')!r} before, {now.get(name, 'absent')!r} now"
        for name in sorted({*before, *now} - set(may_change))
        if before.get(name, "absent") != now.get(name, "absent")
    ]
    if differences:
        raise RunError(
            "\n".join([f"{path} holds a run with other settings:", *differences,
                       "Use the same settings to resume it, or choose another run directory."])
        )  # fmt: skip


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a model as a `.keras` file, atomically."""
    with atomic_path(path) as temporary:
        model.save(temporary)


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model and what is needed to use it; made by `load`.

    Attributes:
        model: the Keras model, not compiled.
        vocabulary: words, as given to `RunDirectory.describe_model`.
        labels: class names in label order.
        settings: the settings of the run.
        preprocessing: image size, limits of the text, and so on.
        calibration: `calibration.json`; empty where the run has none.
    """

    model: keras.Model
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]
    settings: dict[str, Any]
    preprocessing: dict[str, Any]
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def temperature(self) -> float:
        """What the logits are divided by before the softmax; 1 where nothing was fitted."""
        return float(self.calibration.get("temperature", 1.0))


def load(run_dir: str | os.PathLike, which: str = "best") -> Run:
    """Loads the model of a run without its script.

    A model that was trained on cached feature maps comes with its backbone in front of it: it takes
    pixels, as any other.

    Args:
        run_dir: the run directory.
        which: "best" or "last".

    Raises:
        RunError: if a file is missing or damaged, or holds what only code of the file could rebuild
            (a Lambda layer), or the module that registers the model's layers cannot be imported.
    """
    run = RunDirectory(run_dir)
    settings = read_settings(run.settings_file)
    path = run.model_file(which)
    if not path.exists():
        raise RunError(f"{path} is missing: has this run been trained?")
    vocabulary, labels = read_words(run.vocabulary_file), read_json(run.labels_file)
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise RunError(f"{run.labels_file} is no list of names")
    preprocessing = read_json(run.preprocessing_file)
    calibration = read_json(run.calibration_file) if run.calibration_file.exists() else {}
    for content, file in ((preprocessing, run.preprocessing_file),
                          (calibration, run.calibration_file)):  # fmt: skip
        if not isinstance(content, dict):
            raise RunError(f"{file} holds no JSON object")
    temperature = calibration.get("temperature", 1.0)
    if not isinstance(temperature, float | int) or not 0 < temperature < float("inf"):
        raise RunError(f"{run.calibration_file}: the temperature is {temperature!r:.80}")
    return Run(
        model=_load_whole(run, path, settings["module"]),
        vocabulary=vocabulary,
        labels=tuple(labels),
        settings=settings["settings"],
        preprocessing=preprocessing,
        calibration=calibration,
    )


def _load_whole(run: RunDirectory, path: Path, name: str) -> keras.Model:
    """The model of a run, with its backbone in front of it."""
    # A file does not choose what code is run: the project's is, and what the caller imported.
    if name.split(".")[0] not in ("imgtext_tf", "experiments") and name not in sys.modules:
        raise RunError(f"{run.settings_file}: the module {name!r:.80} is none of the package's: "
                       "import it before, if you trust it")  # fmt: skip
    try:
        module = importlib.import_module(name)
        model = untrusted.load_model(path)
        if not run.backbone_file.exists():
            return model
        backbone = untrusted.load_model(run.backbone_file)
        return module.with_backbone(model, backbone)
    except untrusted.DamagedError as error:
        raise RunError(f"{error}: copy it again from where the run was trained") from error
    except ImportError as error:
        raise RunError(f"{run.settings_file}: the module {name!r:.80} cannot be imported "
                       f"({error})") from error  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.backbone_file} does not fit {path.name}: {error}") from error
