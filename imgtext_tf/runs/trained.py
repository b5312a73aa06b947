"""The model of a finished run, and what is needed to use it, without the script that made it."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import keras

from imgtext_tf import untrusted
from imgtext_tf.runs.directory import RunDirectory
from imgtext_tf.runs.files import RunError, read_json, read_words
from imgtext_tf.runs.saved_settings import read_settings

_LARGEST_SIDE = 8192  # pixels of what a model sees; a file that says more would fill the memory
_MOST_WORDS = 2**20  # the same of a text's sentences and of their words


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model and what is needed to use it; made by `load`.

    Attributes:
        model: the Keras model, not compiled.
        vocabulary: words, as given to `RunDirectory.describe_model`.
        labels: class names in label order.
        settings: the settings of the run.
        preprocessing: image size, limits of the text, and so on.
        calibration: `calibration.json`; empty where the run has none, and for the last model, since
            it was fitted to the best one.
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

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary of a model that reads single words.

        Raises:
            RunError: if one of them holds white space, or the model has vectors of more or fewer.
        """
        for word in self.vocabulary:
            if word.split() != [word]:
                raise RunError(f"vocabulary.txt: {word!r:.80} is no word: copy it again from where "
                               "the run was trained")  # fmt: skip
        # A row for each word, for padding and for unknown ones.
        tables = [weight for weight in self.model.weights if weight.name == "table"]
        for rows in {table.shape[0] - 2 for table in tables} - {len(self.vocabulary)}:
            raise RunError(f"vocabulary.txt: {len(self.vocabulary)} words for a model of {rows}: "
                           "copy it again from where the run was trained")  # fmt: skip
        return self.vocabulary

    def need_backbone(self) -> None:
        """Sees that the model takes pixels where it looks at images.

        Raises:
            RunError: if it takes what a backbone made of them, and the run has none.
        """
        inputs = self.model.input if isinstance(self.model.input, dict) else {}
        for name in {"image_features", "regions"} & set(inputs):
            raise RunError(
                f"backbone.keras is missing beside a model of {name}, so that it cannot see "
                "images: copy it from where the run was trained"
            )


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
    calibrated = which == "best" and run.calibration_file.exists()
    calibration = read_json(run.calibration_file) if calibrated else {}
    for content, file in ((preprocessing, run.preprocessing_file),
                          (calibration, run.calibration_file)):  # fmt: skip
        if not isinstance(content, dict):
            raise RunError(f"{file} holds no JSON object")
    _check_images(preprocessing, run.preprocessing_file)
    for name in {"max_words", "max_sentences"} & preprocessing.keys():
        if type(preprocessing[name]) is not int or not 1 <= preprocessing[name] <= _MOST_WORDS:
            raise RunError(f"{run.preprocessing_file}: {name} is {preprocessing[name]!r:.80}: copy "
                           "it again from where the run was trained")  # fmt: skip
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


def _check_images(preprocessing: dict[str, Any], file: Path) -> None:
    """Sees that images are not scaled to nothing, or to more than any machine holds."""
    sizes = preprocessing.get("image_size", 1)
    sides = [*(sizes if isinstance(sizes, list) else [sizes])]
    # 0 leaves an image's longest side as it is.
    sides.append(preprocessing.get("longest_side") or 1)
    fraction = preprocessing.get("central_fraction", 1)
    whole = all(type(side) is int and 1 <= side <= _LARGEST_SIDE for side in sides)
    if not whole or type(fraction) not in (int, float) or not 0 < fraction <= 1:
        raise RunError(f"{file}: its images, {sizes!r:.80}, longest side {sides[-1]!r:.80}, "
                       f"fraction {fraction!r:.80}, are not those of a model: copy it again from "
                       "where the run was trained")  # fmt: skip


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
