"""Shards -> planned, padded, prefetched batches; a batch is a pure function of (seed, step).

A plan (`batch_rows`) made from the shard index says which records each step of an epoch takes;
`relation_dataset` reads, parses, pads and decodes just those. So training starts at any step
without replay, and every worker can take its slice of the same global batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf import relations
from imgtext_tf.data import dropping, examples, images
from imgtext_tf.data.features import FeatureCache
from imgtext_tf.data.plans import (
    Index,
    balanced_rows,
    batch_rows,
    evaluation_rows,
    rows_of_ids,
    steps_per_epoch,
)
from imgtext_tf.data.shards import ShardError, ShardReader
from imgtext_tf.data.text import Vocabulary
from imgtext_tf.data.word_ids import text_inputs

_PREFETCH = 4
_PAIRS = ("relation", "own_relation")

# The plans are had from here, too.
__all__ = [
    "balanced_rows",
    "batch_rows",
    "evaluation_rows",
    "relation_dataset",
    "rows_of_ids",
    "steps_per_epoch",
    "text_inputs",
]


def relation_dataset(
    reader: ShardReader,
    *,
    target: str,
    batch_size: int,
    vocabulary: Vocabulary | None,
    training: bool,
    seed: int = 0,
    start_step: int = 0,
    num_steps: int | None = None,
    rows: np.ndarray | None = None,
    image_size: images.Size | None = None,
    central_fraction: float = images.EVAL_CROP,
    distort: Mapping[str, Any] | None = None,
    features: FeatureCache | None = None,
    max_sentences: int = 30,
    max_words: int = 50,
    fixed_padding: bool = False,
    by_length: bool = True,
    drop_sentences: float = 0.0,
    drop_words: float = 0.0,
    class_balance: float = 0.0,
    class_weights: np.ndarray | None = None,
    ngrams: Mapping[str, int] | None = None,
    with_id: bool = False,
    worker: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Batches of image-text pairs and their labels, by the names of `examples.BATCH_NAMES`.

    Args:
        reader: of records of kind "relation" or "own_relation".
        target: "relation", "cmi", "sc" or "stat".
        batch_size: rows of a global batch.
        vocabulary: gives the word ids; None gives no texts.
        training: True draws forever in the order of `batch_rows`; False gives every row once in
            the order of `evaluation_rows`, with `id` among the inputs.
        seed: of order and distortions.
        start_step: the step of the first batch; no earlier one is computed.
        num_steps: batches to give; None means forever, or to the end of the evaluation.
        rows: [N] int, the records to use; None means all.
        image_size: pixels, gives `image`; None gives none.
        central_fraction: see `images.eval_crop`.
        distort: keyword arguments of `images.distort`; None means `images.eval_crop`.
        features: gives `image_features`; then no image is decoded, whatever `image_size` is.
        max_sentences: further sentences are cut off.
        max_words: further words of a sentence are cut off.
        fixed_padding: pad to these limits, not to the longest of the batch.
        by_length: see `batch_rows`.
        drop_sentences: share of the sentences that a training text loses.
        drop_words: share of the words that a training sentence loses.
        class_balance: see `batch_rows`; the classes are the target's.
        class_weights: [classes] float, adds a sample weight to each pair.
        ngrams: `min_n`, `max_n`, `buckets` of word vectors with n-grams, gives `ngram_ids`.
        with_id: whether training batches hold `id`, too.
        worker: (number, count): gives this slice of each global batch.

    Returns:
        `(inputs, label)`, or `(inputs, label, sample_weight)` with class weights. A record that
        cannot be read or decoded ends the iteration with an error that names it.

    Raises:
        ShardError: if the records are of another kind.
        ValueError: if a row has no label, or there are fewer rows than a training batch.
        KeyError: if the feature cache lacks an image.
    """
    if reader.record_kind not in _PAIRS:
        raise ShardError(f"{reader.directory}: holds {reader.record_kind!r} records, not relations")
    rows = np.arange(len(reader)) if rows is None else np.asarray(rows, np.int64)
    labels = _labels(reader, rows, target)
    limits = {"max_sentences": max_sentences, "max_words": max_words}
    plan = _plan(
        reader.index,
        rows,
        training,
        batch_size=batch_size,
        seed=seed,
        labels=labels,
        by_length=by_length,
        class_balance=class_balance,
        **limits,
    )
    read = _batch_reader(reader, rows, plan, labels, features, worker)

    is_dropping = training and (drop_sentences > 0 or drop_words > 0)

    def drop(step: tf.Tensor, words: tf.RaggedTensor) -> tf.RaggedTensor:
        return dropping.drop_text(
            words,
            tf.random.fold_in(tf.constant([seed, 1], tf.int64), step),
            sentence_rate=drop_sentences,
            word_rate=drop_words,
            limits=(max_sentences, max_words),
            batch_size=batch_size,
            first=_first_row(batch_size, worker),
        )

    def make_batch(step: tf.Tensor) -> tuple:
        serialized, ids, label, row, cached = read(step)
        decode_images = image_size is not None and features is None
        fields = ["sentences"] * (vocabulary is not None) + ["image"] * decode_images
        record = examples.decode(reader.record_kind, serialized, fields=fields) if fields else {}
        inputs = {}
        if vocabulary is not None:
            inputs |= text_inputs(
                record["sentences"],
                vocabulary,
                ngrams=ngrams,
                fixed=fixed_padding,
                drop=functools.partial(drop, step) if is_dropping else None,
                **limits,
            )
        if features is not None:
            inputs["image_features"] = features.decode(cached)
        elif decode_images:
            preprocess = _preprocessing(image_size, central_fraction, distort, seed, step)
            inputs["image"] = _images(record["image"], ids, row, preprocess, image_size)
        if with_id or not training:
            inputs["id"] = ids
        if class_weights is None:
            return inputs, label
        return inputs, label, tf.gather(tf.constant(class_weights, tf.float32), label)

    if num_steps is not None:
        stop = start_step + num_steps
    else:
        stop = tf.int64.max if training else steps_per_epoch(len(rows), batch_size, training=False)
    dataset = tf.data.Dataset.range(start_step, stop)
    dataset = dataset.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    infinite = training and num_steps is None
    cardinality = tf.data.INFINITE_CARDINALITY if infinite else stop - start_step
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    options = tf.data.Options()
    # Workers already take slices of the same batch; sharding by TensorFlow would cut once more.
    sharding = options.experimental_distribute
    sharding.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.prefetch(_PREFETCH).with_options(options)


