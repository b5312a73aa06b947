"""Layers that the models share; a file for each topic."""

from imgtext_tf.layers.decoding import TextDecoder
from imgtext_tf.layers.embedding import GradientReversal, L2Normalize, dann_ramp
from imgtext_tf.layers.frozen import Frozen, HubImage
from imgtext_tf.layers.recurrent import MaskedGRU, MaskedPooling
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
    "GradientReversal",
    "HubImage",
    "L2Normalize",
    "MaskedGRU",
    "MaskedPooling",
    "RegionAttention",
    "SentenceEncoder",
    "TextDecoder",
    "WordEmbedding",
    "dann_ramp",
    "masked_softmax",
]
