"""The cached image features that a matching run trains on."""

from __future__ import annotations

import os
import pathlib
import re

import keras
import numpy as np

from experiments.matching_flags import SPLITS, Settings
from imgtext_tf import distribution, filesystem
from imgtext_tf.data import features, shards
from imgtext_tf.data.caption_batches import Features
from imgtext_tf.data.feature_tasks import Encoder, weights_digest
from imgtext_tf.data.runners import LOCAL, Runner

_BLOCK = 512  # images at a time


@distribution.chief_first
def open_features(
    settings: Settings,
    readers: list[shards.ShardReader],
    encoder: keras.Model,
    runner: Runner = LOCAL,
) -> features.FeatureCache:
    """The cache of features of all splits, computed where it is missing, by the runner.

    Raises:
        FeatureError: if the folder holds the features of another backbone.
    """
    is_hub = settings.backbone.startswith("hub:")
    name = settings.backbone if is_hub else pathlib.PurePath(settings.backbone).name
    fingerprint = {"backbone": name, "weights": weights_digest(encoder)}
    compute = encoder
    if not settings.feature_maps:
        fingerprint["pooled"] = "mean"
        pooled = keras.layers.GlobalAveragePooling2D(
            keepdims=True, dtype="float32", name="image_mean"
        )(encoder.output)
        compute = keras.Model(encoder.input, pooled)
    folder = settings.cache_features
    if folder == "auto":
        folder = _cache_folder(settings, name, fingerprint["weights"], readers)
    if filesystem.exists(os.path.join(folder, shards.MANIFEST)):  # of more splits, perhaps
        view = {"image_size": settings.image_size, "central_fraction": settings.central_fraction}
        return features.FeatureCache(folder, fingerprint | view)
    return features.write_feature_cache(
        folder,
        readers,
        Encoder(compute),
        image_size=settings.image_size,
        central_fraction=settings.central_fraction,
        fingerprint=fingerprint,
        dtype="float16" if settings.feature_maps else "float32",
        runner=runner,
    )


def mean_features(part: Features, count: int, *, unit: bool) -> np.ndarray:
    """The mean over images of pooled features: [C] float32.

    Args:
        part: of the training images.
        count: of images.
        unit: whether each image's are scaled to unit length first.
    """
    total = np.zeros(part.shape[-1])
    for start in range(0, count, _BLOCK):
        pooled = part.read(np.arange(start, min(start + _BLOCK, count))).astype(np.float64)
        pooled = pooled.reshape(len(pooled), -1, part.shape[-1]).mean(axis=1)
        if unit:
            lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
            pooled = pooled / np.where(lengths > 0, lengths, 1)
        total += pooled.sum(axis=0)
    return (total / count).astype(np.float32)


def _cache_folder(
    settings: Settings, backbone: str, weights: str, readers: list[shards.ShardReader]
) -> str:
    """The folder beside the shards of a cache of these splits: of more, if there is one."""
    kind = "maps" if settings.feature_maps else "pooled"
    view = f"{settings.image_size}-{settings.central_fraction:g}"
    splits = {reader.split for reader in readers}
    wanted = [split for split in SPLITS if split in splits]
    for known in (SPLITS, wanted):
        part = f"features-{backbone}-{kind}-{view}-{'-'.join(known)}-{weights[:8]}"
        folder = os.path.join(settings.data_dir, re.sub(r"[^\w.-]+", "_", part))
        if filesystem.exists(os.path.join(folder, shards.MANIFEST)):
            break
    return folder
