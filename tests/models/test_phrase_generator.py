"""The phrase generator: its embedding, its weights, and a live backbone."""

import keras
import numpy as np
import pytest

from imgtext_tf import encoders
from imgtext_tf.models import phrase_generator

FEATURES = np.random.default_rng(0).normal(size=[3, 2, 2, 5]).astype(np.float32)


def make(shape=(2, 2, 5), **kwargs):
    settings = {"num_queries": 11, "num_sampled": 4, "embedding_dim": 6, "seed": 1} | kwargs
    return phrase_generator.phrase_generator(feature_shape=shape, **settings)


def test_the_paper_s_sizes():
    """Section 3.2: a bottleneck of 64 over ResNet-101's 2048 channels."""
    model = phrase_generator.phrase_generator(num_queries=5000, feature_shape=(7, 7, 2048))
    assert model.get_layer("embedding").kernel.shape == (2048, 64)
    assert phrase_generator.query_weights(model).shape == (5000, 64)


def test_the_embedding_is_a_linear_map_of_the_mean():
    model = make(dropout=0.5)
    embedder = phrase_generator.embedder(model)
    assert list(embedder.input) == ["image_features"]
    kernel, bias = (w.numpy() for w in model.get_layer("embedding").weights)
    for features, found in zip(
        FEATURES, embedder({"image_features": FEATURES})["embedding"].numpy(), strict=True
    ):
        expected = features.reshape(4, 5).mean(0) @ kernel + bias
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_hidden_layers_come_before_the_bottleneck():
    model = make(hidden_units=(8, 7))
    assert model.get_layer("embedding").kernel.shape == (7, 6)


def test_a_live_backbone_and_a_saved_model(tmp_path):
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32)
    model = make(encoder.output_shape[1:])
    live = phrase_generator.with_backbone(model, encoder)
    images = np.random.default_rng(1).uniform(size=[2, 32, 32, 3]).astype(np.float32)
    embedder = phrase_generator.embedder(live)
    found = embedder({"image": images})["embedding"].numpy()
    maps = encoder.predict_on_batch(images)
    cached = phrase_generator.embedder(model)({"image_features": maps})["embedding"]
    np.testing.assert_allclose(found, cached, rtol=1e-4, atol=1e-5)
    assert live({"image": images, "query": np.array([1, 2])})["candidates"].shape[0] == 2
    live.save(tmp_path / "live.keras")
    loaded = keras.saving.load_model(tmp_path / "live.keras")
    again = phrase_generator.embedder(loaded)({"image": images})["embedding"]
    np.testing.assert_allclose(again, found, rtol=1e-5)
    np.testing.assert_array_equal(
        phrase_generator.query_weights(loaded), phrase_generator.query_weights(model)
    )
    with pytest.raises(ValueError, match="256 channels, not 5"):
        phrase_generator.with_backbone(make(), encoder)
