"""Training that starts from another run: its encoders and words, an output layer for the new data.

This is how a classifier is fine-tuned on a user's own labels, which may be other classes.
"""

from __future__ import annotations

import csv
import dataclasses
import os

import keras
from absl import logging

from experiments.relation_flags import OF_MODEL, Settings
from imgtext_tf import encoders, filesystem, runs
from imgtext_tf.data import shards, text
from imgtext_tf.models import relation_classifier


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run hands on.

    Attributes:
        classifier: on feature maps and word ids, with the run's output layer.
        encoder: of the images; None for a model of texts only.
        vocabulary: gives the word ids.
        ngrams: the n-gram settings of the word vectors; None where they have none.
        labels: the run's class names.
    """

    classifier: keras.Model
    encoder: keras.Model | None
    vocabulary: text.Vocabulary
    ngrams: dict[str, int] | None
    labels: tuple[str, ...]


def settings_from(settings: Settings, labels: tuple[str, ...]) -> Settings:
    """The settings with those of the model taken from the run `init_from`.

    Args:
        settings: of the command line.
        labels: of the data; others than the run's get an output layer without `metric_logits`.

    Raises:
        RunError: if it is no run directory.
    """
    run_dir = runs.RunDirectory(settings.init_from)
    saved = runs.read_settings(run_dir.settings_file)["settings"]
    of_model = {name: saved[name] for name in OF_MODEL if name in saved}
    # First the classifier on a frozen backbone, then both: this alone may be asked for anew.
    of_model["tune_backbone"] |= settings.tune_backbone
    # Not every run was begun with a setting for it.
    same = tuple(runs.read_json(run_dir.labels_file)) == labels
    of_model["metric_logits"] = same and saved.get("metric_logits", False)
    lists = {name: tuple(value) for name, value in of_model.items() if isinstance(value, list)}
    logging.info("model and words are those of %s, whatever the flags say", settings.init_from)
    return dataclasses.replace(settings, **of_model | lists)


def load(settings: Settings) -> Start:
    """The best model of the run `init_from`, taken apart.

    Raises:
        RunError: if a file is missing.
        ValueError: if a backbone is to be tuned that cannot be.
    """
    run = runs.load(settings.init_from)
    model, encoder = run.model, None
    if "image" in model.input:
        encoder = model.get_layer("image_encoder")
        model = model.get_layer("relation_classifier")
        if settings.tune_backbone:
            encoder = encoders.thawed(encoder)
    if settings.inputs != "image":
        # XLA wants static shapes; see `layers.SentenceEncoder`.
        sentences = model.get_layer("text_encoder").get_layer("sentences")
        sentences.compact = not settings.jit_compile
    return Start(
        model, encoder, text.Vocabulary(run.words), run.preprocessing["ngrams"], run.labels
    )


def with_labels(start: Start, labels: tuple[str, ...]) -> keras.Model:
    """The classifier with an output for each label; the run's own where the labels are the same."""
    if start.labels == labels:
        logging.info("the classes are the run's: its output layer is trained further")
        return start.classifier
    logging.info("a new output layer for %s", ", ".join(labels))
    # With metric_logits the layer before the logits is an output, too: the metrics' eight scores.
    names = {layer.name for layer in start.classifier.layers}
    hidden = start.classifier.get_layer("parts" if "parts" in names else "logits").input
    # float32 also under mixed precision: the loss's softmax needs it.
    logits = keras.layers.Dense(len(labels), dtype="float32", name="logits")(hidden)
    inputs = start.classifier.input
    if "word_scores" in names:
        words = len(start.vocabulary)
        logits = relation_classifier.add_word_scores(logits, inputs["word_ids"], words)
    return keras.Model(inputs, {"logits": logits}, name="relation_classifier")


def known_share(vocabulary: text.Vocabulary, data_dir: str) -> float:
    """The share of the running words of the train split that a vocabulary knows."""
    known = total = 0
    with filesystem.open_text(os.path.join(data_dir, shards.WORDS), newline="") as file:
        for word, count in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            total += int(count)
            known += int(count) * (vocabulary.id_of(word) != text.UNKNOWN)
    return known / max(1, total)
