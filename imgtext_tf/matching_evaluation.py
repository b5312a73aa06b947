"""A matching model over images and captions: embeddings, recalls, modality gap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from imgtext_tf.metrics import modality, retrieval

Batch = tuple[np.ndarray, Mapping[str, Any]]


def embed(
    predict: Callable[[Mapping[str, Any]], np.ndarray], batches: Iterable[Batch], count: int
) -> np.ndarray:
    """Embeddings in the order of the places that come with each batch.

    Args:
        predict: inputs -> [B, D].
        batches: (places [B] int, inputs); every place once.
        count: of places.

    Returns:
        [count, D] float32.

    Raises:
        ValueError: if a place is missing or comes twice.
    """
    found, seen = None, np.zeros(count, np.int64)
    for places, inputs in batches:
        values = np.asarray(predict(inputs), np.float32)
        if found is None:
            found = np.zeros([count, values.shape[1]], np.float32)
        found[places] = values
        np.add.at(seen, places, 1)
    if found is None or not (seen == 1).all():
        raise ValueError(f"{np.count_nonzero(seen != 1)} of {count} places do not come just once")
    return found


def evaluate_matching(
    model: Any,
    images: Iterable[Batch],
    captions: Iterable[Batch],
    image_of: np.ndarray,
    *,
    count: int,
    folds: int = 1,
    seed: int = 0,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Evaluates a matching model on one split.

    Args:
        model: `models.sentence_matching.SentenceMatching`, or anything with its `predict_images`,
            `predict_texts`, `predict_modality` and `measure`.
        images: batches of all images.
        captions: batches of all captions.
        image_of: [C] int, the image of each caption.
        count: of images.
        folds: see `metrics.retrieval.retrieval_metrics`.
        seed: of the modality probe.

    Returns:
        The flat metrics (those of `retrieval_metrics` and `metrics.modality.modality_gap`, and
        `classifier_accuracy`, the mean over images and captions of the model's own classifier),
        and {"images" [N, D], "captions" [C, D]}.

    Reference: Liu2019, Section 4.
    """
    arrays = {
        "images": embed(model.predict_images, images, count),
        "captions": embed(model.predict_texts, captions, len(image_of)),
    }
    metrics = retrieval.retrieval_metrics(
        arrays["images"], arrays["captions"], image_of, folds=folds, measure=model.measure
    )
    metrics |= modality.modality_gap(arrays["images"], arrays["captions"], seed=seed)
    right = [
        np.mean(model.predict_modality(arrays["images"]) > 0),
        np.mean(model.predict_modality(arrays["captions"]) <= 0),
    ]
    return metrics | {"classifier_accuracy": float(np.mean(right))}, arrays
