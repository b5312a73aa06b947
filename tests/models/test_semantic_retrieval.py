"""Gordo2017's embeddings: equations, training by triplets, accumulated gradients, saving."""

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from imgtext_tf import encoders, losses
from imgtext_tf.models import semantic_retrieval
from tests import reference

RNG = np.random.default_rng(0)
CHANNELS, WORDS, TRIPLETS = 6, 11, 4


def batch(triplets=TRIPLETS):
    regions = np.abs(RNG.normal(size=(3 * triplets, 5, CHANNELS))).astype("float32")
    texts = scipy.sparse.random(3 * triplets, WORDS, 0.4, "csr", dtype="f4", random_state=1)
    weights = RNG.random(triplets).astype("float32")
    inputs = {"regions": tf.constant(regions), "tfidf": semantic_retrieval.sparse_tensor(texts)}
    return inputs, tf.constant(weights), regions, texts.toarray()


def model_of(embedding="joint", **kwargs):
    keras.utils.set_random_seed(2)
    words = None if embedding == "visual" else WORDS
    model = semantic_retrieval.semantic_retrieval(CHANNELS, vocabulary_size=words)
    kernel = np.random.default_rng(4).normal(size=(CHANNELS, CHANNELS))
    semantic_retrieval.set_whitening(model, np.full(CHANNELS, 0.3), kernel)
    weights = semantic_retrieval.EMBEDDINGS[embedding]
    model.compile(keras.optimizers.SGD(1.0), weights=weights, margin=0.4, **kwargs)
    return model


