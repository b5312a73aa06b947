import logging
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import backbones, encoders

RNG = np.random.default_rng(0)


def images(size, count=2):
    return RNG.random((count, size, size, 3)).astype("float32")


def model_file(path, *, rescaling, dense_head=True):
    """A saved model like those users bring: convolution, batch norm, dropout and a head."""
    image = hidden = keras.Input((8, 8, 3))
    if rescaling:
        hidden = keras.layers.Rescaling(1 / 255)(hidden)
    hidden = keras.layers.Conv2D(5, 3, 2, padding="same")(hidden)
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(hidden))
    features = keras.Model(image, hidden)
    if dense_head:
        hidden = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(hidden))
    keras.Model(image, hidden).save(path)
    return features


def test_names_are_functions_of_keras_applications():
    functions = {function.__name__ for function, _ in backbones.BACKBONES.values()}
    assert functions == {
        name for name in dir(keras.applications) if name[0].isupper() and "XX" not in name
    }
    for name, (function, _) in backbones.BACKBONES.items():
        assert name.replace("_", "") == function.__name__.lower()


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_preprocessing_equals_that_of_keras(name, monkeypatch):
    function, _ = backbones.BACKBONES[name]
    module = function.__module__.rsplit(".", 1)[1]
    expected = getattr(keras.applications, module).preprocess_input
    # Without the network in between, the encoder gives its preprocessing.
    identity = keras.layers.Identity()
    monkeypatch.setattr(backbones, "_application", lambda *arguments: identity)
    image = images(4)
    encoder = encoders.image_encoder(name, image_size=4, trainable=True)
    np.testing.assert_allclose(np.asarray(encoder(image)), expected(255 * image), atol=1e-4)


@pytest.mark.heavy
def test_the_papers_backbone_has_its_feature_map():
    # At 75 px, the smallest it takes; at 299 px the map is 8 x 8 x 1536 (below, by arithmetic).
    encoder = encoders.image_encoder("inception_resnet_v2", weights=None, image_size=75)
    assert encoder.output_shape == (None, 1, 1, 1536)
    assert encoder.trainable_weights == []
    # Five strides of 2 without padding: 299 -> 149 -> 147 -> 73 -> 71 -> 35 -> 17 -> 8.
    size = 299
    for window, stride in ((3, 2), (3, 1), (3, 2), (3, 1), (3, 2), (3, 2), (3, 2)):
        size = (size - window) // stride + 1
    assert size == 8


def test_vgg19_up_to_fc7():
    encoder = encoders.image_encoder("vgg19_fc7", weights=None, image_size=32, trainable=True)
    assert encoder.output_shape == (None, 1, 1, 4096)
    vgg, pixels = encoder.get_layer("vgg19_fc7"), images(32)
    inside = keras.Model(vgg.input, vgg.get_layer("block5_pool").output)
    features = np.asarray(inside(keras.applications.vgg19.preprocess_input(255 * pixels)))
    features = features.reshape(len(pixels), -1)
    for name in ("fc1", "fc2"):
        kernel, bias = vgg.get_layer(name).get_weights()
        features = np.maximum(features @ kernel + bias, 0)
    np.testing.assert_allclose(np.asarray(encoder(pixels))[:, 0, 0], features, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="images of 224 pixels, not 299"):
        encoders.image_encoder("vgg19_fc7")


def test_missing_imagenet_weights_name_the_mend(monkeypatch):
    def offline(**kwargs):
        raise OSError("no route to host")

    monkeypatch.setitem(backbones.BACKBONES, "vgg16", (offline, {}))
    with pytest.raises(RuntimeError, match="vgg16.*no route to host.*weights=None"):
        encoders.image_encoder("vgg16", image_size=32)


def test_small_cnn_trains_its_batch_norm():
    encoder = encoders.image_encoder("small_cnn", weights="none", image_size=32, trainable=True)
    assert encoder.output_shape == (None, 2, 2, 256)
    assert len(encoder.trainable_weights) == 4 * 3
    moving = [weight.numpy() for weight in encoder.non_trainable_weights]
    encoder(images(32), training=True)
    for old, new in zip(moving, encoder.non_trainable_weights, strict=True):
        assert np.any(old != new.numpy())


