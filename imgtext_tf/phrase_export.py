"""Shah2019's models as SavedModels from image bytes: phrases, and the whole chain to a label."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import filesystem, search
from imgtext_tf.data import exif, grams, images


class ImageToPhrases(tf.Module):
    """`answer`(image [B] string) -> `phrases` [B, k] string, `scores` [B, k], `embedding` [B, D].

    The images are JPEG, PNG, GIF or BMP files, turned as their EXIF says that the camera was held.
    Where there are fewer than k phrases, "" and -inf fill up.

    Reference: Shah2019, Eq. 3.
    """

    def __init__(
        self,
        embedder: keras.Model,
        index: search.Index,
        *,
        image_size: int,
        central_fraction: float = 1.0,
        k: int = 3,
    ) -> None:
        """Puts the parts together.

        Args:
            embedder: {`image` [B, H, W, 3] in [0, 1]} -> {"embedding": [B, D]}.
            index: of a back end that has `as_module`: exact or ivf.
            image_size: pixels that the embedder takes.
            central_fraction: share of an image that is kept.
            k: phrases an image.

        Raises:
            SearchError: if the index is of another back end.
        """
        super().__init__(name="image_to_phrases")
        if not hasattr(index, "as_module"):
            raise search.SearchError(
                f"a {index.backend} index goes into no SavedModel: build an exact or ivf one"
            )
        self.embedder = embedder
        self.index = index.as_module()
        self.names = tf.Variable([*index.ids, ""], trainable=False, name="phrases")
        self.k = k
        self.view = (image_size, central_fraction)
        spec = tf.TensorSpec([None], tf.string, name="image")
        self.answer = tf.function(self._answer, input_signature=[spec])

    def _answer(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = decode(image, *self.view)
        embedding = self.embedder({"image": pixels}, training=False)["embedding"]
        found = self.index.search(embedding, tf.constant(self.k))
        missing = self.k - tf.shape(found["places"])[1]
        places = tf.pad(found["places"], [[0, 0], [0, missing]], constant_values=-1)
        scores = tf.pad(found["scores"], [[0, 0], [0, missing]], constant_values=-np.inf)
        last = tf.cast(tf.shape(self.names)[0] - 1, tf.int64)
        phrases = tf.gather(self.names, tf.where(places < 0, last, places))
        return {"phrases": phrases, "scores": scores, "embedding": embedding}


class ImageToLabel(tf.Module):
    """The whole chain of Fig. 3: pixels -> phrases -> text embedding, with pixels -> label.

    `answer`(image [B] string) -> `label` [B] string (the most probable one), `probability` [B] of
    it, `probabilities` [B, L], `labels` [L], and the `phrases` [B, k] that were generated.

    Reference: Shah2019, Fig. 3.
    """

    def __init__(
        self,
        generator: ImageToPhrases,
        text_encoder: keras.Model,
        hashing: Mapping[str, Any],
        visual_encoder: keras.Model,
        classifier: keras.Model,
        *,
        channels: np.ndarray,
        labels: Sequence[str],
        several_labels: bool,
        image_size: int,
        central_fraction: float,
    ) -> None:
        """Puts the parts together.

        Args:
            generator: gives phrases and bottleneck.
            text_encoder: {`gram_ids`} -> {"embedding": [N, 200]}.
            hashing: `buckets` and `longest` of `grams.gram_ids`.
            visual_encoder: [B, H, W, 3] -> feature map [B, h, w, C].
            classifier: of `fusion_classifier`, of any variant.
            channels: of the visual features that the classifier was trained with.
            labels: names in label order.
            several_labels: sigmoids instead of a softmax.
            image_size: pixels that the visual encoder takes.
            central_fraction: share of an image that it sees.
        """
        super().__init__(name="image_to_label")
        self.generator = generator
        self.text_encoder = text_encoder
        self.visual_encoder = visual_encoder
        self.classifier = classifier
        self.channels = tf.constant(channels)
        self.labels = tf.Variable(list(labels), trainable=False, name="labels")
        self.several_labels = several_labels
        self.hashing = dict(hashing)
        self.view = (image_size, central_fraction)
        spec = tf.TensorSpec([None], tf.string, name="image")
        self.answer = tf.function(self._answer, input_signature=[spec])

    def _answer(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        generated = self.generator.answer(image)
        inputs = {"phrase": generated["embedding"]}
        if "visual" in self.classifier.input:
            features = self.visual_encoder(decode(image, *self.view), training=False)
            mean = tf.reduce_mean(tf.cast(features, tf.float32), [1, 2])
            inputs["visual"] = tf.gather(mean, self.channels, axis=1)
        if "text" in self.classifier.input:
            inputs["text"] = self._text(generated["phrases"])
        inputs = {name: inputs[name] for name in self.classifier.input}
        logits = self.classifier(inputs, training=False)["logits"]
        probabilities = tf.sigmoid(logits) if self.several_labels else tf.nn.softmax(logits)
        best = tf.argmax(probabilities, 1)
        return {
            "label": tf.gather(self.labels, best),
            "probability": tf.gather(probabilities, best, batch_dims=1),
            "probabilities": probabilities,
            "labels": tf.identity(self.labels),
            "phrases": generated["phrases"],
        }

    def _text(self, phrases: tf.Tensor) -> tf.Tensor:
        """The mean embedding of each image's real phrases: [B, k] string -> [B, 200]."""
        ids = grams.gram_ids(tf.reshape(phrases, [-1]), **self.hashing)
        vectors = self.text_encoder({"gram_ids": ids}, training=False)["embedding"]
        vectors = tf.reshape(vectors, [tf.shape(phrases)[0], self.generator.k, vectors.shape[-1]])
        real = tf.cast(phrases != "", tf.float32)[..., None]
        return tf.reduce_sum(vectors * real, 1) / tf.maximum(tf.reduce_sum(real, 1), 1)


def decode(image: tf.Tensor, size: int, central_fraction: float) -> tf.Tensor:
    """Image files as the models take them: [B] string -> [B, size, size, 3] float32 in [0, 1]."""
    return tf.map_fn(
        lambda data: images.eval_crop(
            exif.upright(images.decode_pixels(data), data), size, central_fraction
        ),
        image,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.float32),
    )


def save(module: tf.Module, export_dir: str | os.PathLike) -> None:
    """Saves a module's `answer` as the signature "serving_default" of a SavedModel.

    Whoever loads a whole chain imports `tensorflow_text` first: its operations are in the graph.

    Raises:
        FileExistsError: if the folder is there already.
    """
    filesystem.must_be_local(export_dir, "a SavedModel is written here; copy the folder")
    path = pathlib.Path(export_dir)
    if path.exists():
        raise FileExistsError(f"{path} is there already: remove it or choose another folder")
    with _temporary(path) as folder:
        tf.saved_model.save(module, str(folder), signatures=module.answer)
        os.replace(folder, path)


@contextlib.contextmanager
def _temporary(path: pathlib.Path) -> Iterator[pathlib.Path]:
    folder = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
