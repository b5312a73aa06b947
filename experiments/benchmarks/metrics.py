"""Recall@K of matching against a loop, scikit-learn and torchmetrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.metrics import top_k_accuracy_score

from experiments.benchmarks import torch_peer
from experiments.benchmarks.measure import Comparison, must_agree, timer
from experiments.benchmarks.place import Place
from imgtext_tf.metrics import retrieval

TITLE = "Metrics (Liu2019)"
MINUTES = 2
_CUTOFFS = (1, 5, 10)
_CUTOFF = 10


@dataclasses.dataclass(frozen=True)
class Sizes:
    """COCO 5k."""

    images: int = 5000
    captions: int = 25_000
    dim: int = 256


QUICK = Sizes(images=500, captions=2500, dim=32)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """All metrics of both directions, and one direction, which is all that peers have."""
    rng = np.random.default_rng(0)
    image_of = np.arange(sizes.captions) % sizes.images
    images = _unit(rng.normal(size=(sizes.images, sizes.dim)))
    captions = _unit(images[image_of] + 2.5 * _unit(rng.normal(size=(sizes.captions, sizes.dim))))
    ours = retrieval.retrieval_metrics(images, captions, image_of)
    size = f"{sizes.images:,} images and {sizes.captions:,} captions"
    yield Comparison(
        f"Recall and ranks of {size}, both directions",
        {
            "loop, all scores of a query sorted": timer(
                lambda: _agree(ours, _loop(images, captions, image_of)), warm=False
            ),
            "ours, in blocks, ties counted": timer(
                lambda: retrieval.retrieval_metrics(images, captions, image_of), warm=False
            ),
        },
        note="From embeddings to R@1, 5, 10. Both give the same recalls (checked).",
    )
    scores = captions @ images.T
    by_image = np.ascontiguousarray(scores.T)

    def scikit() -> None:
        labels = np.arange(sizes.images)
        recall = top_k_accuracy_score(image_of, scores, k=_CUTOFF, labels=labels)
        _agree(ours, {f"t2i_r{_CUTOFF}": 100 * recall})

    yield Comparison(
        f"R@{_CUTOFF} of {size}, text to image",
        {
            "scikit-learn's top_k_accuracy_score": timer(scikit, warm=False),
            "torchmetrics' retrieval_recall, a query at a time": torch_peer.started(
                "recall",
                place.folder,
                {"scores": scores, "image_of": image_of, "cutoff": _CUTOFF},
                check=lambda recall: _agree(ours, {f"t2i_r{_CUTOFF}": 100 * recall}),
            ),
            "ours: R@1, 5, 10 and ranks, both directions": timer(
                lambda: retrieval.retrieval_metrics_of_scores(by_image, image_of), warm=False
            ),
        },
        note="From a matrix of scores. All give the same recall (checked); only ours gives more.",
    )


def _loop(images: np.ndarray, captions: np.ndarray, image_of: np.ndarray) -> dict[str, float]:
    """As the code of VSE++ evaluates: sorts the answers of each query, finds the first right."""

    def ranks(queries: np.ndarray, answers: np.ndarray, is_right: Callable) -> np.ndarray:
        found = []
        for number, query in enumerate(queries):
            order = np.argsort(-(answers @ query))
            found.append(np.flatnonzero(is_right(number, order))[0])
        return np.array(found)

    of_images = ranks(images, captions, lambda image, order: image_of[order] == image)
    of_captions = ranks(captions, images, lambda text, order: order == image_of[text])
    return {
        f"{name}_r{k}": 100 * float(np.mean(places < k))
        for name, places in (("i2t", of_images), ("t2i", of_captions))
        for k in _CUTOFFS
    }


def _agree(ours: dict[str, float], theirs: dict[str, float]) -> None:
    # One query more or less, where rounding swaps two answers.
    close = all(abs(ours[name] - value) < 0.05 for name, value in theirs.items())
    must_agree(close, "recall")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
