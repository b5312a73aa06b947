"""Image and text encoders: functional models that the papers' models are put together from."""

from __future__ import annotations

import keras

from imgtext_tf import backbones, filesystem, layers

# Where the image enters the reading of the text (see `text_encoder`).
IMAGE_ATTENTION = ("context", "regions", "prepend", "none")


def image_encoder(
    name: str,
    *,
    weights: str | None = "imagenet",
    image_size: int | None = None,
    trainable: bool = False,
    input_range: tuple[float, float] | None = None,
) -> keras.Model:
    """A model from image [B, H, W, 3] float32 in [0, 1] to its feature map [B, h, w, C].

    The encoder brings the images to the range its backbone was trained on. A frozen backbone always
    runs in inference mode; a trained one follows `training`, batch normalisation included.

    Args:
        name: a key of `backbones.BACKBONES`; "vgg19_fc7", VGG19's 4,096 outputs before the classes
            as a map of 1 x 1, for images of 224 pixels; "small_cnn"; the path of a `.keras` file,
            whose last feature map is taken; or "hub:" and a TF-Hub handle or the path of a
            SavedModel (an image vector becomes a map of 1 x 1).
        weights: "imagenet", the path of a weights file, or None (or "none") for random weights.
            A `.keras` file and a hub model bring theirs.
        image_size: height and width, pixels; None for the file's own or 299; 0 for any shape.
        trainable: train the backbone too.
        input_range: values that 0 and 1 become; None for the backbone's own. A `.keras` file's is
            (0, 255) if it has a Rescaling or Normalization layer, else taken to be (-1, 1).

    Raises:
        ValueError: if the name is unknown, or the backbone has no such weights or no feature map.
        RuntimeError: if ImageNet weights are neither cached nor can be downloaded.

    Reference: Otto2020, Section 4.2.
    """
    weights = None if weights in (None, "none") else filesystem.local_copy(weights)
    size = 299 if image_size is None else image_size or None
    if name.startswith("hub:"):
        backbone, scale = layers.HubImage(name.removeprefix("hub:"), trainable=trainable), {}
    elif name.endswith(".keras"):
        backbone = backbones.from_file(name, image_size)
        size = backbone.input_shape[1]
        scale = backbones.scale_of(backbone, name) if input_range is None else {}
    else:
        backbone, scale = backbones.built_in(name, size, weights)
    if input_range is not None:
        low, high = input_range
        scale = {"scale": high - low, "offset": low}
    if not trainable and not isinstance(backbone, layers.HubImage):
        backbone = layers.Frozen(backbone, name="frozen", dtype="float32")
    image = keras.Input((size, size, 3), name="image")
    return keras.Model(image, _as_map(backbone(_scaled(image, **scale))), name="image_encoder")


def _as_map(features: keras.KerasTensor) -> keras.KerasTensor:
    """[B, C] as a map of 1 x 1; maps as they are."""
    if len(features.shape) == 2:
        features = keras.layers.Reshape((1, 1, features.shape[-1]))(features)
    return features


def thawed(encoder: keras.Model) -> keras.Model:
    """A frozen encoder with its backbone to be trained, batch normalisation included.

    Args:
        encoder: of `image_encoder`; of no use afterwards, as both share the weights.

    Raises:
        ValueError: if the backbone is a TF-Hub model, whose variables were frozen at loading.
    """
    for layer in encoder.layers:
        if isinstance(layer, layers.HubImage) and not layer.trainable:
            raise ValueError("a frozen TF-Hub model cannot be trained later: begin a run anew")
        if isinstance(layer, layers.Frozen):
            features = _as_map(layer.thawed()(layer.input))
            return keras.Model(encoder.input, features, name="image_encoder")
    return encoder


