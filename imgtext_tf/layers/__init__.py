"""Layers that the models share; a file for each topic."""

from imgtext_tf.layers.decoding import TextDecoder
from imgtext_tf.layers.frozen import Frozen, HubImage
from imgtext_tf.layers.text import (
    UNKNOWN_ID,
    AttentionPooling,
    RegionAttention,
    SentenceEncoder,
    WordEmbedding,
    masked_softmax,
)

__all__ = [
    "UNKNOWN_ID",
    "AttentionPooling",
    "Frozen",
    "HubImage",
    "RegionAttention",
    "SentenceEncoder",
    "TextDecoder",
    "WordEmbedding",
    "masked_softmax",
]
