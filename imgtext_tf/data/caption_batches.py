"""Captions and their images -> batches for matching; a batch is a pure function of (seed, step)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf.data import examples, images
from imgtext_tf.data.captions import Captions, WordIds
from imgtext_tf.data.features import FeatureCache
from imgtext_tf.data.plans import batch_rows, steps_per_epoch
from imgtext_tf.data.shards import ShardReader

_PREFETCH = 4
_IN_MEMORY = 2 * 2**30  # bytes of features


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of a split's images.

    Attributes:
        shape: of one image's.
        read: places of images [B] -> [B, *shape] float32.
    """

    shape: tuple[int, ...]
    read: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of_cache(cls, cache: FeatureCache, image_ids: Sequence[str] | np.ndarray) -> Features:
        """Those of a cache, for the images of these ids (hashes); kept in memory where they fit.

        Raises:
            KeyError: if the cache lacks an image.
        """
        rows = cache.lookup(image_ids)
        if len(rows) * int(np.prod(cache.shape)) * 4 > _IN_MEMORY:
            return cls(cache.shape, lambda places: cache.read(rows[places]))
        chunks = [cache.read(rows[start : start + 512]) for start in range(0, len(rows), 512)]
        whole = np.concatenate(chunks)
        return cls(cache.shape, lambda places: whole[places])

    @classmethod
    def joined(cls, parts: Sequence[tuple[Features, int]]) -> Features:
        """Those of several splits as one: (features, number of images) of each."""
        starts = np.cumsum([0, *(count for _, count in parts)])
        shape = parts[0][0].shape

        def read(places: np.ndarray) -> np.ndarray:
            found = np.empty([len(places), *shape], np.float32)
            for (part, count), start in zip(parts, starts, strict=False):
                own = (places >= start) & (places < start + count)
                if own.any():
                    found[own] = part.read(places[own] - start)
            return found

        return cls(shape, read)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The images of splits of shards, decoded anew for each batch.

    Attributes:
        readers: of the splits; their images are numbered on.
        size: pixels.
        central_fraction: see `images.eval_crop`.
        distort: keyword arguments of `images.distort` for training; None: none.
    """

    readers: tuple[ShardReader, ...]
    size: images.Size
    central_fraction: float = 1.0
    distort: Mapping[str, Any] | None = None

    def load(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The serialised records and their ids, of images at these places: [B] string each."""
        starts = np.cumsum([0, *(len(reader) for reader in self.readers)])
        records, ids = np.empty(len(places), object), np.empty(len(places), object)
        for number, reader in enumerate(self.readers):
            own = np.flatnonzero((places >= starts[number]) & (places < starts[number + 1]))
            rows = places[own] - starts[number]
            records[own] = reader.read(rows)
            ids[own] = reader.index["id"][rows]
        return records, ids

    def decode(
        self, records: tf.Tensor, ids: tf.Tensor, places: tf.Tensor, seed: tf.Tensor | None
    ) -> tf.Tensor:
        """[B, H, W, 3] float32 in [0, 1]; distorted by (seed [2], place) unless it is None."""
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size

        def one(item: tuple) -> tf.Tensor:
            pixels = images.decode_named(item[0], item[1])
            if seed is None or self.distort is None:
                return images.eval_crop(pixels, self.size, self.central_fraction)
            of_image = tf.random.fold_in(seed, item[2])
            return images.distort(pixels, self.size, of_image, **self.distort)

        data = examples.decode("image_captions", records, fields=["image"])["image"]
        return tf.map_fn(
            one,
            (data, ids, tf.cast(places, tf.int64)),
            fn_output_signature=tf.TensorSpec([height, width, 3], tf.float32),
        )


