"""Images and sentences to a joint embedding: the branches of a matching model.

Liu2019's text gives no sizes: those here are VSE++'s, on which it builds.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from imgtext_tf import layers

POOLINGS = ("mean", "max", "attention")
TEXT_POOLINGS = ("last", "mean", "max")
FEATURES = "image_features"


def image_branch(
    feature_shape: Sequence[int | None],
    *,
    embed_dim: int = 1024,
    pooling: str = "mean",
    normalize_input: bool = True,
    center: np.ndarray | None = None,
    hidden: int = 0,
    dropout: float = 0.0,
    unit: bool = True,
    absolute: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Features of an image to its embedding: [B, C], [B, R, C] or [B, h, w, C] -> [B, D] unit.

    Args:
        feature_shape: without the batch.
        embed_dim: D.
        pooling: of regions: "mean", "max", or "attention" (learnt).
        normalize_input: scale the pooled features to unit length first.
        center: [C] float, subtracted next: the mean over training images. Features behind a ReLU
            share one large direction, along which a high learning rate moves all images into one.
        hidden: units of a ReLU layer before the linear one, beside a linear path; 0: none.
        dropout: rate on the pooled features.
        unit: scale the embedding to unit length; VSE0 leaves it as it is.
        absolute: take absolute values at the end, for order embeddings.
        seed: of the initial weights and of dropout.

    Raises:
        ValueError: if the pooling is unknown.

    Reference: Liu2019, Section 3 (Faghri et al. 2017, Section 3.1).
    """
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}: use one of {', '.join(POOLINGS)}")
    # Any number of regions: a model trained on cached means takes whole feature maps, too.
    shape = (*[None] * (len(feature_shape) - 1), feature_shape[-1])
    features = pooled = keras.Input(shape, name=FEATURES)
    if len(feature_shape) == 3:
        pooled = keras.layers.Reshape((-1, feature_shape[-1]))(pooled)
    if len(feature_shape) > 1:
        if pooling == "attention":
            real = ops.ones_like(pooled[..., 0], dtype="bool")
            pooled = layers.AttentionPooling(256, name="pooling")(pooled, real)
        else:
            pooled = (ops.mean if pooling == "mean" else ops.max)(pooled, axis=1)
    if normalize_input:
        pooled = layers.L2Normalize(name="unit_features")(pooled)
    if center is not None:  # Deviation 7: centred features.
        ones = np.ones_like(center)
        pooled = keras.layers.Normalization(
            mean=center, variance=ones, dtype="float32", name="centered_features"
        )(pooled)
    # Deviation 3: dropout, here and on the words.
    pooled = keras.layers.Dropout(dropout, seed=seed + 1, name="image_dropout")(pooled)
    linear = keras.layers.Dense(
        embed_dim, kernel_initializer=keras.initializers.GlorotUniform(seed), name="image_linear"
    )
    output = linear(pooled)
    if hidden:  # Deviation 1: more than a linear layer.
        wide = keras.layers.Dense(hidden, activation="relu", name="image_hidden")(pooled)
        output = output + keras.layers.Dense(embed_dim, name="image_of_hidden")(wide)
    output = _embedding(output, unit, absolute)
    return keras.Model({FEATURES: features}, output, name="image_branch")


def text_branch(
    vocabulary_size: int,
    *,
    embed_dim: int = 1024,
    word_dim: int = 300,
    word_vectors: np.ndarray | None = None,
    train_vectors: bool = True,
    bidirectional: bool = False,
    gru_layers: int = 1,
    pooling: str = "last",
    dropout: float = 0.0,
    absolute: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Words of a caption to its embedding: [B, W] int32, 0 = padding -> [B, D] unit.

    Args:
        vocabulary_size: padding and unknown word included.
        embed_dim: D, the units of the GRU.
        word_dim: length of a word vector.
        word_vectors: [vocabulary_size, word_dim] to start from; None for U(-0.1, 0.1).
        train_vectors: whether the word vectors are trained.
        bidirectional: read in both directions, and take the mean.
        gru_layers: GRUs one on the other.
        pooling: of the states: the "last" valid one, or the "mean" or "max" over words.
        dropout: rate on the word vectors.
        absolute: take absolute values at the end, for order embeddings.
        seed: of the initial weights and of dropout.

    Raises:
        ValueError: if the pooling is unknown or the word vectors have another shape.

    Reference: Liu2019, Section 3 (Faghri et al. 2017, Section 3.1).
    """
    if pooling not in TEXT_POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}: use one of {', '.join(TEXT_POOLINGS)}")
    if word_vectors is None:
        rng = np.random.default_rng(seed)
        word_vectors = rng.uniform(-0.1, 0.1, (vocabulary_size, word_dim)).astype(np.float32)
    elif word_vectors.shape[0] != vocabulary_size:
        raise ValueError(f"{len(word_vectors)} word vectors for {vocabulary_size} words")
    ids = keras.Input((None,), dtype="int32", name="caption_ids")
    real = ops.not_equal(ids, 0)
    words = layers.WordEmbedding.of(word_vectors, train_table=train_vectors, name="embedding")(ids)
    words = keras.layers.Dropout(dropout, seed=seed + 2, name="word_dropout")(words)
    for number in range(1, gru_layers + 1):
        sequences = number < gru_layers or pooling != "last"
        words = _read(words, real, embed_dim, number, sequences, bidirectional)
    if pooling != "last":
        # Deviation 2: not the last state only.
        words = layers.MaskedPooling(pooling, name="text_pooling")(words, real)
    output = _embedding(words, True, absolute)
    return keras.Model({"caption_ids": ids}, output, name="text_branch")


def modality_classifier(
    embed_dim: int = 1024, *, units: Sequence[int] = (512,), dropout: float = 0.5, seed: int = 0
) -> keras.Model:
    """Embeddings [N, D] to the logit [N] of being an image's: 1024-512-1 with ReLU and dropout.

    Reference: Liu2019, Section 3.
    """
    embedding = hidden = keras.Input((embed_dim,), name="embedding")
    for number, size in enumerate(units, 1):
        start = keras.initializers.GlorotUniform(seed + number)
        hidden = keras.layers.Dense(
            size, activation="relu", kernel_initializer=start, name=f"hidden{number}"
        )(hidden)
        hidden = keras.layers.Dropout(dropout, seed=seed + number)(hidden)
    start = keras.initializers.GlorotUniform(seed)
    logit = keras.layers.Dense(1, kernel_initializer=start, dtype="float32", name="logit")(hidden)
    return keras.Model(embedding, ops.squeeze(logit, -1), name="modality_classifier")


def _read(words, real, units, number, sequences, bidirectional):
    read = layers.MaskedGRU(units, return_sequences=sequences, name=f"gru{number}")(words, real)
    if not bidirectional:
        return read
    back = layers.MaskedGRU(
        units, return_sequences=sequences, backward=True, name=f"gru{number}_backward"
    )
    return (read + back(words, real)) / 2


def _embedding(values, unit, absolute):
    # float32 also under mixed precision: scores of 16 bits would tie.
    if unit:
        values = layers.L2Normalize(dtype="float32", name="unit")(values)
    else:
        values = keras.layers.Identity(dtype="float32", name="as_it_is")(values)
    return ops.abs(values) if absolute else values
