"""Layers that the models share; a file for each topic."""

from imgtext_tf.layers.frozen import Frozen, HubImage
from imgtext_tf.layers.pooling import MAC, GeM, L2Normalize, l2_normalize
from imgtext_tf.layers.rmac import RMAC, RegionMaxPool, WhitenedSum, rmac_regions
from imgtext_tf.layers.text import (
    UNKNOWN_ID,
    AttentionPooling,
    RegionAttention,
    SentenceEncoder,
    WordEmbedding,
    masked_softmax,
)

__all__ = [
    "MAC",
    "RMAC",
    "UNKNOWN_ID",
    "AttentionPooling",
    "Frozen",
    "GeM",
    "HubImage",
    "L2Normalize",
    "RegionAttention",
    "RegionMaxPool",
    "SentenceEncoder",
    "WhitenedSum",
    "WordEmbedding",
    "l2_normalize",
    "masked_softmax",
    "rmac_regions",
]
