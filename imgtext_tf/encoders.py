"""Image and text encoders: functional models that the papers' models are put together from."""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras

from imgtext_tf import filesystem, layers, untrusted

_LOG = logging.getLogger(__name__)
_APPLICATIONS = keras.applications

# Where the image enters the reading of the text (see `text_encoder`).
IMAGE_ATTENTION = ("context", "regions", "prepend", "none")

# The preprocessing of keras.applications, from [0, 1]: arguments of `_scaled`.
_SYMMETRIC = {"scale": 2.0, "offset": -1.0}
_BYTES = {"scale": 255.0}
_CAFFE = {"scale": 255.0, "offset": [-103.939, -116.779, -123.68], "flip": True}
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TORCH = {
    "scale": [1 / deviation for deviation in _DEVIATION],
    "offset": [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
}

# Name -> (function of keras.applications, its preprocessing).
BACKBONES: dict[str, tuple[Callable[..., keras.Model], dict]] = {
    "convnext_tiny": (_APPLICATIONS.ConvNeXtTiny, _BYTES),
    "convnext_small": (_APPLICATIONS.ConvNeXtSmall, _BYTES),
    "convnext_base": (_APPLICATIONS.ConvNeXtBase, _BYTES),
    "convnext_large": (_APPLICATIONS.ConvNeXtLarge, _BYTES),
    "convnext_xlarge": (_APPLICATIONS.ConvNeXtXLarge, _BYTES),
    "densenet121": (_APPLICATIONS.DenseNet121, _TORCH),
    "densenet169": (_APPLICATIONS.DenseNet169, _TORCH),
    "densenet201": (_APPLICATIONS.DenseNet201, _TORCH),
    "efficientnet_b0": (_APPLICATIONS.EfficientNetB0, _BYTES),
    "efficientnet_b1": (_APPLICATIONS.EfficientNetB1, _BYTES),
    "efficientnet_b2": (_APPLICATIONS.EfficientNetB2, _BYTES),
    "efficientnet_b3": (_APPLICATIONS.EfficientNetB3, _BYTES),
    "efficientnet_b4": (_APPLICATIONS.EfficientNetB4, _BYTES),
    "efficientnet_b5": (_APPLICATIONS.EfficientNetB5, _BYTES),
    "efficientnet_b6": (_APPLICATIONS.EfficientNetB6, _BYTES),
    "efficientnet_b7": (_APPLICATIONS.EfficientNetB7, _BYTES),
    "efficientnet_v2_b0": (_APPLICATIONS.EfficientNetV2B0, _BYTES),
    "efficientnet_v2_b1": (_APPLICATIONS.EfficientNetV2B1, _BYTES),
    "efficientnet_v2_b2": (_APPLICATIONS.EfficientNetV2B2, _BYTES),
    "efficientnet_v2_b3": (_APPLICATIONS.EfficientNetV2B3, _BYTES),
    "efficientnet_v2_s": (_APPLICATIONS.EfficientNetV2S, _BYTES),
    "efficientnet_v2_m": (_APPLICATIONS.EfficientNetV2M, _BYTES),
    "efficientnet_v2_l": (_APPLICATIONS.EfficientNetV2L, _BYTES),
    "inception_resnet_v2": (_APPLICATIONS.InceptionResNetV2, _SYMMETRIC),
    "inception_v3": (_APPLICATIONS.InceptionV3, _SYMMETRIC),
    "mobilenet": (_APPLICATIONS.MobileNet, _SYMMETRIC),
    "mobilenet_v2": (_APPLICATIONS.MobileNetV2, _SYMMETRIC),
    "mobilenet_v3_large": (_APPLICATIONS.MobileNetV3Large, _BYTES),
    "mobilenet_v3_small": (_APPLICATIONS.MobileNetV3Small, _BYTES),
    "nasnet_large": (_APPLICATIONS.NASNetLarge, _SYMMETRIC),
    "nasnet_mobile": (_APPLICATIONS.NASNetMobile, _SYMMETRIC),
    "resnet50": (_APPLICATIONS.ResNet50, _CAFFE),
    "resnet101": (_APPLICATIONS.ResNet101, _CAFFE),
    "resnet152": (_APPLICATIONS.ResNet152, _CAFFE),
    "resnet50_v2": (_APPLICATIONS.ResNet50V2, _SYMMETRIC),
    "resnet101_v2": (_APPLICATIONS.ResNet101V2, _SYMMETRIC),
    "resnet152_v2": (_APPLICATIONS.ResNet152V2, _SYMMETRIC),
    "vgg16": (_APPLICATIONS.VGG16, _CAFFE),
    "vgg19": (_APPLICATIONS.VGG19, _CAFFE),
    "xception": (_APPLICATIONS.Xception, _SYMMETRIC),
}


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
        name: a key of `BACKBONES`; "small_cnn"; the path of a `.keras` file, whose last feature map
            is taken; or "hub:" and a TF-Hub handle or the path of a SavedModel (an image vector
            becomes a map of 1 x 1).
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
        backbone = _from_file(name, image_size)
        size = backbone.input_shape[1]
        scale = _scale_of(backbone, name) if input_range is None else {}
    elif name == "small_cnn":
        backbone, scale = _small_cnn(size, weights), _SYMMETRIC
    elif name in BACKBONES:
        function, scale = BACKBONES[name]
        backbone = _application(name, function, size, weights)
    else:
        raise ValueError(
            f"unknown backbone {name!r}: use small_cnn, a .keras file, hub:<handle>, or one of "
            f"{', '.join(BACKBONES)}"
        )
    if input_range is not None:
        low, high = input_range
        scale = {"scale": high - low, "offset": low}
    if not trainable and not isinstance(backbone, layers.HubImage):
        backbone = layers.Frozen(backbone, name="frozen", dtype="float32")
    image = keras.Input((size, size, 3), name="image")
    features = backbone(_scaled(image, **scale))
    if len(features.shape) == 2:
        features = keras.layers.Reshape((1, 1, features.shape[-1]))(features)
    return keras.Model(image, features, name="image_encoder")


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


def _application(name, function, size, weights):
    try:
        return function(include_top=False, weights=weights, input_shape=(size, size, 3))
    except Exception as error:
        if weights != "imagenet":
            raise ValueError(f"{weights}: no weights of {name}: {error!s:.300}") from error
        raise RuntimeError(
            f"{name}: its ImageNet weights are neither in the Keras cache nor can be downloaded "
            f"({error}); pass weights=<path of a weights file without the head> or weights=None"
        ) from error


def _small_cnn(size, weights):
    """Four strided convolutions, to [B, size / 16, size / 16, 256]."""
    if weights == "imagenet":
        raise ValueError("small_cnn has no ImageNet weights: pass weights=None or a path")
    image = hidden = keras.Input((size, size, 3))
    for filters in (32, 64, 128, 256):
        hidden = keras.layers.Conv2D(filters, 3, 2, padding="same", use_bias=False)(hidden)
        hidden = keras.layers.ReLU()(keras.layers.BatchNormalization()(hidden))
    model = keras.Model(image, hidden, name="small_cnn")
    if weights is not None:
        untrusted.load_weights(model, weights)
    return model


def _from_file(path, image_size):
    """A saved model up to its last feature map, at another image size if asked for."""
    model = untrusted.load_model(path)
    maps = [layer for layer in model.layers[1:] if len(getattr(layer.output, "shape", ())) == 4]
    if not maps:
        raise ValueError(f"{path}: no layer of the model has a feature map [B, h, w, C]")
    backbone = keras.Model(model.input, maps[-1].output, name="backbone")
    size = (backbone.input_shape[1] or 299) if image_size is None else image_size or None
    if size != backbone.input_shape[1]:
        clone = keras.models.clone_model(backbone, input_tensors=keras.Input((size, size, 3)))
        clone.set_weights(backbone.get_weights())
        backbone = clone
    return backbone


def _scale_of(backbone, path):
    """What a backbone without further notice wants, as arguments of `_scaled`."""
    rescales = (keras.layers.Rescaling, keras.layers.Normalization)
    if any(isinstance(layer, rescales) for layer in backbone.layers):
        return _BYTES
    _LOG.warning("%s: no Rescaling layer; its images are taken to be in [-1, 1]", path)
    return _SYMMETRIC
