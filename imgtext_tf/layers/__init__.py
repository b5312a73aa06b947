"""Layers that the models share; a file for each topic."""

from imgtext_tf.layers.bags import BagPooling, PairScores, RowEmbedding
from imgtext_tf.layers.cosine_softmax import SAMPLERS, CosineSoftmax
from imgtext_tf.layers.decoding import TextDecoder
from imgtext_tf.layers.embedding import GradientReversal, L2Normalize, dann_ramp, l2_normalize
from imgtext_tf.layers.frozen import Frozen, HubImage
from imgtext_tf.layers.fusion import Mlb, Mutan
from imgtext_tf.layers.pooling import MAC, GeM
from imgtext_tf.layers.recurrent import MaskedGRU, MaskedPooling
from imgtext_tf.layers.replicas import OwnRows
from imgtext_tf.layers.rmac import RMAC, RegionMaxPool, WhitenedSum, rmac_regions
from imgtext_tf.layers.text import (
    UNKNOWN_ID,
    AttentionPooling,
    RegionAttention,
    SentenceEncoder,
    WordEmbedding,
    masked_softmax,
)
from imgtext_tf.layers.word_scores import WordScores

__all__ = [
    "AttentionPooling",
    "BagPooling",
    "CosineSoftmax",
    "Frozen",
    "GeM",
    "GradientReversal",
    "HubImage",
    "L2Normalize",
    "MAC",
    "MaskedGRU",
    "MaskedPooling",
    "Mlb",
    "Mutan",
    "PairScores",
    "OwnRows",
    "RMAC",
    "RegionAttention",
    "RegionMaxPool",
    "RowEmbedding",
    "SAMPLERS",
    "SentenceEncoder",
    "TextDecoder",
    "UNKNOWN_ID",
    "WhitenedSum",
    "WordEmbedding",
    "WordScores",
    "dann_ramp",
    "l2_normalize",
    "masked_softmax",
    "rmac_regions",
]