def test_losses_equal_equations_1_to_3():
    vectors = RNG.normal(size=(6, 8, 5)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    for function in (losses.visual_loss, losses.image_to_text_loss, losses.text_to_image_loss):
        found = function(*vectors[:3], margin=0.3)
        expected = [reference.ranking_loss(*three, 0.3) for three in zip(*vectors[:3], strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.any(np.asarray(found) == 0) and np.any(np.asarray(found) > 0)


def test_embeddings_equal_the_loop_form():
    model = model_of()
    inputs, _, regions, texts = batch()
    outputs = model(inputs)
    kernel, bias = model.get_layer("whitened_sum").get_weights()
    (projection,) = model.get_layer("text_projection").get_weights()
    for row in range(len(regions)):
        white = sum(reference.unit(reference.unit(one) @ kernel + bias) for one in regions[row])
        np.testing.assert_allclose(outputs["phi"][row], reference.unit(white), atol=1e-5)
        theta = reference.unit(projection.T @ texts[row])
        np.testing.assert_allclose(outputs["theta"][row], theta, atol=1e-5)


def test_the_joint_loss_is_the_sum_of_the_three():
    model = model_of()
    inputs, *_ = batch()
    outputs = {name: value.numpy() for name, value in model(inputs).items()}
    found = model.triplet_losses({name: tf.constant(value) for name, value in outputs.items()})
    phi, theta = (np.split(outputs[name], 3) for name in ("phi", "theta"))
    for row in range(TRIPLETS):
        expected = sum(
            reference.ranking_loss(q[0][row], d[1][row], d[2][row], 0.4)
            for q, d in ((phi, phi), (phi, theta), (theta, phi))
        )
        assert float(found[row]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("micro_batches", [2, 3])
def test_accumulated_gradients_equal_the_full_batchs(micro_batches):
    inputs, weights, *_ = batch()
    after = []
    for parts in (1, micro_batches):
        model = model_of(micro_batches=parts)
        before = model.get_weights()
        logs = model.train_step((inputs, weights))
        after.append((model.get_weights(), float(logs["loss"])))
    (full, loss), (parts, loss_of_parts) = after
    assert loss == pytest.approx(loss_of_parts, rel=1e-5) and loss > 0
    for one, other, start in zip(full, parts, before, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(one - start).max() > 1e-4


def test_words_of_several_texts_count_once_in_adams_squares():
    model = model_of("wsabie")
    model.optimizer = keras.optimizers.Adam(0.01, epsilon=1e-12)
    model.optimizer.build(model.trainable_variables)
    inputs, weights, *_ = batch()
    (before,) = model.get_layer("text_projection").get_weights()
    model.train_step((inputs, weights))
    (after,) = model.get_layer("text_projection").get_weights()
    moved = np.abs(after - before)
    # The first step of Adam is the learning rate, whatever the gradient.
    assert (np.isclose(moved, 0.01, rtol=1e-2) | (moved < 1e-6)).mean() > 0.98
    assert (moved > 1e-6).mean() > 0.5


def test_a_step_of_a_weighted_batch_lowers_its_mean_loss():
    model = model_of("visual")
    inputs, weights, *_ = batch()
    inputs = {"regions": inputs["regions"]}
    expected = np.mean(model.triplet_losses(model(inputs)).numpy() * weights.numpy())
    model.optimizer.learning_rate = 0.05
    first = float(model.train_step((inputs, weights))["loss"])
    assert first == pytest.approx(expected, rel=1e-5)
    assert np.mean(model.triplet_losses(model(inputs)).numpy() * weights.numpy()) < first


def test_wsabie_has_equation_2_alone():
    assert semantic_retrieval.EMBEDDINGS["wsabie"] == {"image_to_text": 1.0}
    model = model_of("wsabie")
    inputs, weights, *_ = batch()
    outputs = model(inputs)
    phi, theta = tf.split(outputs["phi"], 3), tf.split(outputs["theta"], 3)
    expected = losses.image_to_text_loss(phi[0], theta[1], theta[2], margin=0.4)
    np.testing.assert_allclose(model.triplet_losses(outputs), expected, atol=1e-6)


def test_a_model_without_texts_refuses_their_losses():
    model = semantic_retrieval.semantic_retrieval(CHANNELS)
    with pytest.raises(ValueError, match="vocabulary_size"):
        model.compile("sgd", weights=semantic_retrieval.EMBEDDINGS["joint"], margin=0.1)
    with pytest.raises(ValueError, match="without texts"):
        semantic_retrieval.text_part(model)


def live_model(embedding):
    """A model on images whose backbone is trained, with batch normalisation frozen."""
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(5, 3, strides=2, activation="relu")(image)
    hidden = keras.layers.BatchNormalization()(hidden)
    encoder = semantic_retrieval.region_encoder(keras.Model(image, hidden), levels=2)
    semantic_retrieval.freeze_batch_norm(encoder)
    words = None if embedding == "visual" else WORDS
    head = semantic_retrieval.semantic_retrieval(5, dimensions=4, vocabulary_size=words)
    model = semantic_retrieval.with_backbone(head, encoder)
    weights = semantic_retrieval.EMBEDDINGS[embedding]
    model.compile(keras.optimizers.SGD(1.0), weights=weights, margin=0.4)
    return model


@pytest.mark.parametrize("embedding", ["visual", "joint"])
def test_images_of_many_shapes_give_the_gradient_of_the_whole_batch(embedding):
    model = live_model(embedding)
    inputs, weights, *_ = batch()
    shapes = [(12, 16), (12, 16), (12, 16), (16, 12), (14, 14)]
    images = [RNG.integers(0, 256, [*shape, 3]).astype("uint8") for shape in shapes]
    rows = RNG.integers(0, 5, 3 * TRIPLETS).astype("int32")
    sizes = np.cumsum([0] + [image.size for image in images])
    chunks = [(0, 2, 12, 16), (sizes[2], 1, 12, 16), (sizes[3], 1, 16, 12), (sizes[4], 1, 14, 14)]
    some = {
        "pixels": tf.constant(np.concatenate([image.ravel() for image in images])),
        "chunks": tf.constant(chunks, tf.int32),
        "rows": tf.constant(rows),
    }
    encode, of_text = model._parts
    with tf.GradientTape() as tape:
        single = [encode({"image": image[None] / np.float32(255)})["phi"] for image in images]
        outputs = {"phi": tf.gather(tf.concat(single, axis=0), rows)}
        if embedding == "joint":
            some["tfidf"] = inputs["tfidf"]
            outputs["theta"] = of_text({"tfidf": inputs["tfidf"]})["theta"]
        expected = tf.reduce_mean(model.triplet_losses(outputs) * weights)
    gradients = tape.gradient(expected, model.trainable_variables)
    before = model.get_weights()
    paths = [variable.path for variable in model.weights]
    step = tf.function(lambda: model.train_step((some, weights)))
    assert float(step()["loss"]) == pytest.approx(float(expected), rel=1e-5)
    wanted = {
        variable.path: tf.convert_to_tensor(gradient)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    }
    assert len(wanted) == 4 + (embedding == "joint")  # convolution, whitening, text projection
    for path, old, new in zip(paths, before, model.get_weights(), strict=True):
        gradient = wanted[path].numpy() if path in wanted else 0
        np.testing.assert_allclose(old - new, gradient + np.zeros_like(old), atol=2e-6)


def test_saved_parts_and_the_model_on_pixels_agree(tmp_path):
    model = model_of()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert isinstance(loaded, semantic_retrieval.TripletModel)
    inputs, *_ = batch()
    for name, expected in model(inputs).items():
        np.testing.assert_allclose(loaded(inputs)[name], expected, atol=1e-6)
    image = encoders.image_encoder("small_cnn", weights=None, image_size=0)
    encoder = semantic_retrieval.region_encoder(image, levels=2)
    encoder.save(tmp_path / "backbone.keras")
    encoder = keras.saving.load_model(tmp_path / "backbone.keras")
    with pytest.raises(ValueError, match="256 channels"):
        semantic_retrieval.with_backbone(model, encoder)
    visual = semantic_retrieval.semantic_retrieval(256, dimensions=8)
    live = semantic_retrieval.with_backbone(visual, encoder)
    for shape in ((40, 64), (64, 40), (48, 48)):
        pixels = RNG.random((2, *shape, 3)).astype("float32")
        regions = encoder(pixels)
        expected = [
            reference.rmac(one, 2, np.zeros(256), np.eye(256)[:, :8])
            for one in image(pixels).numpy()
        ]
        np.testing.assert_allclose(live({"image": pixels})["phi"], expected, atol=1e-4)
        np.testing.assert_allclose(
            visual({"regions": regions})["phi"], live({"image": pixels})["phi"], atol=1e-5
        )