def training_batches(
    captions: Captions,
    word_ids: WordIds,
    source: Features | Pixels,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    by_length: bool = True,
    worker: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Pairs of a caption and its image, by the names of `examples.BATCH_NAMES`.

    An epoch takes each caption once (the last short batch is left out), in batches of captions of
    like lengths in random order.

    Args:
        captions: of the train split.
        word_ids: of the captions.
        source: of the images.
        batch_size: pairs.
        seed: of order and distortions.
        start_step: the step of the first batch; no earlier one is computed.
        num_steps: batches to give.
        by_length: see `plans.batch_rows`.
        worker: (number, count): gives this slice of each batch.

    Returns:
        `caption_ids`, `image_row` and `image_features` or `image`.

    Raises:
        ValueError: if there are fewer captions than a batch.
    """
    # Deviation 5: captions of like lengths, not any.
    plan = _plan(word_ids, batch_size=batch_size, seed=seed, by_length=by_length)
    live = isinstance(source, Pixels)
    number, count = worker
    size = len(np.array_split(np.arange(batch_size), count)[number])

    def load(step: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = np.array_split(plan(int(step)), count)[number]
        places = captions.image_of[rows]
        found = source.load(places) if live else (source.read(places),)
        return word_ids.padded(rows), places, *found

    def make(step: tf.Tensor) -> dict[str, tf.Tensor]:
        dtypes = [tf.int32, tf.int32, *([tf.string] * 2 if live else [tf.float32])]
        # Not stateful: deterministic TensorFlow would run a stateful map one element at a time.
        ids, places, *found = tf.numpy_function(load, [step], dtypes, stateful=False)
        batch = {
            "caption_ids": tf.ensure_shape(ids, [size, None]),
            "image_row": tf.ensure_shape(places, [size]),
        }
        if live:
            records, names = (tf.ensure_shape(one, [size]) for one in found)
            of_step = tf.random.fold_in(tf.constant([seed, 0], tf.int64), step)
            return batch | {"image": source.decode(records, names, places, of_step)}
        return batch | {"image_features": tf.ensure_shape(found[0], [size, *source.shape])}

    dataset = tf.data.Dataset.range(start_step, start_step + num_steps)
    dataset = dataset.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(_PREFETCH)


def training_ids(
    captions: Captions, word_ids: WordIds, *, batch_size: int, seed: int, by_length: bool = True
) -> Callable[[int], list[str]]:
    """Step -> image and caption of each pair of its batch; arguments as of `training_batches`."""
    plan = _plan(word_ids, batch_size=batch_size, seed=seed, by_length=by_length)

    def of_step(step: int) -> list[str]:
        return [
            f"{captions.image_ids[captions.image_of[row]]}: {' '.join(captions.texts[row].split())}"
            for row in plan(step)
        ]

    return of_step


def caption_batches(
    word_ids: WordIds, *, batch_size: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Every caption once, the longest first: (places [B], {"caption_ids"})."""
    order = np.argsort(-word_ids.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, {"caption_ids": word_ids.padded(rows)}


def image_batches(
    source: Features | Pixels, count: int, *, batch_size: int
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Every image of `count` once, in order, undistorted: (places [B], features or image)."""
    if isinstance(source, Features):
        for start in range(0, count, batch_size):
            places = np.arange(start, min(start + batch_size, count))
            yield places, {"image_features": source.read(places)}
        return

    def make(places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        records, names = tf.numpy_function(source.load, [places], [tf.string] * 2, stateful=False)
        records, names = tf.ensure_shape(records, [None]), tf.ensure_shape(names, [None])
        return places, source.decode(records, names, places, None)

    dataset = tf.data.Dataset.range(count).batch(batch_size)
    for places, pixels in dataset.map(make, tf.data.AUTOTUNE, deterministic=True).prefetch(2):
        yield places.numpy(), {"image": pixels}


def _plan(
    word_ids: WordIds, *, batch_size: int, seed: int, by_length: bool
) -> Callable[[int], np.ndarray]:
    """Step -> captions of its batch. Plans of the last two epochs are kept."""
    lengths = word_ids.lengths
    index = {"offset": lengths, "sentences": np.ones_like(lengths), "longest": lengths}
    steps = steps_per_epoch(len(lengths), batch_size)

    @functools.lru_cache(maxsize=2)
    def epoch_rows(epoch: int) -> list[np.ndarray]:
        return batch_rows(
            index,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            by_length=by_length,
            max_words=int(lengths.max()),
        )

    return lambda step: epoch_rows(step // steps)[step % steps]
