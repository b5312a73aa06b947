"""Otto2020's deep classifier of the relation of an image and a text (Section 4.2, Fig. 8)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from imgtext_tf import encoders, layers

INPUTS = ("both", "text", "image")
FUSIONS = ("concat", "product")


def relation_classifier(
    *,
    num_classes: int,
    feature_shape: Sequence[int | None] | None = None,
    vocabulary_size: int | None = None,
    word_dim: int = 300,
    word_vectors: np.ndarray | None = None,
    ngram_vectors: np.ndarray | None = None,
    train_vectors: bool = False,
    image_attention: str = "context",
    inputs: str = "both",
    fusion: str = "concat",
    gru_units: int = 512,
    attention_units: int | None = None,
    image_dim: int | None = None,
    fc_units: Sequence[int] = (1024, 512, 256, 128),
    image_dropout: float = 0.3,
    text_dropout: float = 0.4,
    word_dropout: float = 0.0,
    region_dropout: float = 0.0,
    word_scores: bool = False,
    class_parts: np.ndarray | None = None,
    seed: int | None = None,
    compact: bool = True,
) -> keras.Model:
    """The classifier on feature maps of the image and ids of the words.

    Inputs, a dict: `image_features` [B, h, w, C] float32, `word_ids` [B, S, W] int32 (0 = padding,
    1 = unknown word) and, with `ngram_vectors`, `ngram_ids` [B, S, W, G] int32 (0 = padding).
    Output: {"logits": [B, num_classes] float32}, for cross entropy with from_logits=True.

    F = feature map;  v = Dropout(mean(F));  A = Conv1x1(F), as deep as a word vector
    t = Dropout(text_encoder(words, A));  logits = FC(ReLU(FC(... [v ; t])))

    Args:
        num_classes: 8 for "classic", 2 for CMI, 3 for SC or STAT.
        feature_shape: (h, w, C); not needed for inputs="text".
        vocabulary_size: padding and unknown word included; not needed for inputs="image".
        word_dim: length of a word vector, and depth of A.
        word_vectors: [vocabulary_size, word_dim] pre-trained vectors; without them the vectors
            start at random and are trained.
        ngram_vectors: [1 + buckets, word_dim] n-gram vectors, for unknown words; never trained.
        train_vectors: train the word vectors too.
        image_attention: where A enters the reading of the text: `encoders.IMAGE_ATTENTION`.
        inputs: "both", or the baselines "text" (no image at all) and "image" (no text).
        fusion: "concat" as in the paper; "product" also gives FC the product of v and t, each
            mapped to `fc_units[0] // 2` by a linear layer, and with image_attention="regions" the
            word-level GRU the product of each word and what it points at (Deviation 1).
        gru_units: of each direction, of both GRUs; the text embedding has twice as many.
        attention_units: of the attention's hidden layer; None for `gru_units`.
        image_dim: depth to which a 1x1 convolution with ReLU brings F first, such as the paper's
            2048; None for F as it is.
        fc_units: sizes of the fully connected layers before the logits.
        image_dropout: rate on v.
        text_dropout: rate on t.
        word_dropout: rate on what the word-level GRU reads (Deviation 2).
        region_dropout: rate on the channels of F where it becomes A (Deviation 2).
        word_scores: add to the logits a linear model of the text's words (Deviation 4).
        class_parts: [parts, num_classes] float, such as `relations.metric_parts()`: the model
            scores the parts, and a class by the sum of its own, so that a swapped word means the
            same beside a caption, a story and a definition (Deviation 3). None scores each class.
        seed: of the dropout layers; None draws it from Keras' global seed.
        compact: see `layers.SentenceEncoder`; False for jit_compile=True.

    Raises:
        ValueError: if `inputs`, `fusion` or `image_attention` is unknown, or what `inputs` needs is
            missing, or the vectors or class parts have another shape.

    Reference: Otto2020, Section 4.2.
    """
    _check(inputs, fusion, feature_shape, vocabulary_size, word_scores)
    if class_parts is not None and class_parts.shape[1:] != (num_classes,):
        raise ValueError(f"class_parts have shape {class_parts.shape}: give [parts, {num_classes}]")
    tensors, embeddings, regions = {}, [], None
    if inputs != "text":
        tensors["image_features"] = features = keras.Input(
            tuple(feature_shape), name="image_features"
        )
        if image_dim is not None:
            features = keras.layers.Conv2D(image_dim, 1, activation="relu", name="image_depth")(
                features
            )
        image = keras.layers.GlobalAveragePooling2D(name="image_mean")(features)
        embeddings.append(
            keras.layers.Dropout(image_dropout, seed=seed, name="image_embedding")(image)
        )
        if inputs == "both" and image_attention != "none":
            # Deviation 2: more dropout. Whole channels: the places of one say much the same.
            dropout = keras.layers.SpatialDropout2D(
                region_dropout, seed=None if seed is None else seed + 3, name="region_dropout"
            )
            regions = keras.layers.Conv2D(word_dim, 1, name="regions")(dropout(features))
    if inputs != "image":
        embedding = _word_embedding(
            vocabulary_size, word_dim, word_vectors, ngram_vectors, train_vectors
        )
        encoder = encoders.text_encoder(
            embedding,
            image_attention=image_attention if inputs == "both" else "none",
            gru_units=gru_units,
            attention_units=attention_units,
            region_product=fusion == "product",
            word_dropout=word_dropout,
            seed=None if seed is None else seed + 2,
            compact=compact,
        )
        words = encoders.text_inputs(embedding)
        tensors |= words
        text = encoder(words if regions is None else words | {"regions": regions})
        text_seed = None if seed is None else seed + 1
        embeddings.append(
            keras.layers.Dropout(text_dropout, seed=text_seed, name="text_embedding")(text)
        )
    if fusion == "product":
        embeddings.append(_product(*embeddings, units=fc_units[0] // 2))
    hidden = embeddings[0] if len(embeddings) == 1 else keras.layers.Concatenate()(embeddings)
    for number, units in enumerate(fc_units, 1):
        hidden = keras.layers.Dense(units, activation="relu", name=f"fc{number}")(hidden)
    logits = _logits(hidden, num_classes, class_parts)
    if word_scores:
        logits = add_word_scores(logits, tensors["word_ids"], vocabulary_size)
    return keras.Model(tensors, {"logits": logits}, name="relation_classifier")


def add_word_scores(logits, word_ids, vocabulary_size: int):
    """Adds a linear model of a text's words to the scores of the classes (Deviation 4).

    Args:
        logits: [B, C] float.
        word_ids: [B, S, W] int32, 0 = padding.
        vocabulary_size: padding and unknown word included.

    Returns:
        [B, C] float32.
    """
    # Deviation 4: in the paper, the text goes through the GRUs only.
    # float32 also under mixed precision: the loss needs it.
    scores = layers.WordScores(
        vocabulary_size, logits.shape[-1], dtype="float32", name="word_scores"
    )
    return keras.layers.Add(dtype="float32", name="sum")([logits, scores(word_ids)])


def with_backbone(classifier: keras.Model, encoder: keras.Model) -> keras.Model:
    """The classifier on images: `image` [B, H, W, 3] float32 in [0, 1] for `image_features`.

    Args:
        classifier: of `relation_classifier`, with an image input.
        encoder: of `encoders.image_encoder`, with feature maps of the classifier's shape.

    Returns:
        A model that shares both models' weights; other inputs and the outputs are the classifier's.

    Raises:
        ValueError: if the classifier takes no image, or the feature maps have other shapes.
    """
    if "image_features" not in classifier.input:
        raise ValueError("the classifier takes no image_features: it needs no backbone")
    expected = tuple(classifier.input["image_features"].shape[1:])
    found = tuple(encoder.output_shape[1:])
    if any(None not in pair and pair[0] != pair[1] for pair in zip(expected, found, strict=True)):
        raise ValueError(
            f"the backbone gives feature maps {found} and the classifier takes {expected}: "
            "pass feature_shape=encoder.output_shape[1:] to relation_classifier"
        )
    image = keras.Input(encoder.input_shape[1:], name="image")
    tensors = {name: value for name, value in classifier.input.items() if name != "image_features"}
    tensors = {
        name: keras.Input(value.shape[1:], dtype=value.dtype, name=name)
        for name, value in tensors.items()
    }
    outputs = classifier(tensors | {"image_features": encoder(image)})
    return keras.Model(tensors | {"image": image}, outputs, name="relation_classifier_live")


def _check(inputs, fusion, feature_shape, vocabulary_size, word_scores):
    if inputs not in INPUTS:
        raise ValueError(f"unknown inputs {inputs!r}: use one of {', '.join(INPUTS)}")
    if fusion not in FUSIONS:
        raise ValueError(f"unknown fusion {fusion!r}: use one of {', '.join(FUSIONS)}")
    if fusion == "product" and inputs != "both":
        raise ValueError(f'fusion="product" needs inputs="both", not {inputs!r}')
    if inputs != "text" and feature_shape is None:
        raise ValueError(f"inputs={inputs!r} needs feature_shape=(h, w, C)")
    if inputs == "image" and word_scores:
        raise ValueError('word_scores need a text: leave them out with inputs="image"')
    if inputs != "image" and vocabulary_size is None:
        raise ValueError(f"inputs={inputs!r} needs vocabulary_size")


def _logits(hidden, num_classes, class_parts):
    """Scores of the classes, in float32 also under mixed precision: the loss needs it."""
    if class_parts is None:
        return keras.layers.Dense(num_classes, dtype="float32", name="logits")(hidden)
    # Deviation 3: the paper scores each class by itself.
    parts = keras.layers.Dense(len(class_parts), dtype="float32", name="parts")(hidden)
    of_class = keras.layers.Dense(
        num_classes, use_bias=False, trainable=False, dtype="float32", name="logits"
    )
    logits = of_class(parts)
    of_class.set_weights([class_parts])
    return logits


def _word_embedding(vocabulary_size, word_dim, vectors, ngram_vectors, train):
    if vectors is None:
        return layers.WordEmbedding(vocabulary_size, word_dim, train_table=True, name="embedding")
    if vectors.shape != (vocabulary_size, word_dim):
        raise ValueError(
            f"word_vectors have shape {vectors.shape}, and vocabulary_size and word_dim are "
            f"{(vocabulary_size, word_dim)}"
        )
    return layers.WordEmbedding.of(vectors, ngram_vectors, train_table=train, name="embedding")


def _product(image, text, *, units):
    """What image and text have in common, as a product of both."""
    # Deviation 1: the paper only concatenates the two.
    image = keras.layers.Dense(units, name="image_common")(image)
    text = keras.layers.Dense(units, name="text_common")(text)
    return keras.layers.Multiply(name="common")([image, text])
