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
from imgtext_tf.losses.otto2020 import AdjustedCrossEntropy
from imgtext_tf.losses.retrieval import image_to_text_loss, text_to_image_loss, visual_loss
from imgtext_tf.losses.shah2019 import VerifiedCrossEntropy, verified_cross_entropy

__all__ = [
    "AdjustedCrossEntropy",
    "MINING",
    "TARGETS",
    "VerifiedCrossEntropy",
    "adversarial_loss",
    "bidirectional_hinge",
    "cosine_scores",
    "image_to_text_loss",
    "modality_loss",
    "order_scores",
    "text_to_image_loss",
    "verified_cross_entropy",
    "visual_loss",
]
