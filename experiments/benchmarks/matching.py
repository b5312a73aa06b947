"""Liu2019: a training step of the baseline against Keras' GRU and PyTorch's packed one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from experiments.benchmarks import torch_peer
from experiments.benchmarks.measure import Comparison, Timer, timer
from experiments.benchmarks.place import Place
from imgtext_tf import branches, finite, training
from imgtext_tf.data import caption_batches, captions, shards
from imgtext_tf.data.caption_batches import Features
from imgtext_tf.data.captions import Captions, WordIds
from imgtext_tf.models.sentence_matching import SentenceMatching
from imgtext_tf.stages import Stage

TITLE = "Matching (Liu2019)"
MINUTES = 2.5

Batch = dict[str, np.ndarray]
_OF_TORCH = ("caption_ids", "image_features")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """VSE++'s on features of 1,280 numbers; captions are drawn where the user has none."""

    batch_size: int = 128
    units: int = 1024
    word_dim: int = 300
    features: int = 1280
    steps: int = 6
    captions: int = 30_000
    words: int = 4000


QUICK = Sizes(batch_size=32, units=128, features=64, steps=3, captions=2000)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """A step by kind of GRU and of batches, and what looking for NaN adds to it."""
    texts, ids, count, note = _captions(place, sizes)
    mixed = _batches(texts, ids, sizes, by_length=False)
    alike = _batches(texts, ids, sizes, by_length=True)
    widths = [np.mean([batch["caption_ids"].shape[1] for batch in of]) for of in (mixed, alike)]
    yield Comparison(
        f"A training step of {sizes.batch_size} pairs",
        {
            "Keras GRU, padded to the longest caption": _timer(
                _step(sizes, count, keras_gru=True), mixed
            ),
            "Keras GRU, captions of like lengths": _timer(
                _step(sizes, count, keras_gru=True), alike
            ),
            "ours, captions of like lengths": _timer(_step(sizes, count), alike),
            "ours in bfloat16": _timer(_step(sizes, count, mixed=True), alike),
            "PyTorch GRU, packed": _torch(place, sizes, count, mixed),
        },
        unit="pairs",
        amount=sizes.batch_size,
        note=(
            f"{note} GRU of {sizes.units} units, hardest negatives, Adam, global norm clipped. "
            f"Batches are padded to {widths[0]:.1f} words in the mean, with captions of like "
            f"lengths to {widths[1]:.1f}."
        ),
    )
    yield _look(sizes, count, alike)


def _look(sizes: Sizes, count: int, batches: Sequence[Batch]) -> Comparison:
    """What every training pays to stop at the first weight that is not finite."""
    model = build(sizes, count)
    weights = finite.FiniteWeights(model)

    def plain(batch: Batch) -> None:
        model.train_on_batch(batch, return_dict=True)

    def looked(batch: Batch) -> None:
        plain(batch)
        weights.bad()

    return Comparison(
        "Looking for NaN and infinity in all weights after each step",
        {"without": _timer(plain, batches), "with": _timer(looked, batches)},
        note=f"{model.count_params():,} weights, batches of {sizes.batch_size} pairs.",
    )


def build(sizes: Sizes, count: int, *, keras_gru: bool = False) -> SentenceMatching:
    """The baseline at its first stage.

    Args:
        sizes: of it.
        count: words of the vocabulary.
        keras_gru: with Keras' GRU in place of ours; the same weights in the same order.
    """
    images = branches.image_branch((sizes.features,), embed_dim=sizes.units)
    texts = branches.text_branch(count, embed_dim=sizes.units, word_dim=sizes.word_dim)
    if keras_gru:
        ids = keras.Input((None,), dtype="int32", name="caption_ids")
        words = texts.get_layer("embedding")(ids)
        state = keras.layers.GRU(sizes.units)(words, mask=keras.ops.not_equal(ids, 0))
        texts = keras.Model({"caption_ids": ids}, texts.get_layer("unit")(state))
    model = SentenceMatching(images, texts, branches.modality_classifier(sizes.units))
    model.begin_stage(Stage("S1", steps=1000))
    return model


def _captions(place: Place, sizes: Sizes) -> tuple[Captions, WordIds, int, str]:
    """(captions, their word ids, words of the vocabulary, a note)."""
    if place.captions_dir:
        texts = Captions.of_shards(shards.ShardReader(place.captions_dir, "train"), per_image=5)
        vocabulary = captions.vocabulary_of(texts)
        note = f"Captions of {len(texts.image_ids):,} photos."
        return texts, WordIds.of(texts, vocabulary), len(vocabulary), note
    rng = np.random.default_rng(0)
    # As those of Flickr8k with "<start>" and "<end>": 13 words in the mean, and the longest of 128
    # has about 26.
    lengths = 2 + np.maximum(1, np.round(rng.gamma(8, 1.4, sizes.captions))).astype(np.int64)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1, sizes.words, splits[-1]).astype(np.int32)
    images = max(1, sizes.captions // 5)
    image_of = np.arange(sizes.captions, dtype=np.int32) % images
    names = tuple(f"{number}" for number in range(images))
    texts = Captions(("",) * sizes.captions, image_of, names)
    return texts, WordIds(ids, splits), sizes.words, "Random captions with lengths like Flickr8k's."


def _batches(texts: Captions, ids: WordIds, sizes: Sizes, *, by_length: bool) -> list[Batch]:
    """Batches of an epoch that stand for all: at even steps through the order of their widths."""
    features = np.random.default_rng(0).random((len(texts.image_ids), sizes.features), np.float32)
    dataset = caption_batches.training_batches(
        texts,
        ids,
        Features((sizes.features,), lambda places: features[places]),
        batch_size=sizes.batch_size,
        seed=0,
        start_step=0,
        num_steps=min(100, len(texts.texts) // sizes.batch_size),
        by_length=by_length,
    )
    drawn = sorted(dataset.as_numpy_iterator(), key=lambda batch: batch["caption_ids"].shape[1])
    places = (np.arange(sizes.steps) + 0.5) / sizes.steps * len(drawn)
    return [drawn[int(place)] for place in places]


def _step(
    sizes: Sizes, count: int, *, keras_gru: bool = False, mixed: bool = False
) -> Callable[[Batch], Any]:
    training.set_precision(mixed)
    training.set_seed(0)
    model = build(sizes, count, keras_gru=keras_gru)
    training.set_precision(False)
    return lambda batch: model.train_on_batch(batch, return_dict=True)


def _timer(step: Callable[[Batch], Any], batches: Sequence[Batch]) -> Timer:
    def run() -> None:
        for batch in batches:
            step(batch)

    return timer(run, units=len(batches))


def _torch(place: Place, sizes: Sizes, count: int, batches: Sequence[Batch]) -> Timer | str:
    """The same model and step in PyTorch, as VSE++'s code has it."""
    arrays = {f"{name}_{n}": batch[name] for n, batch in enumerate(batches) for name in _OF_TORCH}
    numbers = {
        "batches": len(batches),
        "words": count,
        "word_dim": sizes.word_dim,
        "units": sizes.units,
        "features": sizes.features,
    }
    return torch_peer.started("matching", place.folder, arrays | numbers)
