"""The inputs of Liu2019's matching: captions, vocabulary, features or pixels."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from experiments import matching_features
from experiments.matching_flags import SPLITS, Settings, parse_stages
from imgtext_tf import distribution, encoders, filesystem
from imgtext_tf.data import (
    caption_batches,
    captions,
    fasttext,
    precomputed,
    shards,
    text,
)
from imgtext_tf.data.caption_batches import Features, Pixels
from imgtext_tf.data.captions import Captions, WordIds


@dataclasses.dataclass(frozen=True)
class Part:
    """A split, or several joined: what is trained or evaluated on.

    Attributes:
        captions: of its images.
        source: of its images.
    """

    captions: Captions
    source: Features | Pixels


@dataclasses.dataclass(frozen=True)
class Data:
    """An opened data set.

    Attributes:
        settings: of the run.
        parts: split -> its captions and images.
        name: of the data set.
        kind: "real" or "synthetic".
        digest: sha256 of what the data is; of precomputed ones, of what is trained on.
        encoder: image to features; None for precomputed ones.
        keeps_shared: whether train has captions that stand in val or test.
        split_digests: of precomputed data, sha256 of each split: an evaluation opens one only.
    """

    settings: Settings
    parts: dict[str, Part]
    name: str
    kind: str
    digest: str
    encoder: keras.Model | None
    keeps_shared: bool = False
    split_digests: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def joined(self, splits: tuple[str, ...]) -> Part:
        """Several splits as one."""
        parts = [self.parts[split] for split in splits]
        if len(parts) == 1:
            return parts[0]
        whole = Captions.joined([self._apart_from_test(split) for split in splits])
        if isinstance(parts[0].source, Pixels):
            readers = tuple(reader for part in parts for reader in part.source.readers)
            return Part(whole, dataclasses.replace(parts[0].source, readers=readers))
        counted = [(part.source, len(part.captions.image_ids)) for part in parts]
        return Part(whole, Features.joined(counted))

    def _apart_from_test(self, split: str) -> Captions:
        """Captions of val that stand in test, too, are not trained on.

        Those of train are gone since the data were built or opened, or are to stay.
        """
        captions = self.parts[split].captions
        if split != "val" or self.keeps_shared:
            return captions
        kept = captions.without(self.parts["test"].captions)
        dropped = len(captions.texts) - len(kept.texts)
        logging.info("%d val captions stand in test and are not trained on", dropped)
        return kept

    def description(self) -> dict[str, str]:
        """What a result says of its data."""
        digest = self.split_digests.get(self.settings.eval_split, self.digest)
        return {"name": self.name, "kind": self.kind, "manifest_sha256": digest}


def open_data(settings: Settings, encoder: keras.Model | None = None) -> Data:
    """Opens the splits that the run needs.

    Args:
        settings: of the run.
        encoder: the trained run's, for an evaluation; None: that of the settings.

    Raises:
        ValueError: if flags do not go together, or do not fit the data.
        shards.ShardError, captions.CaptionError: naming what is missing or damaged.
    """
    if bool(settings.data_dir) == bool(settings.precomputed):
        raise ValueError("give either --data_dir (shards) or --precomputed (features)")
    if settings.refit and settings.eval_split != "test":
        raise ValueError(f"--refit trains on train and val, so that --eval_split="
                         f"{settings.eval_split} says nothing: use --eval_split=test")  # fmt: skip
    if not (settings.eval_only or settings.live_images) and _trains_cnn(settings):
        raise ValueError("--stages: a stage trains the CNN, which needs --live_images")
    means = not (settings.live_images or settings.feature_maps or settings.precomputed)
    if settings.center_features and (settings.live_images or settings.image_pooling != "mean"):
        raise ValueError("--center_features needs cached or precomputed features and "
                         "--image_pooling=mean")  # fmt: skip
    if means and settings.image_pooling != "mean":
        raise ValueError("--image_pooling other than mean needs --feature_maps or --live_images")
    wanted = (settings.eval_split,) if settings.eval_only else SPLITS
    data = (_open_precomputed if settings.precomputed else _open_shards)(settings, wanted, encoder)
    count = len(data.parts[settings.eval_split].captions.image_ids)
    if settings.folds < 1 or count % settings.folds:
        raise ValueError(f"--folds={settings.folds}: {count} images of {settings.eval_split} make "
                         "no equal parts; use a divisor, or --folds=1")  # fmt: skip
    return data


def _trains_cnn(settings: Settings) -> bool:
    return any("cnn" in stage.train for stage in parse_stages(settings))


def _open_precomputed(settings: Settings, wanted: tuple[str, ...], _: Any) -> Data:
    if settings.live_images:
        raise ValueError("--live_images needs --data_dir: precomputed features have no pixels")
    parts, digests = {}, {}
    for split in wanted:
        files = settings.precomputed_test if split == "test" else split
        found = precomputed.read_precomputed(
            settings.precomputed, files, captions_per_row=settings.precomputed_captions
        )
        features = Features(found.features.shape[1:], found.read)
        parts[split] = Part(found.captions.first(settings.captions_per_image), features)
        digest = hashlib.sha256("\n".join(found.captions.texts).encode())
        digest.update(bytes.fromhex(filesystem.sha256_of(found.path)))
        digests[split] = digest.hexdigest()
    keeps = not settings.drop_shared_captions
    if "train" in parts and not keeps:
        shared = _drop_shared(parts)
        if shared:  # other training data; without any, those that they were
            digests["train"] = hashlib.sha256(f"{digests['train']}{shared}".encode()).hexdigest()
    name = pathlib.Path(settings.precomputed).resolve().name  # of a remote one, too
    # What a run may go on with is told by what it trains on; the test may be another one.
    trained = [value for split, value in digests.items() if split != "test"] or [*digests.values()]
    whole = hashlib.sha256("".join(trained).encode()).hexdigest()
    return Data(settings, parts, name, "real", whole, None, keeps, digests)


def _drop_shared(parts: dict[str, Part]) -> tuple[str, ...]:
    """Takes the train captions that stand in val or test out of train: these captions."""
    before = kept = parts["train"].captions
    for split in ("val", "test"):
        kept = kept.without(parts[split].captions)
    parts["train"] = dataclasses.replace(parts["train"], captions=kept)
    shared = sorted(set(before.texts) - set(kept.texts))
    logging.info(
        "%d of %d train captions stand in val or test and are not trained on "
        "(--nodrop_shared_captions keeps them)",
        len(before.texts) - len(kept.texts), len(before.texts),
    )  # fmt: skip
    return tuple(shared)


def _open_shards(settings: Settings, wanted: tuple[str, ...], encoder: keras.Model | None) -> Data:
    manifest = shards.verify(settings.data_dir, level=settings.verify)
    if missing := [split for split in wanted if split not in manifest["splits"]]:
        raise shards.ShardError(f"{settings.data_dir}: has no split {', '.join(missing)}")
    readers = {split: shards.ShardReader(settings.data_dir, split) for split in wanted}
    of_split = {
        split: Captions.of_shards(reader, per_image=settings.captions_per_image)
        for split, reader in readers.items()
    }
    if encoder is None:
        encoder = open_encoder(settings)
    if settings.live_images:
        # Deviation 8: crops of 5 % of the area and more, as `images.distort` has them.
        distort = {"crop": settings.crop, "flip": settings.flip}
        distort |= {"brightness": 0, "saturation": None, "hue": 0, "contrast": None}
        sources = {
            split: Pixels((reader,), settings.image_size, settings.central_fraction, distort)
            for split, reader in readers.items()
        }
    else:
        cache = matching_features.open_features(settings, list(readers.values()), encoder)
        sources = {
            split: Features.of_cache(cache, reader.index["image_id"])
            for split, reader in readers.items()
        }
    keeps = not manifest["build"].get("drop_shared_captions", True)
    parts = {split: Part(of_split[split], sources[split]) for split in wanted}
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return Data(settings, parts, manifest["name"], manifest["kind"], digest, encoder, keeps)


def open_encoder(settings: Settings) -> keras.Model:
    """The backbone of the settings; what fills a cache computes in 32 bits always."""
    policy = keras.config.dtype_policy()
    if not settings.live_images:
        keras.config.set_dtype_policy("float32")
    try:
        with distribution.scope():
            return encoders.image_encoder(
                settings.backbone,
                weights=None if settings.backbone_weights == "none" else settings.backbone_weights,
                image_size=settings.image_size,
                trainable=_trains_cnn(settings),
            )
    finally:
        keras.config.set_dtype_policy(policy)


def open_vocabulary(
    settings: Settings, trained: Captions
) -> tuple[text.Vocabulary, np.ndarray | None]:
    """The vocabulary of the training captions, and the word vectors to start from.

    Words of the vectors' file that the captions lack are not taken: they would never be trained.

    Raises:
        FileNotFoundError: if there is no such file of vectors.
    """
    if settings.scan_vocabulary:
        vocabulary = precomputed.read_scan_vocabulary(settings.scan_vocabulary)
        if settings.tokens != "nltk":
            logging.warning(
                "--scan_vocabulary=%s holds NLTK's words, but captions are split otherwise: use "
                "--tokens=nltk, or more words than need be are unknown", settings.scan_vocabulary,
            )  # fmt: skip
    else:
        vocabulary = captions.vocabulary_of(
            trained, min_count=settings.min_count, tokens=settings.tokens
        )
    if not settings.vectors:
        return vocabulary, None
    vectors = fasttext.load_vectors(settings.vectors)
    matrix, _ = vectors.matrix(vocabulary)
    known = sum(word in vectors for word in vocabulary.words)
    logging.info("%d of %d words have pre-trained vectors", known, len(vocabulary.words))
    return vocabulary, matrix


class Batches:
    """The batches of one part, for `training.fit` and for evaluations."""

    def __init__(self, part: Part, vocabulary: text.Vocabulary, settings: Settings, seed: int):
        """Looks up the words.

        Args:
            part: of the data.
            vocabulary: gives the word ids.
            settings: of the run.
            seed: of order and distortions.
        """
        self.part = part
        self.word_ids = WordIds.of(
            part.captions, vocabulary, max_words=settings.max_words, tokens=settings.tokens
        )
        self.settings, self.seed = settings, seed

    def training(self, start_step: int, num_steps: int) -> tf.data.Dataset:
        """This worker's slices of the batches of some training steps."""
        return caption_batches.training_batches(
            self.part.captions,
            self.word_ids,
            self.part.source,
            batch_size=self.settings.batch_size,
            seed=self.seed,
            start_step=start_step,
            num_steps=num_steps,
            by_length=self.settings.by_length,
            worker=distribution.worker(),
        )

    def images(self) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Every image once."""
        count = len(self.part.captions.image_ids)
        size = 32 if isinstance(self.part.source, Pixels) else 256
        return caption_batches.image_batches(self.part.source, count, batch_size=size)

    def captions(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Every caption once."""
        return caption_batches.caption_batches(self.word_ids, batch_size=128)