def _labels(reader: ShardReader, rows: np.ndarray, target: str) -> np.ndarray:
    """[records] int32 of the whole split; -1 outside of `rows`."""
    relations.labels_of(target, reader.own_labels)
    names = reader.index["relation"]
    labels = np.full(len(names), -1, np.int32)
    for name in np.unique(names[rows]):
        try:
            label = relations.label_index(target, name.decode("utf-8"), reader.own_labels)
        except ValueError as error:
            first = reader.index["id"][rows[names[rows] == name][0]].decode("utf-8")
            raise ValueError(f"{reader.directory}: record {first!r}: {error}") from error
        labels[names == name] = label
    outside = np.ones(len(names), bool)
    outside[rows] = False
    labels[outside] = -1
    return labels


def _plan(
    index: Index, rows: np.ndarray, training: bool, **settings: Any
) -> Callable[[int], np.ndarray]:
    """Step -> rows of its batch. Plans of the last two epochs are kept."""
    if not training:
        names = ("batch_size", "max_sentences", "max_words")
        batches = evaluation_rows(index, rows=rows, **{name: settings[name] for name in names})
        return lambda step: batches[step]
    steps = steps_per_epoch(len(rows), settings["batch_size"])

    @functools.lru_cache(maxsize=2)
    def epoch_rows(epoch: int) -> list[np.ndarray]:
        return batch_rows(index, rows=rows, epoch=epoch, **settings)

    return lambda step: epoch_rows(step // steps)[step % steps]


def _first_row(batch_size: int, worker: tuple[int, int]) -> int:
    """The place in the global batch of a worker's first row."""
    number, count = worker
    return sum(len(part) for part in np.array_split(np.arange(batch_size), count)[:number])


def _batch_reader(
    reader: ShardReader,
    rows: np.ndarray,
    plan: Callable[[int], np.ndarray],
    labels: np.ndarray,
    features: FeatureCache | None,
    worker: tuple[int, int],
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Step -> serialized, id, label, row and serialized feature map (none without a cache)."""
    number, count = worker
    if not 0 <= number < count:
        raise ValueError(f"worker is {worker}: use (number, count) with 0 <= number < count")
    cache_rows = np.full(len(reader), -1, np.int64)
    if features is not None:
        cache_rows[rows] = features.lookup(reader.index["image_id"][rows])

    def load(step: np.ndarray) -> tuple[np.ndarray, ...]:
        batch = np.array_split(plan(int(step)), count)[number]
        serialized = np.array(reader.read(batch), object)
        cached = [] if features is None else features.read_serialized(cache_rows[batch])
        ids = reader.index["id"][batch]
        return serialized, ids, labels[batch], batch, np.array(cached, object)

    def read(step: tf.Tensor) -> list[tf.Tensor]:
        dtypes = [tf.string, tf.string, tf.int32, tf.int64, tf.string]
        # Not stateful: deterministic TensorFlow would run a stateful map one element at a time.
        tensors = tf.numpy_function(load, [step], dtypes, stateful=False)
        return [tf.ensure_shape(tensor, [None]) for tensor in tensors]

    return read


def _preprocessing(
    size: images.Size,
    central_fraction: float,
    distort: Mapping[str, Any] | None,
    seed: int,
    step: tf.Tensor,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(pixels, row) -> image; a distortion is a function of (seed, step, row)."""
    if distort is None:
        return lambda pixels, row: images.eval_crop(pixels, size, central_fraction)
    of_step = tf.random.fold_in(tf.constant([seed, 0], tf.int64), step)
    return lambda pixels, row: images.distort(
        pixels, size, tf.random.fold_in(of_step, row), **distort
    )


def _images(
    data: tf.Tensor,
    ids: tf.Tensor,
    rows: tf.Tensor,
    preprocess: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    size: images.Size,
) -> tf.Tensor:
    """[B, H, W, 3] float32 in [0, 1] of [B] image files."""
    height, width = (size, size) if isinstance(size, int) else size
    return tf.map_fn(
        lambda one: preprocess(images.decode_named(one[0], one[1]), one[2]),
        (data, ids, rows),
        fn_output_signature=tf.TensorSpec([height, width, 3], tf.float32),
    )
