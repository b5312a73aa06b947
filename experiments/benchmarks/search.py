"""Shah2019: the phrase search of each back end against brute force."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np

from experiments.benchmarks.measure import Comparison, Timer, timer
from experiments.benchmarks.place import Place
from imgtext_tf import search

TITLE = "The phrase search (Shah2019)"
MINUTES = 2.5
_TOP = 10
_BRUTE = "NumPy: all products, the ten best"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Numbers of phrases, and how many images ask at once."""

    entries: tuple[int, ...] = (200_000, 1_000_000)
    dim: int = 64
    queries: int = 256


QUICK = Sizes(entries=(20_000,), queries=64)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """One for each number of phrases."""
    for entries in sizes.entries:
        yield _back_ends(sizes, entries)


def _back_ends(sizes: Sizes, entries: int) -> Comparison:
    vectors = clustered(entries, sizes.dim, 0)
    queries = clustered(sizes.queries, sizes.dim, 1)
    ids = [f"phrase {number}" for number in range(entries)]
    ways: dict[str, Timer | str] = {
        "NumPy: all products, the ten best": timer(_brute(vectors, queries))
    }
    truth = _brute(vectors, queries)()
    facts = {next(iter(ways)): {"recall@10": "1.000"}}
    for backend in search.BACKENDS:
        started = time.perf_counter()
        try:
            index = search.build(backend, ids, vectors)
        except search.SearchError as error:
            ways[backend] = str(error)[:200]
            continue
        built = time.perf_counter() - started
        ways[backend] = timer(lambda index=index: index.search(queries, _TOP))
        found = index.search(queries, _TOP).places
        facts[backend] = {"recall@10": f"{_recall(truth, found):.3f}", "built in": f"{built:.1f} s"}
    return Comparison(
        f"{sizes.queries} queries among {entries:,} phrases",
        ways,
        unit="queries",
        amount=sizes.queries,
        note=f"Vectors of {sizes.dim} numbers in clusters, as embeddings of images lie.",
        facts=facts,
    )


def _brute(vectors: np.ndarray, queries: np.ndarray) -> Callable[[], np.ndarray]:
    """What one would write: places of the best by cosine, [Q, 10]."""
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T.copy()

    def some(block: np.ndarray) -> np.ndarray:
        scores = block @ units
        best = np.argpartition(scores, -_TOP, axis=1)[:, -_TOP:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    def run() -> np.ndarray:
        # All scores at once would be gigabytes.
        blocks = (queries[start : start + 32] for start in range(0, len(queries), 32))
        return np.concatenate([some(block) for block in blocks])

    return run


def _recall(truth: np.ndarray, found: np.ndarray) -> float:
    pairs = zip(truth, found, strict=True)
    return float(np.mean([len(set(one) & set(other)) / _TOP for one, other in pairs]))


def clustered(count: int, dim: int, seed: int) -> np.ndarray:
    """Vectors as embeddings of images lie: topics, concepts of Zipf's law in them, noise."""
    shape = np.random.default_rng(7)
    topics = shape.normal(size=[200, dim])
    concepts = topics[shape.integers(200, size=8000)] + 0.7 * shape.normal(size=[8000, dim])
    rng = np.random.default_rng(seed)
    chosen = concepts[np.minimum(rng.zipf(1.2, count), 8000) - 1]
    return (chosen + 0.5 * rng.normal(size=[count, dim])).astype(np.float32)
