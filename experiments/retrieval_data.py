"""The inputs of Gordo2017's experiments: shards, texts, region vectors, whitening."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import re

import keras
import numpy as np
import scipy.sparse
from absl import logging

from experiments.retrieval_flags import Settings
from imgtext_tf import distribution, encoders, filesystem, layers, runs, untrusted
from imgtext_tf.data import features, photos, region_features, shards
from imgtext_tf.data.feature_tasks import Encoder, weights_digest
from imgtext_tf.data.runners import LOCAL, Runner
from imgtext_tf.models import semantic_retrieval
from imgtext_tf.text_similarity import TfIdf

SPLITS = ("train", "val", "test")
_PCA_SEED = 0


@dataclasses.dataclass
class Split:
    """One split of an opened data set; row i of everything is record i.

    Attributes:
        reader: its records.
        ids: [N] str, the records' ids.
        sentences: the sentences of each image.
        tfidf: [N, V] l2-normalised vectors of the sentences.
        regions: [N, R, C] float16 region vectors.
    """

    reader: shards.ShardReader
    ids: np.ndarray
    sentences: list[list[str]]
    tfidf: scipy.sparse.csr_matrix
    regions: np.ndarray

    def query_rows(self, count: int) -> np.ndarray:
        """The rows that are queries of an evaluation, always the same; 0 means all."""
        if not count or count >= len(self.ids):
            return np.arange(len(self.ids))
        # By id: another build of the same images has the same queries.
        order = sorted(range(len(self.ids)), key=lambda row: _draw(self.ids[row]))
        return np.sort(order[:count])


@dataclasses.dataclass
class Data:
    """An opened data set.

    Attributes:
        settings: of the run.
        splits: by name.
        vectorizer: of the texts, learnt on the train split.
        encoder: images to region vectors; None where it was not needed.
        manifest: of the shards.
    """

    settings: Settings
    splits: dict[str, Split]
    vectorizer: TfIdf
    encoder: keras.Model | None
    manifest: dict

    def description(self) -> dict[str, str]:
        """What a result says of its data."""
        return {
            "name": self.manifest["name"],
            "kind": self.manifest["kind"],
            "manifest_sha256": manifest_digest(self.manifest),
        }


def open_data(
    settings: Settings,
    *,
    vectorizer: TfIdf | None = None,
    encoder: keras.Model | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> Data:
    """Verifies the shards, reads all texts and the region vectors, and computes what is missing.

    Args:
        settings: of the run.
        vectorizer: of a trained run; None fits one to the train split.
        encoder: of `semantic_retrieval.region_encoder`; None builds it from the settings.
        splits: what to open.

    Raises:
        ShardError: naming what is missing or damaged.
        FeatureError: if the cache holds vectors of another backbone.
    """
    manifest = shards.verify(settings.data_dir, level=settings.verify)
    if manifest["record_kind"] != "image_captions":
        raise shards.ShardError(
            f"{settings.data_dir}: holds {manifest['record_kind']!r} records, not image_captions; "
            "build them with tfrecords_tools.build_visual_genome"
        )
    if missing := [split for split in splits if split not in manifest["splits"]]:
        raise shards.ShardError(f"{settings.data_dir}: has no split {', '.join(missing)}")
    readers = {split: shards.ShardReader(settings.data_dir, split) for split in splits}
    texts = {split: photos.text_lists(reader, "sentences") for split, reader in readers.items()}
    if vectorizer is None:
        vectorizer = TfIdf.learn(
            texts["train"],
            term_weight=settings.term_weight,
            idf=settings.idf,
            min_documents=settings.min_documents,
        )
        logging.info("vocabulary of %d stems", len(vectorizer))
    encoder = open_encoder(settings) if encoder is None else encoder
    folder = cached_regions(settings, encoder)
    opened = {}
    for split, reader in readers.items():
        opened[split] = Split(
            reader=reader,
            ids=np.array([one.decode("utf-8") for one in reader.index["id"].tolist()]),
            sentences=texts[split],
            tfidf=vectorizer.transform(texts[split]),
            regions=region_features.read_regions(folder, reader.index["image_id"]),
        )
    return Data(settings, opened, vectorizer, encoder, manifest)


@distribution.scoped
def open_encoder(settings: Settings) -> keras.Model:
    """Images of any shape to region vectors, by the backbone as it was published."""
    encoder = encoders.image_encoder(
        settings.backbone,
        weights=None if settings.backbone_weights == "none" else settings.backbone_weights,
        image_size=0,
        trainable=settings.tune_backbone,
        input_range=settings.input_range or None,
    )
    return semantic_retrieval.region_encoder(encoder, levels=settings.rmac_levels)


@distribution.chief_first
def cached_regions(
    settings: Settings,
    encoder: keras.Model,
    runner: Runner = LOCAL,
) -> str:
    """The folder of the region vectors of all splits, computed by the runner where missing."""
    # A file counts by its weights, wherever it lies.
    name = pathlib.PurePath(settings.backbone).name
    fingerprint = {
        "backbone": name,
        "weights": weights_digest(encoder),
        "rmac_levels": settings.rmac_levels,
        "input_range": list(settings.input_range),
    }
    folder, maps = settings.cache_features, None
    if folder != "auto" and filesystem.exists(os.path.join(folder, shards.MANIFEST)):
        # Whole feature maps, that other experiments share; what is pooled of them stands by itself.
        if shards.load_manifest(folder)["name"] == "features":
            maps = features.FeatureCache(
                folder,
                {
                    **{name: fingerprint[name] for name in ("backbone", "weights")},
                    "image_size": settings.longest_side,
                    "central_fraction": 1.0,
                },
            )
            folder = "auto"
    if folder == "auto":
        part = f"regions-{name}-{settings.longest_side}-L{settings.rmac_levels}"
        part += f"-{fingerprint['weights'][:8]}{'' if maps is None else '-maps'}"
        folder = os.path.join(settings.data_dir, re.sub(r"[^\w.-]+", "_", part))
    # Always of all splits, so that an evaluation finds the cache of the training.
    known = shards.load_manifest(settings.data_dir)["splits"]
    readers = [shards.ShardReader(settings.data_dir, split) for split in known]
    if maps is not None:
        region_features.pool_feature_cache(
            folder,
            maps,
            [one.decode() for reader in readers for one in reader.index["image_id"].tolist()],
            layers.RegionMaxPool(settings.rmac_levels),
            fingerprint=fingerprint,
            kind=readers[0].manifest["kind"],
        )
        return folder
    region_features.write_region_cache(
        folder,
        readers,
        Encoder(encoder, semantic_retrieval.__name__),
        longest_side=settings.longest_side,
        fingerprint=fingerprint,
        runner=runner,
    )
    return folder


def fit_whitening(
    regions: np.ndarray, *, limit: int, floor: float = 0.0, chunk: int = 4096
) -> dict[str, np.ndarray]:
    """PCA whitening of l2-normalised region vectors, by the covariance over n.

    Args:
        regions: [N, R, C]; rows of zeros are padding.
        limit: vectors to use, at most; images are drawn.
        floor: eigenvalues are raised to this share of the largest; those that are not positive
            are in any case raised to the smallest positive one.
        chunk: images at once.

    Returns:
        `mean` [C], `projection` [C, C] with the strongest direction first, and `eigenvalues` [C],
        float32; y = (x - mean) projection has the identity as its covariance.

    Raises:
        ValueError: if there are no more vectors than channels.

    Reference: Gordo2017, Section 3 (Jegou and Chum 2012).
    """
    images = np.random.default_rng(_PCA_SEED).permutation(len(regions))
    images = np.sort(images[: max(1, limit // regions.shape[1])])
    channels, count = regions.shape[-1], 0
    total, products = np.zeros(channels), np.zeros([channels, channels])
    for start in range(0, len(images), chunk):
        part = regions[images[start : start + chunk]].reshape(-1, channels).astype(np.float32)
        lengths = np.linalg.norm(part, axis=1)
        part = part[lengths > 0] / lengths[lengths > 0, None]
        count += len(part)
        total += part.sum(axis=0, dtype=np.float64)
        products += part.T @ part
    if count <= channels:
        raise ValueError(f"{count} region vectors are too few to whiten {channels} channels: use "
                         "more images")  # fmt: skip
    mean = total / count
    values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    values, vectors = values[::-1], vectors[:, ::-1]
    # Which end of an axis is positive is chance: the largest entry is.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(channels)])
    positive = values[values > 1e-10 * values[0]]
    values = np.maximum(values, max(floor * values[0], positive[-1]))
    return {
        "mean": mean.astype(np.float32),
        "projection": (vectors / np.sqrt(values)).astype(np.float32),
        "eigenvalues": values.astype(np.float32),
    }


def open_whitening(settings: Settings, regions: np.ndarray) -> dict[str, np.ndarray]:
    """The whitening of the file that the settings name, none, or fitted to these region vectors.

    Raises:
        ValueError: if dimensions are to be dropped without a whitening that sorts them.
    """
    channels = regions.shape[-1]
    if settings.whitening == "none":
        if 0 < settings.dimensions < channels:
            raise ValueError(
                f"--whitening=none with --dimensions={settings.dimensions} would keep arbitrary "
                f"ones of {channels} channels: leave one of the flags out"
            )
        return {"mean": np.zeros(channels, np.float32), "projection": np.eye(channels, dtype="f4")}
    if settings.whitening:
        found = untrusted.load_npz(settings.whitening)
        shapes = {name: found[name].shape for name in found}
        projection = shapes.get("projection", ())
        if shapes.get("mean") != (channels,) or len(projection) != 2 or channels not in projection:
            raise ValueError(f"--whitening={settings.whitening}: holds {shapes}, not mean and "
                             f"projection of {channels} channels")  # fmt: skip
        return found
    limit, floor = settings.whitening_regions, settings.whitening_floor
    return fit_whitening(regions, limit=limit, floor=floor)


def save_whitening(path: str | os.PathLike, whitening: dict[str, np.ndarray]) -> None:
    """Writes `whitening.npz`, atomically."""
    with runs.atomic_path(path) as temporary:
        np.savez(temporary, **whitening)


def manifest_digest(manifest: dict) -> str:
    """The sha256 of a data set's manifest, which holds those of all its files."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _draw(record_id: str) -> bytes:
    return hashlib.sha256(f"query\0{record_id}".encode()).digest()
