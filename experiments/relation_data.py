"""The inputs of the Otto2020 classifiers: shards, vocabulary, word vectors, feature maps."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from experiments.relation_flags import Settings
from imgtext_tf import distribution, encoders, filesystem, relations, runs
from imgtext_tf.data import examples, fasttext, features, pipeline, ragged, shards, text
from imgtext_tf.data.feature_tasks import Encoder, weights_digest
from imgtext_tf.data.runners import LOCAL, Runner

SPLITS = ("train", "val", "test")
_CHUNK = 1024
# The words of each sentence of a text.
_Words = list[list[str]]


@dataclasses.dataclass
class Data:
    """An opened data set.

    Attributes:
        settings: of the run.
        readers: split -> its records.
        vocabulary: gives the word ids.
        ngrams: the n-gram settings of the word vectors; None where they have none.
        features: the feature maps; None where pixels are read, or no image at all.
    """

    settings: Settings
    readers: dict[str, shards.ShardReader]
    vocabulary: text.Vocabulary
    ngrams: dict[str, int] | None = None
    features: features.FeatureCache | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of the target, in label order."""
        return labels_of(self.settings, self.readers)

    def truth(self, split: str) -> np.ndarray:
        """The labels of a split: [records] int64."""
        reader, target = self.readers[split], self.settings.target
        names, places = np.unique(reader.index["relation"], return_inverse=True)
        labels = [
            relations.label_index(target, name.decode("utf-8"), reader.own_labels) for name in names
        ]
        return np.array(labels, np.int64)[places]

    def rows(self, split: str) -> np.ndarray:
        """The records of a split in use, [N] int64: without the source left out, or of it only."""
        source = self.settings.leave_out_source.encode()
        sources = self.readers[split].index["source"]
        if not source:
            return np.arange(len(sources))
        is_left_out = sources == source
        if not is_left_out.any():
            known = ", ".join(name.decode() for name in np.unique(sources))
            raise ValueError(
                f"--leave_out_source={source.decode()}: split {split} has no such source; use one "
                f"of {known}"
            )
        evaluated = split == self.settings.eval_split
        return np.flatnonzero(is_left_out if evaluated else ~is_left_out)

    def training_batches(
        self, start_step: int, num_steps: int, *, worker: tuple[int, int] | None = None
    ) -> tf.data.Dataset:
        """The batches of some steps, as `training.fit` asks for them: this worker's slices.

        Args:
            start_step: the step of the first batch.
            num_steps: batches to give.
            worker: (number, count) of another slice; (0, 1) for whole batches.
        """
        settings = self.settings
        distort = {"crop": settings.crop, "flip": settings.flip}
        if not settings.colour:
            distort |= {"brightness": 0, "saturation": None, "hue": 0, "contrast": None}
        return self._batches(
            "train",
            training=True,
            seed=settings.seed,
            start_step=start_step,
            num_steps=num_steps,
            distort=distort,
            drop_sentences=settings.drop_sentences,
            drop_words=settings.drop_words,
            rows=self.rows("train"),
            class_balance=settings.class_balance,
            class_weights=self._class_weights() if settings.class_weights else None,
            worker=worker or distribution.worker(),
        )

    def batch_ids(self, step: int) -> list[str]:
        """The ids of the pairs of a training batch, numbered from 0; nothing is decoded."""
        batches = self._batches(
            "train",
            ids_only=True,
            training=True,
            with_id=True,
            seed=self.settings.seed,
            start_step=step,
            num_steps=1,
            rows=self.rows("train"),
            class_balance=self.settings.class_balance,
        )
        inputs, _ = next(iter(batches))
        return [name.decode("utf-8") for name in inputs["id"].numpy()]

    def evaluation_batches(self, split: str) -> tf.data.Dataset:
        """Every pair of a split once, with its id."""
        return self._batches(split, training=False, rows=self.rows(split))

    def _batches(self, split: str, *, ids_only: bool = False, **arguments: Any) -> tf.data.Dataset:
        settings = self.settings
        pixels = settings.inputs != "text" and self.features is None and not ids_only
        no_text = settings.inputs == "image" or ids_only
        return pipeline.relation_dataset(
            self.readers[split],
            target=settings.target,
            batch_size=settings.batch_size,
            vocabulary=None if no_text else self.vocabulary,
            image_size=settings.image_size if pixels else None,
            central_fraction=settings.central_fraction,
            features=None if ids_only else self.features,
            max_sentences=settings.max_sentences,
            max_words=settings.max_words,
            # XLA compiles once per shape, so it wants a single one.
            fixed_padding=settings.fixed_padding or settings.jit_compile,
            ngrams=self.ngrams,
            **arguments,
        )

    def class_counts(self) -> np.ndarray:
        """[classes] int64: the train pairs of each class that the run uses."""
        return np.bincount(self.truth("train")[self.rows("train")], minlength=len(self.labels))

    def _class_weights(self) -> np.ndarray:
        """[classes] float64: one over the class's frequency, with a mean of 1 over the pairs."""
        counts = self.class_counts()
        return counts.sum() / (np.maximum(counts, 1) * np.count_nonzero(counts))

    def balanced_ids(self, split: str) -> list[str]:
        """The ids of the balanced part of a split, one a line; none where the build chose none."""
        path = os.path.join(self.settings.data_dir, f"balanced_{split}_ids.txt")
        return filesystem.read_text(path).splitlines() if filesystem.exists(path) else []

    def description(self) -> dict[str, str]:
        """What a result says of its data."""
        manifest = next(iter(self.readers.values())).manifest
        digest = manifest_digest(self.readers)
        return {"name": manifest["name"], "kind": manifest["kind"], "manifest_sha256": digest}


