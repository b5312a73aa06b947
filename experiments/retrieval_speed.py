"""How fast the parts of Gordo2017's retrieval are, against plain loops and scikit-learn.

Each function times both ways by turns in one run, checks that they agree, and gives the median
seconds of each and their ratio; sizes default to the paper's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.metrics import ndcg_score

from imgtext_tf import layers, mining
from imgtext_tf.metrics import graded_ranking


def rmac(
    *,
    images: int = 16,
    shape: tuple[int, int] = (18, 14),
    channels: int = 2048,
    levels: int = 2,
    repeats: int = 5,
    compiled_loop: bool = False,
) -> dict[str, float]:
    """The compiled layer on a batch against a loop over images and regions, compiled or eager."""
    maps = tf.nn.relu(tf.random.stateless_normal([images, *shape, channels], [0, 0]))
    layer = layers.RMAC(levels)
    layer(maps)
    compiled = tf.function(layer)
    kernel, bias = layer.aggregate.kernel, layer.aggregate.bias
    regions = layers.rmac_regions(*shape, levels)

    def loop() -> tf.Tensor:
        found = []
        for image in tf.unstack(maps):
            total = 0.0
            for x, y, width, height in regions:
                region = tf.reduce_max(image[y : y + height, x : x + width], axis=(0, 1))
                white = tf.linalg.matvec(kernel, layers.l2_normalize(region), transpose_a=True)
                total += layers.l2_normalize(white + bias)
            found.append(layers.l2_normalize(total))
        return tf.stack(found)

    plain = tf.function(loop, autograph=False) if compiled_loop else loop
    return _compare(lambda: compiled(maps).numpy(), lambda: plain().numpy(), repeats, _close)


def mine(
    *,
    images: int = 5000,
    queries: int = 500,
    positives: int = 9,
    dimensions: int = 2048,
    keep: int = 100,
    joint: bool = False,
    repeats: int = 3,
) -> dict[str, float]:
    """Mining of one pool against a loop over queries and relevant images: the same triplets."""
    rng = np.random.default_rng(0)
    phi, theta = (_unit(rng.normal(size=(images, dimensions))) for _ in range(2))
    pool = np.arange(images)
    neighbours = np.argsort(rng.random([images, 64]), axis=1)[:, :32] + queries
    places = neighbours[:queries, :positives]
    weights = {"visual": 1.0, "image_to_text": float(joint), "text_to_image": float(joint)}
    scores = mining.pool_scores(phi, theta, queries, weights)
    allowed = mining.may_be_negative(neighbours, pool, queries)

    def loop() -> np.ndarray:
        found = []
        for query in range(queries):
            for positive in places[query]:
                loss = np.zeros(images)
                for weight, values in scores:
                    row = values[query].astype(np.float64)
                    loss += weight * 0.5 * np.maximum(0, 0.1 - row[positive] + row)
                loss[~allowed[query]] = 0
                best = np.argsort(-loss, kind="stable")[:keep]
                found += [(query, positive, place) for place in best if loss[place] > 0]
        return np.array(found)

    return _compare(
        lambda: mining.hardest_triplets(scores, places, allowed, margin=0.1, keep=keep)[0],
        loop,
        repeats,
        np.array_equal,
    )


def ndcg(*, queries: int = 1000, images: int = 10_000, repeats: int = 3) -> dict[str, float]:
    """NDCG at all values of R against scikit-learn's, once for each R."""
    rng = np.random.default_rng(0)
    relevance, scores = rng.random([queries, images]) ** 4, rng.random([queries, images])
    cutoffs = graded_ranking.CUTOFFS

    def theirs() -> np.ndarray:
        found = [ndcg_score(relevance, scores, k=cutoff, ignore_ties=True) for cutoff in cutoffs]
        return np.array(found)

    return _compare(
        lambda: graded_ranking.ndcg(relevance, scores, cutoffs).mean(axis=0),
        theirs,
        repeats,
        lambda one, other: np.allclose(one, other, atol=1e-9),
    )


def _compare(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    repeats: int,
    agree: Callable[[Any, Any], bool],
) -> dict[str, float]:
    """Median seconds of both, timed by turns, and how many times faster ours is.

    Raises:
        ValueError: if they do not agree.
    """
    if not agree(ours(), theirs()):
        raise ValueError("the two ways give different results")
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, times in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    one, other = (statistics.median(times) for times in seconds)
    return {"seconds": one, "plain_seconds": other, "ratio": other / one}


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.allclose(one, other, atol=1e-5))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
