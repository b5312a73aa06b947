"""Losses of the papers; a file for each topic."""

from imgtext_tf.losses.matching import (
    MINING,
    TARGETS,
    adversarial_loss,
    bidirectional_hinge,
    cosine_scores,
    modality_loss,
    order_scores,
)

__all__ = [
    "MINING",
    "TARGETS",
    "adversarial_loss",
    "bidirectional_hinge",
    "cosine_scores",
    "modality_loss",
    "order_scores",
]