def labels_of(settings: Settings, readers: dict[str, shards.ShardReader]) -> tuple[str, ...]:
    """The class names of the target in a data set, in label order."""
    return relations.labels_of(settings.target, next(iter(readers.values())).own_labels)


def manifest_digest(readers: dict[str, shards.ShardReader]) -> str:
    """The sha256 of a data set's manifest, which holds those of all its files."""
    return shards.digest(next(iter(readers.values())).manifest)


def open_readers(settings: Settings) -> dict[str, shards.ShardReader]:
    """Verifies the data set and opens its splits; an evaluation needs its own split only.

    Raises:
        ShardError: naming what is missing or damaged.
    """
    found = shards.verify(settings.data_dir, level=settings.verify)["splits"]
    needed = (settings.eval_split,) if settings.eval_only else SPLITS
    if missing := [split for split in needed if split not in found]:
        raise shards.ShardError(
            f"{settings.data_dir}: has no split {', '.join(missing)} (it has {', '.join(found)}); "
            "build it with the sources or --split_fractions that fill these splits"
        )
    return {split: shards.ShardReader(settings.data_dir, split) for split in found}


def open_text(
    settings: Settings, reader: shards.ShardReader, run: runs.RunDirectory | None
) -> tuple[text.Vocabulary, fasttext.WordVectors | None]:
    """The vocabulary and the pre-trained vectors of its words; None where they are learnt.

    The vocabulary holds the words of the train split; with `extend_vocabulary` also those that the
    vectors know, which were known before any test text was.

    Raises:
        FileNotFoundError: if there is no such file of vectors.
    """
    counts = os.path.join(settings.data_dir, shards.WORDS)
    rows = None
    if settings.leave_out_source:
        rows = Data(settings, {"train": reader}, text.Vocabulary(())).rows("train")
        counts = collections.Counter(
            word for sentences in texts(reader, rows) for words in sentences for word in words
        )
    vocabulary = text.Vocabulary.from_counts(counts)
    if settings.vectors == "learnt":
        return vocabulary, None
    if settings.vectors:
        limit = settings.vectors_limit or None
        vectors = fasttext.load_vectors(settings.vectors, limit=limit)
        if settings.extend_vocabulary:
            vocabulary = vocabulary.extended(vectors.words)
        return vocabulary, vectors
    path = run.path / "vectors.bin"
    if path.exists():
        return vocabulary, fasttext.load_vectors(path)
    logging.info("no --vectors: training them on the texts of the train split")
    sentences = [words for sentences in texts(reader, rows) for words in sentences]
    return vocabulary, fasttext.train_vectors(sentences, path, seed=settings.seed)


@distribution.scoped
def open_encoder(settings: Settings) -> keras.Model | None:
    """The image encoder; None for a model of texts only."""
    if settings.inputs == "text":
        return None
    return encoders.image_encoder(
        settings.backbone,
        weights=None if settings.backbone_weights == "none" else settings.backbone_weights,
        image_size=settings.image_size,
        trainable=settings.tune_backbone,
        input_range=settings.input_range or None,
    )


@distribution.chief_first
def open_features(
    settings: Settings,
    readers: dict[str, shards.ShardReader],
    encoder: keras.Model | None,
    runner: Runner = LOCAL,
) -> features.FeatureCache | None:
    """The cache of feature maps of all splits, computed where it is missing, by the runner.

    Raises:
        ValueError: if the backbone is to be tuned, too.
        FeatureError: if the folder holds the maps of another backbone, or damaged ones.
    """
    if encoder is None or not settings.cache_features:
        return None
    if settings.tune_backbone:
        raise ValueError("--cache_features keeps what --tune_backbone would change: use one")
    is_hub = settings.backbone.startswith("hub:")
    # A file counts by its weights, wherever it lies.
    name = settings.backbone if is_hub else pathlib.PurePath(settings.backbone).name
    fingerprint = {"backbone": name, "weights": weights_digest(encoder)}
    if settings.input_range:
        fingerprint["input_range"] = list(settings.input_range)
    folder = settings.cache_features
    if folder == "auto":
        view = f"{settings.image_size}-{settings.central_fraction:g}"
        part = f"features-{name}-{view}-{fingerprint['weights'][:8]}"
        folder = os.path.join(settings.data_dir, re.sub(r"[^\w.-]+", "_", part))
    cache = features.write_feature_cache(
        folder,
        list(readers.values()),
        Encoder(encoder),
        image_size=settings.image_size,
        central_fraction=settings.central_fraction,
        fingerprint=fingerprint,
        runner=runner,
    )
    try:
        shards.verify(folder, level=settings.verify)
    except shards.ShardError as error:
        raise features.FeatureError(
            f"{error}\nRemove the folder: the feature maps are then computed anew"
        ) from error
    return cache


def texts(reader: shards.ShardReader, rows: np.ndarray | None = None) -> Iterator[_Words]:
    """The words of the sentences of every pair, or of some rows, in the order of the records."""
    rows = np.arange(len(reader)) if rows is None else rows
    for start in range(0, len(rows), _CHUNK):
        data = tf.constant(reader.read(rows[start : start + _CHUNK]))
        record = examples.decode(reader.record_kind, data, fields=["sentences"])
        for sentences in ragged.to_lists(text.tokenize(record["sentences"])):
            yield [[word.decode("utf-8") for word in sentence] for sentence in sentences]
