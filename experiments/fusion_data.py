"""What the fusion classifier sees of each photo: visual features, bottleneck, phrases, text."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from experiments import phrase_data, phrase_report
from experiments.fusion_flags import Settings
from experiments.phrase_labels import Labels
from imgtext_tf import encoders, evaluation, filesystem, runs, untrusted
from imgtext_tf.data import features, photos, shards
from imgtext_tf.models import phrase_generator

VISUAL = "visual.keras"
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Photos:
    """Some photos, row-aligned.

    Attributes:
        ids: [N] str.
        image_ids: [N] bytes.
        visual: [N, C] float32.
        phrase: [N, D] float32, the phrase generator's bottleneck.
        labels: [N] int64, or [N, L] int8 in {1, 0, -1} where a photo has several.
    """

    ids: np.ndarray
    image_ids: np.ndarray
    visual: np.ndarray
    phrase: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """The number of photos."""
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Photos:
        """Some of the photos."""
        return Photos(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Photos]) -> Photos:
        """The photos of several sets."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def open_photos(
    settings: Settings, labels: Labels, *, splits: Sequence[str] = ()
) -> dict[str, Photos]:
    """Some splits, without the train photos that the phrase generator was trained on.

    A classifier trained on photos whose phrases the generator knows by heart would trust them too
    much; the generator's run names its photos.

    Args:
        settings: of the run.
        labels: the taxonomy.
        splits: to open; those that training and evaluation need, if none is named.

    Raises:
        ShardError: if the data set is damaged.
        ValueError: if the generator was trained on photos to evaluate on.
    """
    needed = splits or (("train", "val") if settings.folds else ("train", settings.eval_split))
    readers = phrase_data.open_readers(
        settings.data_dir, "image_labels", needed, verify=settings.verify
    )
    readers = {split: readers[split] for split in needed}
    encoder = visual_encoder(settings)
    cache = phrase_data.open_features(settings, list(readers.values()), encoder)
    embed = _bottlenecks(settings, encoder, cache)
    seen = set(
        (runs.RunDirectory(settings.generator).path / phrase_report.TRAIN_IMAGES)
        .read_text(encoding="utf-8")
        .split()
    )
    found = {}
    for split, reader in readers.items():
        everything = Photos(
            np.array([name.decode("utf-8") for name in reader.index["id"].tolist()]),
            reader.index["image_id"],
            cache.read(cache.lookup(reader.index["image_id"])).mean((1, 2)),
            embed(reader),
            _labels_of(reader, labels),
        )
        found[split] = without_seen(everything, seen, split)
    return found


def without_seen(photos: Photos, seen: set[str], split: str) -> Photos:
    """The photos that the phrase generator was not trained on.

    Args:
        photos: of a split.
        seen: image ids of the generator's photos.
        split: its name.

    Raises:
        ValueError: if photos to evaluate on would be left out.
    """
    known = np.array([name.decode("utf-8") in seen for name in photos.image_ids])
    if split != "train" and known.any():
        raise ValueError(
            f"the phrase generator was trained on {known.sum()} photos of split {split}: train it "
            "on other photos"
        )
    logging.info(
        "%s: %d photos; %d more are left out, for the phrase generator knows them",
        split, np.sum(~known), known.sum(),
    )  # fmt: skip
    return photos.take(np.flatnonzero(~known))


def visual_encoder(settings: Settings) -> keras.Model:
    """The visual embedding model, kept in the run's folder: an export must have the same."""
    path = runs.RunDirectory(settings.run_dir).path / VISUAL
    if settings.run_dir and path.exists():
        return untrusted.load_model(path)
    encoder = encoders.image_encoder(
        settings.backbone,
        weights=None if settings.backbone_weights == "none" else settings.backbone_weights,
        image_size=settings.image_size,
    )
    if settings.run_dir:
        runs.save_model(encoder, path)
    return encoder


def _labels_of(reader: shards.ShardReader, labels: Labels) -> np.ndarray:
    positives, negatives = (photos.text_lists(reader, name) for name in ("positives", "negatives"))
    place_of = {label: place for place, label in enumerate(labels.ids)}
    if not several(reader.directory):
        return np.array([place_of[own[0]] for own in positives], np.int64)
    table = np.full([len(positives), len(labels.ids)], -1, np.int8)
    for row, (present, absent) in enumerate(zip(positives, negatives, strict=True)):
        table[row, [place_of[label] for label in absent if label in place_of]] = 0
        table[row, [place_of[label] for label in present if label in place_of]] = 1
    return table