def text_encoder(
    embedding: layers.WordEmbedding,
    *,
    image_attention: str = "none",
    gru_units: int = 512,
    attention_units: int | None = None,
    region_product: bool = False,
    word_dropout: float = 0.0,
    seed: int | None = None,
    compact: bool = True,
) -> keras.Model:
    """A hierarchical attention network over words and sentences -> [B, 2 gru_units] float.

    Inputs, a dict: `word_ids` [B, S, W] int32 (0 = padding); if the embedding has n-grams,
    `ngram_ids` [B, S, W, G] int32; unless image_attention="none", `regions` A [B, h, w, D] float,
    as deep as a word vector. With x_w the vector of word w and a = mean(A):

    h_w = BiGRU(x_w);  s = sum_w softmax(score)_w h_w                       for each sentence
    g_s = BiGRU(s);    t = sum_s softmax(score)_s g_s                       zeros without words

    - "context": score(w) = v^T tanh(W h_w + b + U a), and the same for sentences.
    - "regions": h_w = BiGRU([x_w ; c_w]), c_w = sum_r softmax_r(x_w . A_r / sqrt(D)) A_r.
    - "prepend": h_w = BiGRU(a, x_1, x_2, ...): a is the first word of each sentence.
    - "none": the image is not used.

    In the last three, score(w) = v^T tanh(W h_w + b), with v learnt.

    Args:
        embedding: of the words.
        image_attention: one of `IMAGE_ATTENTION`.
        gru_units: of each direction.
        attention_units: length of v; None for `gru_units`.
        region_product: in mode "regions", read [x_w ; c_w ; x_w * c_w].
        word_dropout: rate on the vectors that the word level reads.
        seed: of this dropout; None draws it from Keras' global seed.
        compact: see `layers.SentenceEncoder`.

    Raises:
        ValueError: if the mode is unknown.

    Reference: Otto2020, Section 4.2.
    """
    if image_attention not in IMAGE_ATTENTION:
        raise ValueError(
            f"unknown image_attention {image_attention!r}: use one of {', '.join(IMAGE_ATTENTION)}"
        )
    units = {"gru_units": gru_units, "attention_units": attention_units or gru_units}
    inputs = text_inputs(embedding)
    of_sentences, context = dict(inputs), None
    if image_attention != "none":
        inputs["regions"] = keras.Input((None, None, embedding.dim), name="regions")
        context = keras.layers.GlobalAveragePooling2D(name="context")(inputs["regions"])
        if image_attention == "regions":
            regions = keras.layers.Reshape((-1, embedding.dim))(inputs["regions"])
            of_sentences["regions"] = regions
        else:
            of_sentences["context"] = context
    words = _word_encoder(
        embedding,
        image_attention,
        region_product=region_product,
        dropout=keras.layers.Dropout(word_dropout, seed=seed, name="word_dropout"),
        **units,
    )
    sentences = layers.SentenceEncoder(words, compact=compact, name="sentences")(of_sentences)
    real = keras.ops.any(keras.ops.not_equal(inputs["word_ids"], 0), axis=-1)
    context = context if image_attention == "context" else None
    text = _read(sentences, real, context, **units, name="sentence")
    return keras.Model(inputs, text, name="text_encoder")


def text_inputs(embedding: layers.WordEmbedding, *, sentences: bool = True) -> dict:
    """The inputs `word_ids` and, if the embedding has n-grams, `ngram_ids`.

    Args:
        embedding: of the words.
        sentences: [B, S, W(, G)]; False for single sentences, [N, W(, G)].
    """
    shape = (None, None) if sentences else (None,)
    inputs = {"word_ids": keras.Input(shape, dtype="int32", name="word_ids")}
    if embedding.ngram_buckets:
        inputs["ngram_ids"] = keras.Input((*shape, None), dtype="int32", name="ngram_ids")
    return inputs


def _word_encoder(embedding, mode, *, region_product, dropout, gru_units, attention_units):
    """The word level of `text_encoder`: single sentences [N, W] to [N, 2 gru_units]."""
    inputs = text_inputs(embedding, sentences=False)
    words = embedding(list(inputs.values()) if embedding.ngram_buckets else inputs["word_ids"])
    real, context = keras.ops.not_equal(inputs["word_ids"], 0), None
    if mode == "regions":
        inputs["regions"] = keras.Input((None, embedding.dim), name="regions")
        attention = layers.RegionAttention(product=region_product, name="region_attention")
        words = attention(words, inputs["regions"])
    elif mode != "none":
        inputs["context"] = context = keras.Input((embedding.dim,), name="context")
    if mode == "prepend":
        words = keras.ops.concatenate([context[:, None], words], axis=1)
        # The image is no word: a sentence without words stays empty.
        real = keras.ops.concatenate([keras.ops.any(real, axis=1, keepdims=True), real], axis=1)
        context = None
    sizes = {"gru_units": gru_units, "attention_units": attention_units}
    sentence = _read(dropout(words), real, context, **sizes, name="word")
    return keras.Model(inputs, sentence, name="words")


def _read(sequence, real, context, *, gru_units, attention_units, name):
    """Attention over the states of a bidirectional GRU: [B, N, D] to [B, 2 gru_units]."""
    gru = keras.layers.GRU(gru_units, return_sequences=True)
    states = keras.layers.Bidirectional(gru, name=f"{name}_gru")(sequence, mask=real)
    pooling = layers.AttentionPooling(attention_units, name=f"{name}_attention")
    return pooling(states, real, context)


def _scaled(image, *, scale=1.0, offset=0.0, flip=False):
    """[0, 1] to image * scale + offset in float32; `flip` turns RGB into BGR first."""
    image = keras.ops.flip(image, axis=-1) if flip else image
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="scale")(image)
