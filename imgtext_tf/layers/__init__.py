"""Layers that the models share; a file for each topic."""

from imgtext_tf.layers.bags import BagPooling, PairScores, RowEmbedding
from imgtext_tf.layers.cosine_softmax import SAMPLERS, CosineSoftmax
from imgtext_tf.layers.frozen import Frozen, HubImage
from imgtext_tf.layers.fusion import Mlb, Mutan
from imgtext_tf.layers.text import (
    UNKNOWN_ID,
    AttentionPooling,
    RegionAttention,
    SentenceEncoder,
    WordEmbedding,
    masked_softmax,
)

__all__ = [
    "SAMPLERS",
    "UNKNOWN_ID",
    "AttentionPooling",
    "BagPooling",
    "CosineSoftmax",
    "Frozen",
    "HubImage",
    "Mlb",
    "Mutan",
    "PairScores",
    "RegionAttention",
    "RowEmbedding",
    "SentenceEncoder",
    "WordEmbedding",
    "masked_softmax",
]
