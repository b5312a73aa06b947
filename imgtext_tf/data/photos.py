"""Photos, as pixels or cached feature maps, and whatever arrays stand beside them, in batches.

For record kinds of one record a photo: the query-image pairs of the phrase generator, and passes
over all photos of a split.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf.data import examples, images, ragged
from imgtext_tf.data.features import FeatureCache
from imgtext_tf.data.shards import ShardReader

_PREFETCH = 4
_CHUNK = 1024


def text_lists(reader: ShardReader, field: str) -> list[list[str]]:
    """A list field of every record, in their order; one pass over the split."""
    found: list[list[str]] = []
    for start in range(0, len(reader), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(reader)))
        data = tf.constant(reader.read(rows), tf.string)
        values = examples.decode(reader.record_kind, data, fields=[field])[field]
        found += [[text.decode("utf-8") for text in row] for row in ragged.to_lists(values)]
    return found


def by_frequency(lists: Sequence[Sequence[str]]) -> collections.Counter[str]:
    """Text -> number of lists that hold it; most frequent first, then by text."""
    counts = collections.Counter(text for texts in lists for text in set(texts))
    return collections.Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


@dataclasses.dataclass(frozen=True)
class QueryPairs:
    """The pairs of images and queries of a split, in the order of its records.

    Attributes:
        rows: [P] int64, the record of each pair.
        queries: [P] int64, the query of each pair.
    """

    rows: np.ndarray
    queries: np.ndarray

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]], names: Sequence[str]) -> QueryPairs:
        """The pairs whose query is one of `names`, numbered by their place among them."""
        place_of = {name: place for place, name in enumerate(names)}
        pairs = [
            (row, place_of[text])
            for row, texts in enumerate(lists)
            for text in texts
            if text in place_of
        ]
        rows, queries = np.array(pairs, np.int64).reshape(-1, 2).T
        return cls(rows, queries)

    def batch(self, step: int, *, batch_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, queries) of a training step: a pure function of its arguments.

        Every pair comes once an epoch, in an order that is computed pair by pair: no permutation
        of all pairs is held.

        Raises:
            ValueError: if there are fewer pairs than one batch.
        """
        steps = len(self.rows) // batch_size
        if not steps:
            raise ValueError(f"{len(self.rows)} pairs make no batch of {batch_size}")
        epoch, place = divmod(step, steps)
        chosen = tf.random.experimental.index_shuffle(
            tf.range(place * batch_size, (place + 1) * batch_size, dtype=tf.int64),
            seed=tf.constant([seed, epoch], tf.int64),
            max_index=tf.constant(len(self.rows) - 1, tf.int64),
        ).numpy()
        return self.rows[chosen], self.queries[chosen]


def pair_dataset(
    reader: ShardReader,
    pairs: QueryPairs,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    features: FeatureCache | None = None,
    image_size: images.Size | None = None,
    distort: Mapping[str, Any] | None = None,
    worker: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Training batches: ({`image_features` or `image`, `query`}, {"candidates": zeros [B]}).

    Args:
        reader: of records with images.
        pairs: of the reader's split.
        batch_size: pairs a batch.
        seed: of order and distortions.
        start_step: the step of the first batch; no earlier one is computed.
        num_steps: batches to give.
        features: gives `image_features`; None decodes images.
        image_size: pixels of `image`.
        distort: keyword arguments of `images.distort`; None means `images.eval_crop`.
        worker: (number, count): gives this slice of each batch.
    """
    number, count = worker

    def plan(step: int) -> tuple[np.ndarray, np.ndarray]:
        rows, queries = pairs.batch(step, batch_size=batch_size, seed=seed)
        return np.array_split(rows, count)[number], np.array_split(queries, count)[number]

    def finish(step: tf.Tensor) -> tuple:
        inputs, _, queries = read(step)
        return inputs | {"query": queries}, {"candidates": tf.zeros_like(queries)}

    preprocess = _preprocessing(image_size, distort, seed, 1.0)
    read = _reader(reader, plan, features, preprocess, image_size)
    return _dataset(start_step, start_step + num_steps, finish)


def photo_dataset(
    reader: ShardReader,
    *,
    batch_size: int,
    features: FeatureCache | None = None,
    image_size: images.Size | None = None,
    central_fraction: float = 1.0,
    rows: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Each photo of a split once, in its order: {`image_features` or `image`, `id`}.

    Args:
        reader: of the split.
        batch_size: photos a batch.
        features: their feature maps, to be given in place of pixels.
        image_size: pixels of height and width.
        central_fraction: share of an image that is kept.
        rows: [N] int64 of the photos to give; all, if none is named.
    """
    chosen = np.arange(len(reader)) if rows is None else rows

    def plan(step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = chosen[step * batch_size : (step + 1) * batch_size]
        return rows, rows

    def finish(step: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs, ids, _ = read(step)
        return inputs | {"id": ids}

    preprocess = _preprocessing(image_size, None, 0, central_fraction)
    read = _reader(reader, plan, features, preprocess, image_size)
    return _dataset(0, -(-len(chosen) // batch_size), finish)


def _reader(
    reader: ShardReader,
    plan: Callable[[int], tuple[np.ndarray, np.ndarray]],
    features: FeatureCache | None,
    preprocess: Callable,
    image_size: images.Size | None,
) -> Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]]:
    """Step -> (inputs, ids, what the plan gives beside the rows)."""
    if features is None and image_size is None:
        raise ValueError("give features, or image_size for pixels")
    cache_rows = None if features is None else features.lookup(reader.index["image_id"])

    def load(step: np.ndarray) -> tuple[np.ndarray, ...]:
        rows, values = plan(int(step))
        if cache_rows is not None:
            data = features.read_serialized(cache_rows[rows])
        else:
            data = reader.read(rows)
        return np.array(data, object), reader.index["id"][rows], rows, values

    def read(step: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        # Not stateful: deterministic TensorFlow would run a stateful map one element at a time.
        dtypes = [tf.string, tf.string, tf.int64, tf.int64]
        tensors = tf.numpy_function(load, [step], dtypes, stateful=False)
        data, ids, rows, values = (tf.ensure_shape(tensor, [None]) for tensor in tensors)
        if features is not None:
            return {"image_features": features.decode(data)}, ids, values
        files = examples.decode(reader.record_kind, data, fields=["image"])["image"]
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        pixels = tf.map_fn(
            lambda one: preprocess(images.decode_named(one[0], one[1]), step, one[2]),
            (files, ids, rows),
            fn_output_signature=tf.TensorSpec([height, width, 3], tf.float32),
        )
        return {"image": pixels}, ids, values

    return read


def _preprocessing(
    size: images.Size | None, distort: Mapping[str, Any] | None, seed: int, fraction: float
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """(pixels, step, row) -> image; a distortion is a function of (seed, step, row)."""
    if distort is None:
        return lambda pixels, step, row: images.eval_crop(pixels, size, fraction)

    def random(pixels: tf.Tensor, step: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        of_step = tf.random.fold_in(tf.constant([seed, 0], tf.int64), step)
        return images.distort(pixels, size, tf.random.fold_in(of_step, row), **distort)

    return random


def _dataset(start: int, stop: int, finish: Callable) -> tf.data.Dataset:
    dataset = tf.data.Dataset.range(start, stop)
    dataset = dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    sharding = options.experimental_distribute
    sharding.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.prefetch(_PREFETCH).with_options(options)
