"""Whether probabilities can be taken at their word, and the temperature that mends them.

Logits divided by one temperature T > 0 keep their order, so the predicted class stays; T above 1
makes a classifier less sure. T is fitted on pairs that the classifier was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LIMITS = (1e-2, 1e2)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """The softmax of [..., C] logits / temperature, in float64; safe for large logits."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature of the least mean cross entropy.

    The cross entropy is convex in 1 / T, so its slope, mean(sum_c p_c z_c - z_truth), is zero at
    one place at most; halving finds it. Where all predictions are right there is none, for nothing
    says how sure the classifier may be: then T is 1. Where they are no better than chance, T is
    100, which makes all classes alike.

    Args:
        logits: [N, C] z.
        truth: [N] integer labels.

    Raises:
        ValueError: if there are no rows, or a logit is not finite.

    Reference: Guo et al. 2017, Section 4.2.
    """
    logits, truth = np.asarray(logits, np.float64), np.asarray(truth)
    if not len(logits) or not np.isfinite(logits).all():
        raise ValueError("a temperature is fitted on one row or more of finite logits")
    of_truth = logits[np.arange(len(truth)), truth]

    def slope(temperature: float) -> float:
        expected = (softmax(logits, temperature) * logits).sum(axis=1)
        return float((expected - of_truth).mean())

    low, high = _LIMITS
    # The slope in 1 / T falls as T grows.
    if slope(low) <= 0:
        return 1.0
    if slope(high) >= 0:
        return high
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return float(np.sqrt(low * high))


def expected_calibration_error(
    probabilities: np.ndarray, truth: np.ndarray, *, bins: int = 15
) -> float:
    """How far confidence is from accuracy, on average over pairs: in [0, 1], 0 is best.

    The pairs are put into bins of equal width by the probability of their predicted class; a bin
    counts |accuracy - mean probability| times its share of the pairs.

    Args:
        probabilities: [N, C].
        truth: [N] integer labels.
        bins: number of bins, over (0, 1].

    Raises:
        ValueError: if there are no rows.

    Reference: Guo et al. 2017, Eq. 3.
    """
    probabilities, truth = np.asarray(probabilities, np.float64), np.asarray(truth)
    if not len(truth):
        raise ValueError("a calibration error needs one row or more")
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    places = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    # |sum of right - sum of confidence| is the bin's gap times its number of pairs.
    gaps = np.bincount(places, weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def selective_accuracy(
    probabilities: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]
) -> list[dict[str, float]]:
    """What abstaining below a threshold costs and gains.

    Args:
        probabilities: [N, C].
        truth: [N] integer labels.
        thresholds: on the probability of the predicted class.

    Returns:
        For each threshold `threshold`, `answered` (share of the pairs at or above it) and
        `accuracy` of these; 0 where there are none.
    """
    sure = np.asarray(probabilities).max(axis=1)
    right = np.asarray(probabilities).argmax(axis=1) == np.asarray(truth)
    rows = []
    for threshold in thresholds:
        answered = sure >= threshold
        accuracy = float(right[answered].mean()) if answered.any() else 0.0
        rows.append(
            {
                "threshold": float(threshold),
                "answered": float(answered.mean()),
                "accuracy": accuracy,
            }
        )
    return rows
