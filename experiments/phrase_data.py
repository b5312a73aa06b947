"""The inputs of Shah2019's phrase generator: photos, their queries, pooled features."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from experiments import phrase_labels
from experiments.phrase_flags import Settings
from imgtext_tf import distribution, encoders, evaluation, filesystem, layers
from imgtext_tf.data import features, photos, shards
from imgtext_tf.data.feature_tasks import Encoder, weights_digest
from imgtext_tf.data.runners import LOCAL, Runner

SPLITS = ("train", "val", "test")
_EVALUATION_BATCH = 64


@dataclasses.dataclass
class Data:
    """An opened data set of photos with queries.

    Attributes:
        settings: of the run.
        readers: split -> its photos.
        queries: split -> the queries of each photo, in the order of the records.
        counts: query -> number of its train photos, most frequent first.
        features: pooled feature maps; None where pixels are read.
        left_out: stems of words that no query holds: those of labels.
    """

    settings: Settings
    readers: dict[str, shards.ShardReader]
    queries: dict[str, list[list[str]]]
    counts: collections.Counter[str]
    features: features.FeatureCache | None = None
    left_out: frozenset[str] = frozenset()

    @property
    def train_rows(self) -> np.ndarray:
        """The train photos that are trained on: a share of them, by a hash of their content."""
        ids = self.readers["train"].index["image_id"]
        places = [int(name[:8], 16) / 2**32 for name in ids.tolist()]
        return np.flatnonzero(np.array(places) < self.settings.train_share)

    @property
    def names(self) -> list[str]:
        """The queries of the softmax, in the order of their numbers."""
        settings = self.settings
        names = [name for name, count in self.counts.items() if count >= settings.min_images]
        return names[: settings.vocabulary_size or None]

    def more_queries(self) -> list[list[str]]:
        """The further queries of each train photo, which only have prototypes."""
        if not self.settings.more_queries:
            return [[] for _ in self.queries["train"]]
        return self._further("train")

    def right_phrases(self, split: str) -> list[list[str]]:
        """The queries of each photo and the further phrases that stand in its own texts."""
        more = self._further(split)
        return [[*own, *further] for own, further in zip(self.queries[split], more, strict=True)]

    def _further(self, split: str) -> list[list[str]]:
        texts = photos.text_lists(self.readers[split], "more_queries")
        return phrase_labels.without(texts, self.left_out)

    def pairs(self) -> photos.QueryPairs:
        """The pairs to train on."""
        kept = set(self.train_rows.tolist())
        lists = [own if row in kept else [] for row, own in enumerate(self.queries["train"])]
        return photos.QueryPairs.of(lists, self.names)

    def training_batches(self, start_step: int, num_steps: int) -> tf.data.Dataset:
        """This worker's slices of the batches of some steps, as `training.fit` asks for them."""
        settings = self.settings
        distort: dict[str, Any] = {"crop": settings.crop, "flip": settings.flip}
        if not settings.colour:
            distort |= {"brightness": 0, "saturation": None, "hue": 0, "contrast": None}
        return photos.pair_dataset(
            self.readers["train"],
            self.pairs(),
            batch_size=settings.batch_size,
            seed=settings.seed,
            start_step=start_step,
            num_steps=num_steps,
            features=self.features,
            image_size=settings.image_size,
            distort=distort,
            worker=distribution.worker(),
        )

    def batch_ids(self, step: int) -> list[str]:
        """Photo and query of the pairs of a training batch, numbered from 0."""
        settings, names = self.settings, self.names
        found = self.pairs().batch(step, batch_size=settings.batch_size, seed=settings.seed)
        ids = self.readers["train"].index["id"]
        return [
            f"{ids[row].decode('utf-8')}: {names[query]}" for row, query in zip(*found, strict=True)
        ]

    def embedding_batches(
        self, model: keras.Model, split: str, rows: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """What `phrase_generator.embedder` gives of the photos of a split: [B, D] float32 each."""
        dataset = photos.photo_dataset(
            self.readers[split],
            batch_size=_EVALUATION_BATCH,
            features=self.features,
            image_size=self.settings.image_size,
            central_fraction=self.settings.central_fraction,
            rows=rows,
        )
        for _, found in evaluation.output_batches(model, dataset):
            yield found["embedding"]

    def embeddings(self, model: keras.Model, split: str) -> np.ndarray:
        """The embeddings of all photos of a split: [N, D] float32."""
        return np.concatenate(list(self.embedding_batches(model, split)))

    def description(self) -> dict[str, str]:
        """What a result says of its data."""
        manifest = next(iter(self.readers.values())).manifest
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        return {"name": manifest["name"], "kind": manifest["kind"], "manifest_sha256": digest}


def open_readers(
    data_dir: str, record_kind: str, needed: Sequence[str], *, verify: str = "full"
) -> dict[str, shards.ShardReader]:
    """Verifies a data set and opens its splits.

    Raises:
        ShardError: naming what is missing or damaged.
    """
    found = shards.verify(data_dir, level=verify)
    if found["record_kind"] != record_kind:
        raise shards.ShardError(
            f"{data_dir}: holds {found['record_kind']!r} records, not {record_kind!r}"
        )
    if missing := [split for split in needed if split not in found["splits"]]:
        raise shards.ShardError(f"{data_dir}: has no split {', '.join(missing)}")
    return {split: shards.ShardReader(data_dir, split) for split in found["splits"]}


def open_data(settings: Settings, encoder: keras.Model | None) -> Data:
    """Opens shards, queries and, where asked for, the cache of pooled features.

    Args:
        settings: of the run.
        encoder: image encoder; needed where features are cached.
    """
    needed = ("train", settings.eval_split) if settings.eval_only else ("train", "val")
    readers = open_readers(settings.data_dir, "image_query", needed, verify=settings.verify)
    stems = phrase_labels.stems_in(settings.leave_out_labels)
    queries = {
        split: phrase_labels.without(photos.text_lists(reader, "queries"), stems)
        for split, reader in readers.items()
    }
    cache = None
    if settings.cache_features:
        cache = open_features(settings, list(readers.values()), encoder)
    data = Data(settings, readers, queries, collections.Counter(), cache, stems)
    seen = [queries["train"][row] for row in data.train_rows]
    return dataclasses.replace(data, counts=photos.by_frequency(seen))


@distribution.scoped
def open_encoder(settings: Any) -> keras.Model:
    """The image encoder that the settings name: [B, H, W, 3] in [0, 1] -> feature map."""
    return encoders.image_encoder(
        settings.backbone,
        weights=None if settings.backbone_weights == "none" else settings.backbone_weights,
        image_size=settings.image_size,
        trainable=settings.tune_backbone,
    )


def pooled(encoder: keras.Model) -> keras.Model:
    """The encoder with the mean of its feature map: [B, H, W, 3] -> [B, 1, 1, C]."""
    image = keras.Input(encoder.input_shape[1:], name="image")
    mean = keras.layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name="image_mean")(
        encoder(image)
    )
    return keras.Model(image, mean, name="pooled_encoder")


