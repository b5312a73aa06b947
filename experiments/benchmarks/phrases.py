"""Shah2019: a training step by number of queries, samplers and optimisers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from experiments.benchmarks.measure import Comparison, Timer, timer
from experiments.benchmarks.place import Place, memory
from imgtext_tf import optimizers
from imgtext_tf.models import phrase_generator

TITLE = "The phrase generator's training (Shah2019)"
MINUTES = 3

Optimizer = Callable[[], keras.optimizers.Optimizer]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Numbers of queries, and the step."""

    classes: tuple[int, ...] = (10_000, 100_000, 1_000_000, 4_000_000)
    dim: int = 64
    channels: int = 256
    batch_size: int = 128
    num_sampled: int = 4096


QUICK = Sizes(classes=(10_000, 100_000), num_sampled=512)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """For each number of queries all ways to take a step; then our step at all numbers."""
    note = (
        f"Batches of {sizes.batch_size} images, {sizes.num_sampled:,} sampled queries, "
        f"{sizes.dim} dimensions."
    )
    shared = {"unit": "images", "amount": sizes.batch_size, "note": note}
    for classes in sizes.classes:
        yield Comparison(
            f"A training step at {classes:,} queries",
            {
                "full softmax, Keras' Adam": _full(sizes, classes),
                "sampled softmax, Keras' Adam": _sampled(sizes, classes, keras.optimizers.Adam, 6),
                "sampled softmax, our row-wise Adagrad": _sampled(sizes, classes, _adagrad, 2),
                "sampled softmax, our LazyAdam": _lazy_adam(sizes, classes),
            },
            **shared,
        )
    yield Comparison(
        "Our training step (sampled softmax, LazyAdam) by number of queries",
        {f"{classes:,}": _lazy_adam(sizes, classes) for classes in sizes.classes},
        **shared,
    )


def _full(sizes: Sizes, classes: int) -> Timer | str:
    # The scores, their exponentials, their gradients, and what lies between.
    needed = 4 * classes * (4 * sizes.batch_size + 6 * sizes.dim)
    return _too_large(needed) or _training(sizes, classes, keras.optimizers.Adam, sampler="full")


def _lazy_adam(sizes: Sizes, classes: int) -> Timer | str:
    return _sampled(sizes, classes, optimizers.LazyAdam, 4)


def _sampled(sizes: Sizes, classes: int, optimizer: Optimizer, copies: int) -> Timer | str:
    """A step's timer; `copies` of the table are its optimiser's sums, gradients and the like."""
    needed = 4 * classes * sizes.dim * copies
    return _too_large(needed) or _training(sizes, classes, optimizer)


def _too_large(needed: int) -> str:
    if needed <= memory() / 2:
        return ""
    return f"needs about {needed / 2**30:.0f} GB, more than half of the memory"


def _adagrad() -> keras.optimizers.Optimizer:
    return optimizers.SparseAdagrad(row_wise=True)


def _training(
    sizes: Sizes, classes: int, optimizer: Optimizer, *, sampler: str = "log_uniform"
) -> Timer:
    model = phrase_generator.phrase_generator(
        num_queries=classes,
        feature_shape=(1, 1, sizes.channels),
        embedding_dim=sizes.dim,
        sampler=sampler,
        num_sampled=min(sizes.num_sampled, classes // 2),
        seed=0,
    )
    made = optimizer()
    phrase_generator.compile_generator(model, made, jit_compile=False)
    made.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    size = sizes.batch_size
    inputs = {
        "image_features": tf.constant(rng.normal(size=[size, 1, 1, sizes.channels]), tf.float32),
        "query": tf.constant(np.minimum(rng.zipf(1.3, size), classes) - 1, tf.int64),
    }
    batch = (inputs, {"candidates": tf.zeros([size], tf.int64)})
    step = tf.function(lambda: model.train_step(batch))
    return timer(lambda: float(step()["loss"]))