def several(data_dir: str) -> bool:
    """Whether photos of a data set have several labels."""
    return shards.load_manifest(data_dir)["name"] == "openimages"


def _bottlenecks(settings: Settings, encoder: keras.Model, cache: features.FeatureCache):
    """Reader -> the phrase generator's bottleneck of each photo, [N, D]."""
    run = runs.RunDirectory(settings.generator)
    saved = runs.read_settings(run.settings_file)["settings"]
    same_view = all(
        saved[name] == getattr(settings, name) for name in ("image_size", "central_fraction")
    )
    if run.backbone_file.exists() and same_view:
        backbone = untrusted.load_model(run.backbone_file)
        if _same_weights(backbone, encoder):
            # Both models look at the images through one backbone: once is enough.
            model = untrusted.load_model(run.model_file("best"))
            embedder = phrase_generator.embedder(model)

            def of_cache(reader: shards.ShardReader) -> np.ndarray:
                dataset = photos.photo_dataset(reader, batch_size=_BATCH, features=cache)
                return evaluation.outputs(embedder, dataset)["embedding"]

            return of_cache
    live = phrase_generator.embedder(runs.load(settings.generator).model)

    def of_pixels(reader: shards.ShardReader) -> np.ndarray:
        dataset = photos.photo_dataset(
            reader,
            batch_size=_BATCH,
            image_size=saved["image_size"],
            central_fraction=saved["central_fraction"],
        )
        return evaluation.outputs(live, dataset)["embedding"]

    return of_pixels


def _same_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = list(zip(one.get_weights(), other.get_weights(), strict=False))
    same = len(one.get_weights()) == len(other.get_weights())
    return same and all(a.shape == b.shape and np.array_equal(a, b) for a, b in pairs)


def kept_channels(channels: int, strength: float, seed: int) -> np.ndarray:
    """The channels of the visual embedding that a strength leaves, drawn by the seed.

    The paper weakens its visual embedding by training it with a part of ImageNet; a pre-trained
    backbone is weakened here by hiding a part of what it gives (Deviation 5).
    """
    # Deviation 5: a share of the channels stands for a share of ImageNet.
    count = max(1, round(channels * strength))
    return np.sort(np.random.default_rng([seed, channels]).permutation(channels)[:count])


def preprocessing(
    settings: Settings, photos: Photos, strength: float, phrase_set: str, seed: int
) -> dict[str, Any]:
    """How an image becomes the inputs of a classifier, as far as its run's settings do not say.

    Args:
        settings: of the run.
        photos: that it is trained on.
        strength: share of the visual channels; 0: it sees none.
        phrase_set: "" where it sees no phrase.
        seed: that drew the channels.
    """
    found = {name: getattr(settings, name) for name in ("image_size", "central_fraction", "top")}
    if strength:
        found["channels"] = kept_channels(photos.visual.shape[1], strength, seed).tolist()
    return found | {"phrase_set": phrase_set}


def few_shot_rows(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of about so many photos a label, drawn by the seed; 0: all.

    A photo is taken if one of its labels has fewer so far. Of photos with one label each, no label
    gets more; of photos with several, a frequent label can come along with a rare one.
    """
    rows = np.random.default_rng(seed).permutation(len(labels))
    if not most:
        return rows
    taken: collections.Counter = collections.Counter()
    chosen = []
    for row in rows:
        own = [labels[row]] if labels.ndim == 1 else np.flatnonzero(labels[row] == 1)
        if any(taken[label] < most for label in own):
            taken.update(own)
            chosen.append(row)
    return np.array(chosen, np.int64)


def fingerprints(settings: Settings) -> dict[str, str]:
    """sha256 of what the photos' phrases come from: generator, prototypes, text encoder.

    Runs keep it, so that none goes on with what another generator or edited phrases left behind.
    """
    generator = runs.RunDirectory(settings.generator)
    paths = {
        "generator_sha256": generator.model_file("best"),
        "prototypes_sha256": generator.path / phrase_report.PROTOTYPES,
    }
    if settings.text_encoder:
        paths["text_encoder_sha256"] = runs.RunDirectory(settings.text_encoder).model_file("best")
    return {name: filesystem.sha256_of(path) for name, path in paths.items()}


def description(settings: Settings) -> dict[str, Any]:
    """What a result says of its data."""
    manifest = shards.load_manifest(settings.data_dir)
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return {"name": manifest["name"], "kind": manifest["kind"], "manifest_sha256": digest}