@distribution.chief_first
def open_features(
    settings: Any,
    readers: Sequence[shards.ShardReader],
    encoder: keras.Model,
    runner: Runner = LOCAL,
) -> features.FeatureCache:
    """The pooled features of all photos of some splits, computed where they are missing.

    Raises:
        ValueError: if the backbone is to be tuned, too.
        FeatureError: if the folder holds those of another backbone.
    """
    if getattr(settings, "tune_backbone", False):
        raise ValueError("--cache_features keeps what --tune_backbone would change: use one")
    is_hub = settings.backbone.startswith("hub:")
    name = settings.backbone if is_hub else pathlib.PurePath(settings.backbone).name
    fingerprint = {"backbone": name, "weights": weights_digest(encoder), "pooled": True}
    folder = settings.cache_features
    if folder == "auto":
        view = f"{settings.image_size}-{settings.central_fraction:g}"
        part = f"pooled-{name}-{view}-{fingerprint['weights'][:8]}"
        folder = os.path.join(settings.data_dir, re.sub(r"[^\w.-]+", "_", part))
        if _is_finished(folder) and not _holds(features.FeatureCache(folder), readers):
            # It was made for other splits.
            folder += "-" + "-".join(reader.split for reader in readers)
    if _is_finished(folder):
        view = {
            "image_size": settings.image_size,
            "central_fraction": settings.central_fraction,
        }
        cache = features.FeatureCache(folder, fingerprint | view)
        for reader in readers:  # A cache of other photos may hold these, too.
            cache.lookup(reader.index["image_id"])
        return cache
    return features.write_feature_cache(
        folder,
        readers,
        Encoder(pooled(encoder)),
        image_size=settings.image_size,
        central_fraction=settings.central_fraction,
        fingerprint=fingerprint,
        runner=runner,
    )


def _is_finished(folder: str) -> bool:
    return filesystem.exists(os.path.join(folder, shards.MANIFEST))


def _holds(cache: features.FeatureCache, readers: Sequence[shards.ShardReader]) -> bool:
    try:
        for reader in readers:
            cache.lookup(reader.index["image_id"])
    except KeyError:
        return False
    return True


def image_model(encoder: keras.Model) -> keras.Model:
    """{`image`} -> {"embedding": [B, C]}: the pooled features themselves, for baselines."""
    image = keras.Input(encoder.input_shape[1:], name="image")
    mean = keras.layers.Flatten()(pooled(encoder)(image))
    return keras.Model({"image": image}, {"embedding": mean})


def feature_model(shape: Sequence[int]) -> keras.Model:
    """{`image_features`} -> {"embedding": [B, C]}: their mean, for baselines on cached features."""
    maps = keras.Input(tuple(shape), name="image_features")
    return keras.Model(
        {"image_features": maps},
        {"embedding": keras.layers.GlobalAveragePooling2D(dtype="float32")(maps)},
    )


def set_frequencies(generator: keras.Model, data: Data) -> None:
    """Tells a sampler that draws from the batch how often each query is there."""
    head = next(layer for layer in generator.layers if isinstance(layer, layers.CosineSoftmax))
    if head.sampler in ("in_batch", "mixed"):
        head.set_frequencies([data.counts[name] for name in data.names])
