r"""Exports Shah2019's models as one SavedModel from image bytes.

    python -m experiments.export_phrases --run_dir=runs/phrases --output=exported/phrases
    python -m experiments.export_phrases --case=runs/fusion/cases/multimodal-1-all-s0-f0 \
        --output=exported/chain

The first gives phrases, the second the whole chain pixels -> phrases -> label (Fig. 3) with one
classifier of `train_fusion`.

Reference: Shah2019, Fig. 3.
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from absl import logging

from experiments import common_flags, fusion_data, phrase_labels, settings_flags
from experiments.fusion_flags import Settings as FusionSettings
from experiments.fusion_phrases import Phrases
from experiments.phrase_generation import PhraseGenerator
from imgtext_tf import phrase_export, runs, search, untrusted
from imgtext_tf.models import query_encoder


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; `HELP` says what each means."""

    output: str
    run_dir: str = ""
    case: str = ""
    backend: str = "exact"
    top: int = 3
    output_space: str = "large"


HELP = {
    "output": "Folder of the SavedModel; must not be there yet.",
    "case": "Folder of one case of train_fusion: exports the whole chain.",
    "backend": "The search that goes into the graph.",
    "top": "Phrases an image; a chain has as many as its classifier was trained with.",
    "output_space": "large: all prototypes; small: the queries of the softmax; a chain has what "
    "its classifier was trained with.",
}
CHOICES = {"backend": ("exact", "ivf"), "output_space": ("large", "small")}


def run(settings: Settings) -> None:
    """Exports what the settings name.

    Raises:
        ValueError: if neither a run nor a case is named, or both are.
        RunError: if a run is not finished.
        FileExistsError: if the folder is there already.
    """
    if bool(settings.run_dir) == bool(settings.case):
        raise ValueError("give --run_dir (phrases) or --case (the whole chain)")
    module = _chain(settings) if settings.case else _phrases(settings)
    phrase_export.save(module, settings.output)
    logging.info("exported to %s", settings.output)


def _phrases(settings: Settings) -> phrase_export.ImageToPhrases:
    generator = PhraseGenerator(settings.run_dir, output_space=settings.output_space)
    index = generator.index
    if index.backend != settings.backend:
        index = search.build(settings.backend, index.ids, np.asarray(index.vectors))
    return phrase_export.ImageToPhrases(
        generator.embedder,
        index,
        image_size=generator.image_size,
        central_fraction=generator.central_fraction,
        k=settings.top,
    )


def _chain(settings: Settings) -> phrase_export.ImageToLabel:
    folder = pathlib.Path(settings.case)
    case = runs.RunDirectory(folder)
    saved = runs.read_settings(case.settings_file)["settings"]
    names = {field.name for field in dataclasses.fields(FusionSettings)}
    fusion = FusionSettings(**{name: value for name, value in saved.items() if name in names})
    labels = phrase_labels.read_labels(fusion.data_dir)
    phrases = Phrases(fusion, labels.terms, saved["phrase_set"] or "all")
    index = phrases.index
    if settings.backend != index.backend:
        index = search.build(settings.backend, index.ids, np.asarray(index.vectors))
    generator = PhraseGenerator(fusion.generator)
    text = runs.load(fusion.text_encoder)
    visual = fusion_data.visual_encoder(dataclasses.replace(fusion, run_dir=folder.parent.parent))
    return phrase_export.ImageToLabel(
        phrase_export.ImageToPhrases(
            generator.embedder,
            index,
            image_size=generator.image_size,
            central_fraction=generator.central_fraction,
            k=fusion.top,
        ),
        query_encoder.encoder_of(text.model),
        text.preprocessing,
        visual,
        untrusted.load_model(case.model_file("last")),
        channels=fusion_data.kept_channels(
            visual.output_shape[-1], saved["strength"] or 1.0, saved["case"][3]
        ),
        labels=[terms[0] for terms in labels.terms],
        several_labels=fusion_data.several(fusion.data_dir),
        image_size=fusion.image_size,
        central_fraction=fusion.central_fraction,
    )


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and exports."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES)
