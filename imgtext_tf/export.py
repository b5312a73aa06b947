"""A run directory as a SavedModel, from image bytes and sentences to the answer, without Python.

    export.relation_classifier("runs/classic", "exported")
    served = tf.saved_model.load("exported")

Whoever loads it imports `tensorflow_text` first, whose operations the graph uses. Texts come as
sentences: `data.text.split_sentences` splits a text by the rules of training.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable

import keras
import tensorflow as tf

from imgtext_tf import filesystem, runs
from imgtext_tf.data import exif, images, pipeline
from imgtext_tf.data.text import Vocabulary


def relation_classifier(
    run_dir: str | os.PathLike, export_dir: str | os.PathLike, *, which: str = "best"
) -> dict[str, tf.TensorSpec]:
    """Exports a run of `experiments.train_classic` or `train_metric`.

    The signature "serving_default" takes what the run's model takes of

    - `image` [B] string: JPEG, PNG, GIF or BMP files, turned as their EXIF says,
    - `sentences` [B, S] string: the sentences of each text, "" after the last;

    and gives `label` [B] string (the most probable class), `probability` [B] float32 of it,
    `probabilities` [B, C] float32, calibrated if the run is, and `labels` [C] string, their names.

    Args:
        run_dir: the run directory.
        export_dir: the SavedModel's folder, which must not be there yet.
        which: the "best" model, or the "last" one, whose probabilities are not calibrated.

    Returns:
        The signature's inputs by name.

    Raises:
        runs.RunError: if a file of the run is missing.
        FileExistsError: if the folder is there.
    """
    filesystem.must_be_local(export_dir, "a SavedModel is written here; copy the folder")
    path = pathlib.Path(export_dir)
    if path.exists():
        raise FileExistsError(f"{path} is there already: remove it or choose another folder")
    served = _Served(runs.load(run_dir, which))
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        tf.saved_model.save(served, str(temporary), signatures=served.answer)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return served.inputs


class _Served(tf.Module):
    """The model with its preprocessing as one graph."""

    def __init__(self, run: runs.Run):
        super().__init__()
        self._model = run.model
        self._how = run.preprocessing
        self._temperature = run.temperature
        self._labels = tf.constant(run.labels)
        self.inputs: dict[str, tf.TensorSpec] = {}
        if "image" in run.model.input:
            self.inputs["image"] = tf.TensorSpec([None], tf.string, "image")
        if "word_ids" in run.model.input:
            self._vocabulary = Vocabulary(run.words)
            # The SavedModel keeps the table that its owner holds.
            self._table = self._vocabulary.lookup_table()
            self.inputs["sentences"] = tf.TensorSpec([None, None], tf.string, "sentences")
        self.answer: Callable = tf.function(
            lambda **inputs: self._answer(inputs), input_signature=None
        ).get_concrete_function(**self.inputs)

    def _answer(self, given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        inputs = {}
        if "image" in given:
            size = self._how["image_size"]
            inputs["image"] = tf.map_fn(
                lambda data: images.eval_crop(
                    exif.upright(images.decode_pixels(data), data),
                    size,
                    self._how["central_fraction"],
                ),
                given["image"],
                fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
            )
        if "sentences" in given:
            sentences = given["sentences"]
            sentences = tf.ragged.boolean_mask(sentences, sentences != "")
            limits = {name: self._how[name] for name in ("max_sentences", "max_words", "ngrams")}
            inputs |= pipeline.text_inputs(sentences, self._vocabulary, **limits)
        logits = self._model(inputs, training=False)["logits"]
        probabilities = keras.ops.softmax(logits / self._temperature)
        return {
            "label": tf.gather(self._labels, tf.argmax(probabilities, axis=-1)),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "labels": self._labels,
        }
