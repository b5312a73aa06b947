"""Henning and Ewerth's predecessor of Otto2020: an encoder of articles with a head for each metric.

Estimating the information gap between textual and visual representations, ICMR 2017 and IJMIR 7(1),
43-56 (2018), doi 10.1007/s13735-017-0142-y: the "[13]" of Otto2020's Table 7. An autoencoder that
writes text and picture anew from one vector teaches the encoder without labels; small heads then
learn CMI and SC.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from imgtext_tf import encoders, layers

_BOUND = 0.08


def article_encoder(
    *,
    feature_shape: Sequence[int | None],
    vocabulary_size: int,
    word_dim: int = 300,
    word_vectors: np.ndarray | None = None,
    ngram_vectors: np.ndarray | None = None,
    train_vectors: bool = True,
    sentence_units: int = 600,
    article_units: int = 2400,
    dropout: float = 0.3,
    seed: int | None = None,
    compact: bool = True,
) -> keras.Model:
    """Image and text -> {"article": [B, article_units] float, at least 0}.

    Inputs, a dict: `image_features` [B, h, w, C] float32, `word_ids` [B, S, W] int32 (0 = padding)
    and, with `ngram_vectors`, `ngram_ids` [B, S, W, G] int32.

    v = W mean(F);  s_n = LSTM(words of sentence n);  t = LSTM(v, s_1, s_2, ...)
    article = ReLU(FC([t ; v]))

    The text's LSTM takes its first step on the image, and each LSTM gives its last real output.

    Args:
        feature_shape: (h, w, C).
        vocabulary_size: padding and unknown word included.
        word_dim: length of a word vector.
        word_vectors: [vocabulary_size, word_dim] vectors to start with.
        ngram_vectors: [1 + buckets, word_dim] n-gram vectors, for unknown words.
        train_vectors: train the word vectors further, as the authors did.
        sentence_units: size of s and of v.
        article_units: size of t and of the article.
        dropout: rate on v, on what both LSTMs read and give, and on the article.
        seed: of initial weights and dropout; None draws it from Keras' global seed.
        compact: see `layers.SentenceEncoder`; False for jit_compile=True.

    Reference: Henning and Ewerth (2018), encoder.
    """
    seeds = iter([None] * 99 if seed is None else range(seed, seed + 99))

    def drop(tensor, name):
        return keras.layers.Dropout(dropout, seed=next(seeds), name=name)(tensor)

    def lstm(units, name):
        start = {
            f"{kind}_initializer": keras.initializers.RandomUniform(-_BOUND, _BOUND, next(seeds))
            for kind in ("kernel", "recurrent")
        }
        return keras.layers.LSTM(units, name=name, **start)

    def dense(units, name, **arguments):
        start = keras.initializers.RandomUniform(-_BOUND, _BOUND, next(seeds))
        return keras.layers.Dense(units, kernel_initializer=start, name=name, **arguments)

    embedding = layers.WordEmbedding(vocabulary_size, word_dim, train_table=True, name="embedding")
    if word_vectors is not None:
        embedding = layers.WordEmbedding.of(
            word_vectors, ngram_vectors, train_table=train_vectors, name="embedding"
        )
    of_sentence = encoders.text_inputs(embedding, sentences=False)
    words = embedding(
        list(of_sentence.values()) if embedding.ngram_buckets else of_sentence["word_ids"]
    )
    real_words = keras.ops.not_equal(of_sentence["word_ids"], 0)
    sentence = lstm(sentence_units, "words")(drop(words, "words_in"), mask=real_words)
    sentence_model = keras.Model(of_sentence, drop(sentence, "words_out"), name="sentence")

    features = keras.Input(tuple(feature_shape), name="image_features")
    texts = encoders.text_inputs(embedding)
    image = keras.layers.GlobalAveragePooling2D(name="image_mean")(features)
    image = drop(dense(sentence_units, "image", use_bias=False)(image), "image_embedding")
    sentences = layers.SentenceEncoder(sentence_model, compact=compact, name="sentences")(texts)
    steps = keras.ops.concatenate([image[:, None], sentences], axis=1)
    real = keras.ops.any(keras.ops.not_equal(texts["word_ids"], 0), axis=-1)
    # The image is always read, so that a text without words leaves what the image says.
    real = keras.ops.concatenate([keras.ops.ones_like(real[:, :1]), real], axis=1)
    text = drop(lstm(article_units, "text")(steps, mask=real), "text_out")
    joined = keras.layers.Concatenate()([text, image])
    article = drop(dense(article_units, "reconsider_image", activation="relu")(joined), "article")
    inputs = {"image_features": features, **texts}
    return keras.Model(inputs, {"article": article}, name="article_encoder")


def metric_heads(
    encoder: keras.Model,
    *,
    num_labels: dict[str, int],
    hidden_units: int = 32,
    dropout: float = 0.1,
    seed: int | None = None,
) -> keras.Model:
    """The classifier: one hidden layer on the article, then a head for each metric.

    Args:
        encoder: of `article_encoder`, with its inputs.
        num_labels: metric -> number of its labels: {"cmi": 2, "sc": 3}, or five each as published.
        hidden_units: of the layer that the heads share.
        dropout: rate on that layer.
        seed: of the dropout.

    Returns:
        A model from the encoder's inputs to {metric: [B, labels] float32 logits}. They are plain:
        the published code had a ReLU on them.

    Reference: Henning and Ewerth (2018), classifier.
    """
    hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")(
        encoder.output["article"]
    )
    hidden = keras.layers.Dropout(dropout, seed=seed, name="hidden_dropout")(hidden)
    # float32 also under mixed precision: the loss's softmax needs it.
    outputs = {
        metric: keras.layers.Dense(labels, dtype="float32", name=metric)(hidden)
        for metric, labels in num_labels.items()
    }
    return keras.Model(encoder.input, outputs, name="metric_heads")


def joint_logits(heads: keras.Model) -> keras.Model:
    """The same model with all heads side by side: {"logits": [B, sum of labels]}."""
    logits = keras.layers.Concatenate(dtype="float32", name="joint")(list(heads.output.values()))
    return keras.Model(heads.input, {"logits": logits}, name="joint_logits")


def autoencoder(
    encoder: keras.Model,
    *,
    vocabulary_size: int,
    sentence_units: int = 600,
    word_units: int = 300,
    image_size: int | None = None,
    dropout: float = 0.1,
    seed: int | None = None,
) -> keras.Model:
    """Writes the encoder's text, and picture, anew from the article.

    Args:
        encoder: of `article_encoder`; its weights are shared.
        vocabulary_size: padding and unknown word included.
        sentence_units: of the decoder's sentence level.
        word_units: of its word level.
        image_size: pixels of the picture to draw; None draws none, as with cached feature maps.
        dropout: rate of the decoders.
        seed: of the dropout.

    Returns:
        A model from the encoder's inputs to {"words": [B, S, W, vocabulary_size] float32 logits}
        and, with a size, "picture" [B, size, size, 3] in [-1, 1], unbounded. The authors' local
        response normalisation between the convolutions is left out.

    Reference: Henning and Ewerth (2018), decoders.
    """
    article = encoder.output["article"]
    decoder = layers.TextDecoder(
        vocabulary_size,
        sentence_units=sentence_units,
        word_units=word_units,
        dropout=dropout,
        seed=seed,
        dtype="float32",  # also under mixed precision: the loss's softmax needs it
        name="words",
    )
    outputs = {"words": decoder(article, encoder.input["word_ids"])}
    if image_size is not None:
        hidden = keras.layers.Dense(900, name="picture_code")(article)
        hidden = keras.layers.Dropout(dropout, seed=seed, name="picture_dropout")(hidden)
        hidden = keras.layers.Reshape((30, 30, 1))(hidden)
        for pixels, filters in ((60, 32), (120, 8)):
            hidden = keras.layers.Resizing(pixels, pixels, interpolation="nearest")(hidden)
            hidden = keras.layers.Conv2D(filters, 5, padding="same", activation="relu")(hidden)
        hidden = keras.layers.Resizing(image_size, image_size, interpolation="nearest")(hidden)
        outputs["picture"] = keras.layers.Conv2D(
            3, 5, padding="same", dtype="float32", name="picture"
        )(hidden)
    return keras.Model(encoder.input, outputs, name="autoencoder")


def with_backbone(model: keras.Model, backbone: keras.Model) -> keras.Model:
    """A model on images: `image` [B, H, W, 3] float32 in [0, 1] for `image_features`.

    Args:
        model: with an input `image_features`.
        backbone: of `encoders.image_encoder`, with feature maps of that shape.
    """
    image = keras.Input(backbone.input_shape[1:], name="image")
    tensors = {
        name: keras.Input(value.shape[1:], dtype=value.dtype, name=name)
        for name, value in model.input.items()
        if name != "image_features"
    }
    outputs = model(tensors | {"image_features": backbone(image)})
    return keras.Model(tensors | {"image": image}, outputs, name=f"{model.name}_live")
