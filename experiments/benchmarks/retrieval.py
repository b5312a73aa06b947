"""Gordo2017: R-MAC, mining and NDCG against plain loops and scikit-learn, with equal results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from sklearn.metrics import ndcg_score

from experiments.benchmarks.measure import Comparison, must_agree, timer
from experiments.benchmarks.place import Place
from imgtext_tf import layers, mining
from imgtext_tf.metrics import graded_ranking

TITLE = "Semantic retrieval (Gordo2017)"
MINUTES = 3


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The paper's: maps of a 576 x 448 image, a pool of 5,000 images, 10,000 test images."""

    maps: int = 16
    map_shape: tuple[int, int] = (18, 14)
    channels: int = 2048
    levels: int = 2
    pool: int = 5000
    pool_queries: int = 500
    positives: int = 9
    dimensions: int = 2048
    keep: int = 100
    queries: int = 1000
    images: int = 10_000


QUICK = Sizes(
    maps=4, channels=256, pool=1000, pool_queries=50, dimensions=128, queries=100, images=1000
)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """R-MAC, mining by equation 1 and by all three, NDCG."""
    yield _rmac(sizes)
    yield _mining(sizes, joint=False)
    yield _mining(sizes, joint=True)
    yield _ndcg(sizes)


def _rmac(sizes: Sizes) -> Comparison:
    height, width = sizes.map_shape
    shape = [sizes.maps, height, width, sizes.channels]
    maps = tf.nn.relu(tf.random.stateless_normal(shape, [0, 0]))
    layer = layers.RMAC(sizes.levels)
    layer(maps)
    kernel, bias = layer.aggregate.kernel, layer.aggregate.bias
    regions = layers.rmac_regions(height, width, sizes.levels)

    def loop() -> tf.Tensor:
        found = []
        for image in tf.unstack(maps):
            total = 0.0
            for x, y, columns, rows in regions:
                region = tf.reduce_max(image[y : y + rows, x : x + columns], axis=(0, 1))
                white = tf.linalg.matvec(kernel, layers.l2_normalize(region), transpose_a=True)
                total += layers.l2_normalize(white + bias)
            found.append(layers.l2_normalize(total))
        return tf.stack(found)

    compiled, compiled_loop = tf.function(layer), tf.function(loop, autograph=False)
    result = compiled(maps).numpy()
    for other in (loop(), compiled_loop()):
        must_agree(np.allclose(result, other.numpy(), atol=1e-5), "R-MAC")
    return Comparison(
        f"R-MAC of {sizes.maps} maps of {height} x {width} x {sizes.channels}",
        {
            "loop over images and regions, eager": timer(lambda: loop().numpy()),
            "the same loop, compiled": timer(lambda: compiled_loop().numpy()),
            "our layer": timer(lambda: compiled(maps).numpy()),
        },
        unit="images",
        amount=sizes.maps,
        note=f"{len(regions)} regions. All three give the same vectors to 1e-5 (checked).",
    )


def _mining(sizes: Sizes, *, joint: bool) -> Comparison:
    rng = np.random.default_rng(0)
    images, queries = sizes.pool, sizes.pool_queries
    phi, theta = (_unit(rng.normal(size=(images, sizes.dimensions))) for _ in range(2))
    neighbours = np.argsort(rng.random([images, 64]), axis=1)[:, :32] + queries
    places = neighbours[:queries, : sizes.positives]
    weights = {"visual": 1.0, "image_to_text": float(joint), "text_to_image": float(joint)}
    scores = mining.pool_scores(phi, theta, queries, weights)
    allowed = mining.may_be_negative(neighbours, np.arange(images), queries)

    def ours() -> np.ndarray:
        return mining.hardest_triplets(scores, places, allowed, margin=0.1, keep=sizes.keep)[0]

    def loop() -> np.ndarray:
        found = []
        for query in range(queries):
            for positive in places[query]:
                loss = np.zeros(images)
                for weight, values in scores:
                    row = values[query].astype(np.float64)
                    loss += weight * 0.5 * np.maximum(0, 0.1 - row[positive] + row)
                loss[~allowed[query]] = 0
                best = np.argsort(-loss, kind="stable")[: sizes.keep]
                found += [(query, positive, place) for place in best if loss[place] > 0]
        return np.array(found)

    must_agree(np.array_equal(ours(), loop()), "mining")
    return Comparison(
        f"Mining of a pool of {images:,} images by equation{'s 1 to 3' if joint else ' 1'}",
        {"loop over queries": timer(loop, warm=False), "ours": timer(ours, warm=False)},
        note=(
            f"{queries:,} queries, {sizes.positives} relevant images each, {sizes.keep} hardest a "
            "pair. Both give the same triplets (checked)."
        ),
    )


def _ndcg(sizes: Sizes) -> Comparison:
    rng = np.random.default_rng(0)
    shape = [sizes.queries, sizes.images]
    relevance, scores = rng.random(shape) ** 4, rng.random(shape)
    cutoffs = graded_ranking.CUTOFFS

    def ours() -> np.ndarray:
        return graded_ranking.ndcg(relevance, scores, cutoffs).mean(axis=0)

    def theirs() -> np.ndarray:
        found = [ndcg_score(relevance, scores, k=cutoff, ignore_ties=True) for cutoff in cutoffs]
        return np.array(found)

    must_agree(np.allclose(ours(), theirs(), atol=1e-9), "NDCG")
    return Comparison(
        f"NDCG of {sizes.queries:,} queries over {sizes.images:,} images",
        {
            "scikit-learn, once for each R": timer(theirs, warm=False),
            "ours, all R at once": timer(ours, warm=False),
        },
        unit="queries",
        amount=sizes.queries,
        note=f"{len(cutoffs)} values of R. Both give the same values to 1e-9 (checked).",
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
