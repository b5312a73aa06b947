"""A trained phrase generator on any image: pixels -> embedding -> nearest phrases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from experiments import phrase_report
from imgtext_tf import runs, search, untrusted
from imgtext_tf.data import images
from imgtext_tf.models import phrase_generator


class PhraseGenerator:
    """The run of `train_phrases`, ready for photos.

    Attributes:
        embedder: {`image` [B, H, W, 3] in [0, 1]} -> {"embedding": [B, D]}.
        index: the phrases and their vectors.
        image_size: pixels that the embedder takes.
        central_fraction: share of an image that is kept.
    """

    def __init__(
        self,
        run_dir: str,
        *,
        which: str = "best",
        output_space: str = "large",
        mmap: bool = False,
    ) -> None:
        """Opens a run.

        Args:
            run_dir: of `train_phrases`.
            which: "best" or "last".
            output_space: "large": the prototypes (Eq. 3); "small": the queries by w_c (Eq. 1).
            mmap: leave the prototypes in their file.

        Raises:
            RunError: if it is no finished run.
            SearchError: if its phrases are missing.
        """
        run = runs.load(run_dir, which)
        kinds = {"image_size": int, "central_fraction": (int, float)}
        untrusted.need(run.preprocessing, kinds, f"{run_dir}: preprocessing.json")
        run.need_backbone()
        self.embedder: keras.Model = phrase_generator.embedder(run.model)
        if output_space == "large":
            path = runs.RunDirectory(run_dir).path / phrase_report.INDEX
            self.index = search.load(path, mmap=mmap)
        else:
            self.index = search.build("exact", *queries_of(run_dir, which))
        self.image_size: int = run.preprocessing["image_size"]
        self.central_fraction: float = run.preprocessing["central_fraction"]

    def read(self, path: str) -> tf.Tensor:
        """An image file as the embedder takes it: [H, W, 3] float32 in [0, 1].

        A photo is turned as its camera was held, as its EXIF says.

        Raises:
            images.ImageError: naming the file that is no image.
            OSError: if it cannot be read.
        """
        data = images.read_file(path)
        try:
            pixels = images.upright(images.checked_pixels(data), data)
        except images.ImageError as error:
            raise images.ImageError(f"{path}: {error}") from error
        return images.eval_crop(tf.constant(pixels), self.image_size, self.central_fraction)

    def embed(self, paths: Sequence[str]) -> np.ndarray:
        """The embeddings of image files: [N, D] float32.

        Raises:
            images.ImageError: naming the file that is no image.
            OSError: if a file cannot be read.
        """
        return self.embed_pixels([self.read(path) for path in paths])

    def embed_pixels(self, pixels: Sequence[tf.Tensor]) -> np.ndarray:
        """The embeddings of images of `read`: [N, D] float32."""
        return self.embedder.predict_on_batch({"image": tf.stack(pixels)})["embedding"]

    def phrases(
        self, embeddings: np.ndarray, *, k: int = 3, exclude: Collection[str] = ()
    ) -> list[list[tuple[str, float]]]:
        """The k phrases of largest cosine for each image, with their cosines, best first.

        Args:
            embeddings: [N, D] of `embed`.
            k: phrases an image.
            exclude: phrases that must not come back.

        Reference: Shah2019, Eq. 3.
        """
        found = self.index.search(embeddings, k, exclude=exclude)
        return [
            [(name, float(score)) for name, score in zip(names, scores, strict=True) if name]
            for names, scores in zip(found.ids, found.scores, strict=True)
        ]


def index_settings(run_dir: runs.RunDirectory) -> dict[str, Any]:
    """The settings of a run of train_phrases, of which its phrases' index was built.

    Raises:
        RunError: if they are missing or none of such a run.
    """
    saved = runs.read_settings(run_dir.settings_file)["settings"]
    least, backend = saved.get("prototype_images"), saved.get("backend")
    if type(least) is not int or least < 0 or backend not in search.BACKENDS:
        raise runs.RunError(
            f"{run_dir.settings_file}: {least!r:.80} images a prototype, search {backend!r:.80}: "
            "is no run of train_phrases, or damaged"
        )
    return saved


def output_space(run_dir: str, size: str) -> tuple[list[str], np.ndarray]:
    """The names and vectors that phrases are searched among, "small" or "large" (Section 4.5)."""
    if size == "small":
        return queries_of(run_dir, "best")
    index = search.load(runs.RunDirectory(run_dir).path / phrase_report.INDEX)
    return index.ids, np.asarray(index.vectors)


def queries_of(run_dir: str, which: str) -> tuple[list[str], np.ndarray]:
    """The queries of a run's softmax and their w_c: [N] str, [N, D] float32.

    Raises:
        RunError: if the vocabulary is another model's.
    """
    run = runs.RunDirectory(run_dir)
    weights = phrase_generator.query_weights(untrusted.load_model(run.model_file(which)))
    names = list(runs.read_words(run.vocabulary_file))
    if len(names) != len(weights):
        raise runs.RunError(
            f"{run.vocabulary_file}: {len(names)} queries for a model of {len(weights)}: copy it "
            "again from where the run was trained"
        )
    return names, weights