def test_small_cnn_reads_its_weights_from_a_file(tmp_path):
    path = str(tmp_path / "cnn.weights.h5")
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32, trainable=True)
    encoder.get_layer("small_cnn").save_weights(path)
    again = encoders.image_encoder("small_cnn", weights=path, image_size=32)
    image = images(32)
    np.testing.assert_array_equal(np.asarray(again(image)), np.asarray(encoder(image)))


def test_small_cnn_has_no_imagenet_weights():
    with pytest.raises(ValueError, match="weights=None"):
        encoders.image_encoder("small_cnn", image_size=32)


@pytest.mark.parametrize("dense_head", [True, False])
def test_file_with_rescaling_gets_bytes(tmp_path, dense_head):
    features = model_file(tmp_path / "m.keras", rescaling=True, dense_head=dense_head)
    encoder = encoders.image_encoder(str(tmp_path / "m.keras"))
    image = images(8)
    assert encoder.output_shape == (None, 4, 4, 5)
    np.testing.assert_allclose(
        np.asarray(encoder(image)), np.asarray(features(255 * image)), atol=1e-5
    )
    # Frozen: dropout and batch normalisation stay in inference mode.
    np.testing.assert_array_equal(
        np.asarray(encoder(image, training=True)), np.asarray(encoder(image, training=False))
    )


def test_a_thawed_encoder_gives_the_same_and_is_trained(tmp_path):
    model_file(tmp_path / "m.keras", rescaling=True)
    frozen = encoders.image_encoder(str(tmp_path / "m.keras"))
    image = images(8)
    expected = np.asarray(frozen(image))
    assert not frozen.trainable_weights and all(weight.constant for weight in frozen.weights)
    thawed = encoders.thawed(frozen)
    np.testing.assert_allclose(thawed(image, training=False), expected, atol=1e-6)
    # Checkpoints hold its variables, and batch normalisation follows the batch.
    assert thawed.trainable_weights and not any(weight.constant for weight in thawed.weights)
    assert np.abs(np.asarray(thawed(image, training=True)) - expected).max() > 1e-3
    assert encoders.thawed(thawed) is thawed


def test_file_without_rescaling_gets_the_range_it_is_told(tmp_path, caplog):
    features = model_file(tmp_path / "m.keras", rescaling=False)
    image = images(8)
    path = str(tmp_path / "m.keras")
    with caplog.at_level(logging.WARNING, "imgtext_tf.encoders"):
        guessed = encoders.image_encoder(path)
    assert "m.keras" in caplog.text
    np.testing.assert_allclose(
        np.asarray(guessed(image)), np.asarray(features(2 * image - 1)), atol=1e-5
    )
    caplog.clear()
    told = encoders.image_encoder(path, input_range=(-3, 7))
    assert not caplog.text
    np.testing.assert_allclose(
        np.asarray(told(image)), np.asarray(features(10 * image - 3)), atol=1e-5
    )


def test_file_at_another_size_keeps_its_weights(tmp_path):
    features = model_file(tmp_path / "m.keras", rescaling=True)
    encoder = encoders.image_encoder(str(tmp_path / "m.keras"), image_size=16)
    assert encoder.output_shape == (None, 8, 8, 5)
    # The map's corner far from the border sees the same pixels at both sizes.
    image = images(16)
    small = np.asarray(features(255 * image[:, :8, :8]))
    np.testing.assert_allclose(np.asarray(encoder(image))[:, :3, :3], small[:, :3, :3], atol=1e-5)


def test_file_without_feature_map(tmp_path):
    vector = keras.Input((4,))
    keras.Model(vector, keras.layers.Dense(2)(vector)).save(tmp_path / "flat.keras")
    with pytest.raises(ValueError, match="flat.keras.*feature map"):
        encoders.image_encoder(str(tmp_path / "flat.keras"))


