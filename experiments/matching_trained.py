"""A trained matching run, opened for evaluation."""

from __future__ import annotations

import dataclasses
import os

from experiments import matching_data, matching_start
from experiments.matching_data import Batches, Data
from experiments.matching_flags import EVALUATION, Settings
from imgtext_tf import filesystem, runs, training, untrusted
from imgtext_tf.data import shards, text
from imgtext_tf.models.sentence_matching import SentenceMatching


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained run, opened for use.

    Attributes:
        data: with the split to evaluate.
        model: of the run.
        vocabulary: of the run.
        batches: of the split.
    """

    data: Data
    model: SentenceMatching
    vocabulary: text.Vocabulary
    batches: Batches


def open_trained(settings: Settings) -> Trained:
    """Opens a trained run and the data to evaluate it on; the model's settings are the run's."""
    run_dir = runs.RunDirectory(settings.run_dir)
    saved = matching_start.settings_of(run_dir)
    given = {name: getattr(settings, name) for name in EVALUATION}
    cached = filesystem.exists(os.path.join(saved.cache_features, shards.MANIFEST))
    if settings.cache_features != "auto" or not cached:
        # What the run was given may lie elsewhere by now, or be gone.
        given["cache_features"] = settings.cache_features
    settings = dataclasses.replace(saved, **given)
    training.set_precision(settings.mixed_precision, scaled=False)
    model = untrusted.load_model(run_dir.model_file("best"))
    encoder = model.backbone
    if run_dir.backbone_file.exists():
        encoder = untrusted.load_model(run_dir.backbone_file)
    data = matching_data.open_data(settings, encoder)
    vocabulary = text.Vocabulary.load(run_dir.vocabulary_file)
    batches = Batches(data.parts[settings.eval_split], vocabulary, settings, settings.seed)
    return Trained(data, model, vocabulary, batches)
