"""CNNs trained on images, by name, and the values that they want of an image."""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras

from imgtext_tf import untrusted

_LOG = logging.getLogger(__name__)
_APPLICATIONS = keras.applications

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


def built_in(name: str, size: int | None, weights: str | None) -> tuple[keras.Model, dict]:
    """A backbone of this package or of Keras.

    Args:
        name: "small_cnn", "vgg19_fc7" or a key of `BACKBONES`.
        size: height and width, pixels; None for any.
        weights: "imagenet", the path of a weights file, or None for random weights.

    Returns:
        The model, and how an image in [0, 1] must be scaled for it: arguments of `encoders`' scale.

    Raises:
        ValueError: if the name is unknown, or the backbone has no such weights.
        RuntimeError: if ImageNet weights are neither cached nor can be downloaded.
    """
    if name == "small_cnn":
        return _small_cnn(size, weights), _SYMMETRIC
    if name == "vgg19_fc7":
        return _vgg19_fc7(size, weights), _CAFFE
    if name in BACKBONES:
        function, scale = BACKBONES[name]
        return _application(name, function, size, weights), scale
    raise ValueError(
        f"unknown backbone {name!r}: use small_cnn, vgg19_fc7, a .keras file, hub:<handle>, or one "
        f"of {', '.join(BACKBONES)}"
    )


def _application(name, function, size, weights, *, include_top=False):
    try:
        return function(include_top=include_top, weights=weights, input_shape=(size, size, 3))
    except Exception as error:
        if weights != "imagenet":
            raise ValueError(f"{weights}: no weights of {name}: {error!s:.300}") from error
        head = "with" if include_top else "without"
        raise RuntimeError(
            f"{name}: its ImageNet weights are neither in the Keras cache nor can be downloaded "
            f"({error}); pass weights=<path of a weights file {head} the head> or weights=None"
        ) from error


def _vgg19_fc7(size, weights):
    """VGG19 up to the ReLU of its second dense layer, to [B, 4096]."""
    if size is None or (weights is not None and size != 224):
        raise ValueError(f"vgg19_fc7: its weights are for images of 224 pixels, not {size}: pass "
                         "image_size=224")  # fmt: skip
    whole = _application("vgg19_fc7", _APPLICATIONS.VGG19, size, weights, include_top=True)
    return keras.Model(whole.input, whole.get_layer("fc2").output, name="vgg19_fc7")


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


def from_file(path: str, image_size: int | None) -> keras.Model:
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


def scale_of(backbone: keras.Model, path: str) -> dict:
    """What a backbone without further notice wants, as arguments of `_scaled`."""
    rescales = (keras.layers.Rescaling, keras.layers.Normalization)
    if any(isinstance(layer, rescales) for layer in backbone.layers):
        return _BYTES
    _LOG.warning("%s: no Rescaling layer; its images are taken to be in [-1, 1]", path)
    return _SYMMETRIC