def test_lite0_recognises_photos(kit):
    path = kit / "weights" / "efficientnet_lite0_imagenet.keras"
    # The file has no Rescaling layer; it was trained on (byte - 127) / 128.
    encoder = encoders.image_encoder(str(path), input_range=(-127 / 128, 1.0))
    assert encoder.input_shape == (None, 224, 224, 3)
    assert encoder.output_shape == (None, 7, 7, 1280)
    photos = sorted((kit / "imagenet" / "train").glob("*/*.JPEG"))[::75]
    pixels = [
        tf.image.resize(tf.io.decode_jpeg(photo.read_bytes(), channels=3), (224, 224)) / 255.0
        for photo in photos
    ]
    head = keras.saving.load_model(path, compile=False).get_layer("fc")
    probabilities = np.asarray(head(np.asarray(encoder(tf.stack(pixels))).mean((1, 2))))
    # With a wrong range it is unsure: 0.19 on average for bytes, against 0.67.
    assert probabilities.max(axis=1).mean() > 0.5


class HubModule(tf.Module):
    """A tiny image model as TF-Hub has them: an image's mean colour times a variable."""

    def __init__(self):
        self.factor = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    def __call__(self, image):
        return self.factor * tf.reduce_mean(image, [1, 2])


def test_hub_model(tmp_path):
    folder = str(tmp_path / "hub")
    tf.saved_model.save(HubModule(), folder)
    encoder = encoders.image_encoder(f"hub:{folder}", image_size=8)
    image = images(8)
    assert encoder.output_shape == (None, 1, 1, 3)
    assert encoder.trainable_weights == []
    expected = 3 * image.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(np.asarray(encoder(image)), expected, rtol=1e-5)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(np.asarray(loaded(image)), expected, rtol=1e-5)


def test_hub_model_of_signatures_only(tmp_path):
    module = tf.Module()
    module.serve = tf.function(
        lambda image: {"map": 2 * image[:, ::4, ::4]},
        input_signature=[tf.TensorSpec([None, 8, 8, 3], name="image")],
    )
    folder = os.fspath(tmp_path / "hub")
    tf.saved_model.save(module, folder, signatures=module.serve)
    encoder = encoders.image_encoder(f"hub:{folder}", image_size=8)
    image = images(8)
    np.testing.assert_allclose(np.asarray(encoder(image)), 2 * image[:, ::4, ::4], rtol=1e-5)


class TrainedHubModule(tf.Module):
    """One that, like most, asks whether it is trained: then its output is doubled."""

    def __init__(self):
        self.factor = tf.Variable(3.0)
        self.fixed = tf.Variable(1.0, trainable=False)

    @tf.function
    def __call__(self, image, training=False):
        return (2 if training else 1) * self.fixed * self.factor * tf.reduce_mean(image, [1, 2])


@pytest.mark.parametrize("trainable", [False, True])
def test_hub_models_are_frozen_or_tuned(tmp_path, trainable):
    module, folder = TrainedHubModule(), os.fspath(tmp_path / "hub")
    for training in (False, True):
        module.__call__.get_concrete_function(tf.TensorSpec([None, 8, 8, 3]), training=training)
    tf.saved_model.save(module, folder)
    encoder = encoders.image_encoder(f"hub:{folder}", image_size=8, trainable=trainable)
    image = images(8)
    mean = image.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(np.asarray(encoder(image)), 3 * mean, rtol=1e-5)
    trained = (6 if trainable else 3) * mean
    np.testing.assert_allclose(np.asarray(encoder(image, training=True)), trained, rtol=1e-5)
    assert len(encoder.trainable_weights) == trainable
    assert len(encoder.weights) == 2
    if trainable:
        encoder.compile("sgd", "mse")
        encoder.train_on_batch(image, np.zeros_like(mean))
        factor = float(encoder.trainable_weights[0].numpy())
        assert factor < 3
        encoder.save(tmp_path / "tuned.keras")
        loaded = keras.saving.load_model(tmp_path / "tuned.keras")
        np.testing.assert_allclose(np.asarray(loaded(image)), factor * mean, rtol=1e-5)


def test_unknown_backbone_lists_the_known():
    with pytest.raises(ValueError, match="'resnet5'.*inception_resnet_v2"):
        encoders.image_encoder("resnet5")
