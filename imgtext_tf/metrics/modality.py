"""How far images and texts lie apart in a joint embedding, NumPy only."""

from __future__ import annotations

import numpy as np

_RIDGE = 1e-3


def modality_gap(images: np.ndarray, texts: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """The modality gap of embeddings.

    Args:
        images: [N, D] float.
        texts: [C, D] float.
        seed: of the draw of equally many of both, and of the halves of the probe.

    Returns:
        `probe_accuracy`: of a linear classifier (least squares with a little ridge, fitted on one
        half) that tells images from texts on the other half, where 0.5 is chance and 1 a full gap;
        `centroid_distance`: between the means of both, 0 to 2 for unit vectors.

    Raises:
        ValueError: if there are fewer than four of either, or their dimensions differ.

    Reference: Liu2019, Section 4.
    """
    count = min(len(images), len(texts)) // 2 * 2
    if count < 4 or images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"give four images and texts or more of one dimension, not {images.shape}, "
            f"{texts.shape}"
        )
    rng = np.random.default_rng(seed)
    drawn = [rows[rng.permutation(len(rows))[:count]] for rows in (images, texts)]
    fitted, held_out = (
        np.concatenate([rows[start::2] for rows in drawn]).astype(np.float64) for start in (0, 1)
    )
    labels = np.repeat([1.0, -1.0], count // 2)
    mean = fitted.mean(axis=0)
    centred = fitted - mean
    # One over the other: D x D or N x N, whichever is smaller.
    scale = _RIDGE * np.mean(np.sum(centred**2, axis=1)) + 1e-12
    if centred.shape[1] <= len(centred):
        gram = centred.T @ centred + scale * np.eye(centred.shape[1])
        weights = np.linalg.solve(gram, centred.T @ labels)
    else:
        gram = centred @ centred.T + scale * np.eye(len(centred))
        weights = centred.T @ np.linalg.solve(gram, labels)
    decision = (held_out - mean) @ weights
    # A decision of exactly 0 is a coin's toss, as where both are the same.
    right = np.where(decision == 0, 0.5, np.sign(decision) == labels)
    distance = np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0))
    return {"probe_accuracy": float(right.mean()), "centroid_distance": float(distance)}
