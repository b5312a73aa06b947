"""The papers' loss equations, one file a paper."""

from imgtext_tf.losses.shah2019 import VerifiedCrossEntropy, verified_cross_entropy

__all__ = ["VerifiedCrossEntropy", "verified_cross_entropy"]
