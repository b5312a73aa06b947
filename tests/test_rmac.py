"""R-MAC and the other poolings against loop-form NumPy and the grids of the original code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import layers
from imgtext_tf.layers import rmac
from tests import reference
from tests.layer_checks import check_layer

RNG = np.random.default_rng(0)
# Maps of images of 576 pixels; x, y and side of Tolias' MATLAB code under Octave.
PUBLISHED = {
    (14, 18): "0 0 14, 4 0 14, 0 0 9, 4 0 9, 9 0 9, 0 5 9, 4 5 9, 9 5 9",
    (12, 18): "0 0 12, 6 0 12, 0 0 8, 5 0 8, 10 0 8, 0 4 8, 5 4 8, 10 4 8",
    (11, 18): "0 0 11, 7 0 11, 0 0 7, 5 0 7, 11 0 7, 0 4 7, 5 4 7, 11 4 7",
    (18, 18): "0 0 18, 0 0 12, 6 0 12, 0 6 12, 6 6 12",
}
# Regions at one, two and three levels; 10 x 18 is the tie that single precision decides otherwise.
COUNTS = {
    (14, 18): (2, 8, 20), (12, 18): (2, 8, 20), (11, 18): (2, 8, 20),
    (18, 18): (1, 5, 14), (10, 18): (3, 11, 26), (9, 18): (3, 11, 26),
}  # fmt: skip


def maps(*shape):
    """Like the output of a ReLU: half of it zeros."""
    return np.maximum(RNG.normal(size=shape), 0).astype("float32")


@pytest.mark.parametrize("shape", PUBLISHED, ids=str)
def test_grid_is_the_originals(shape):
    found = layers.rmac_regions(*shape, 2)
    expected = [tuple(map(int, region.split())) for region in PUBLISHED[shape].split(",")]
    assert [(x, y, width) for x, y, width, _ in found] == expected
    assert all(width == height for _, _, width, height in found)


@pytest.mark.parametrize("shape", COUNTS, ids=str)
def test_number_of_regions(shape):
    assert tuple(len(layers.rmac_regions(*shape, levels)) for levels in (1, 2, 3)) == COUNTS[shape]


def test_grid_of_a_tall_map_is_that_of_the_wide_one_turned():
    wide = {(x, y) for x, y, _, _ in layers.rmac_regions(11, 18, 3)}
    tall = {(y, x) for x, y, _, _ in layers.rmac_regions(18, 11, 3)}
    assert wide == tall


def test_grid_of_all_shapes_equals_the_loop_form_and_the_graphs():
    in_graph = tf.function(rmac.dynamic_rmac_regions)
    for height in range(1, 22):
        for width in range(1, 22):
            expected = reference.rmac_regions(height, width, 3)
            assert layers.rmac_regions(height, width, 3) == expected
            if (height * width) % 7 == 2:  # a part of them: calls take their time
                dynamic = in_graph(tf.constant(height), tf.constant(width), 3)
                np.testing.assert_array_equal(dynamic, expected)


def test_grid_refuses_an_empty_map():
    with pytest.raises(ValueError, match="1 or more"):
        layers.rmac_regions(0, 3, 2)


@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (9, 5), (1, 1)], ids=str)
def test_rmac(tmp_path, shape):
    features = maps(2, *shape, 6)
    mean, projection = RNG.normal(size=6) / 9, RNG.normal(size=(6, 4))

    def make():
        layer = layers.RMAC(levels=2, units=4)
        layer.build((None, None, None, 6))
        layer.set_whitening(mean, projection)
        return layer

    _, output = check_layer(make, features, tmp_path=tmp_path)
    for one, actual in zip(features, output, strict=True):
        expected = reference.rmac(one, 2, mean, projection)
        np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_rmac_without_whitening_has_the_maps_depth():
    features = maps(1, 4, 5, 6)
    expected = reference.rmac(features[0], 2, np.zeros(6), np.eye(6))
    np.testing.assert_allclose(layers.RMAC()(features)[0], expected, atol=1e-6)


def test_known_and_unknown_map_shapes_agree():
    features = maps(3, 7, 10, 5)
    pool = layers.RegionMaxPool(3)
    free = tf.function(pool, input_signature=[tf.TensorSpec([None, None, None, 5])])
    np.testing.assert_array_equal(free(features), pool(features))


def test_dead_maps_and_padding_add_nothing_and_give_no_nan():
    layer = layers.RMAC(units=3)
    alive = maps(1, 4, 4, 5) + 0.1
    features = tf.Variable(np.concatenate([alive, np.zeros_like(alive)]))
    layer(features)
    layer.set_whitening(np.full(5, 0.2), RNG.normal(size=(5, 3)))
    with tf.GradientTape() as tape:
        output = layer(features)
        loss = tf.reduce_sum(output * [1.0, -2.0, 3.0])
    np.testing.assert_array_equal(output[1], np.zeros(3))
    gradient = tape.gradient(loss, features)
    assert np.isfinite(gradient).all() and np.any(gradient[0])
    np.testing.assert_array_equal(gradient[1], np.zeros_like(gradient[1]))
    regions = layer.pool(features)[:1]
    padded = np.concatenate([regions, np.zeros([1, 4, 5], "float32")], axis=1)
    np.testing.assert_allclose(layer.aggregate(padded), layer.aggregate(regions), atol=1e-7)


def test_a_whitening_of_another_backbone_is_refused():
    layer = layers.WhitenedSum(3)
    with pytest.raises(ValueError, match="build"):
        layer.set_whitening(np.zeros(5), np.zeros((5, 3)))
    layer.build((None, None, 5))
    with pytest.raises(ValueError, match="does not fit"):
        layer.set_whitening(np.zeros(6), np.zeros((6, 3)))


def test_mac(tmp_path):
    features = maps(2, 4, 3, 5)
    _, output = check_layer(layers.MAC, features, tmp_path=tmp_path)
    peak = features.max(axis=(1, 2))
    np.testing.assert_allclose(
        output, peak / np.linalg.norm(peak, axis=1, keepdims=True), atol=1e-6
    )


def test_gem(tmp_path):
    features = maps(2, 4, 3, 5) * 100
    _, output = check_layer(layers.GeM, features, tmp_path=tmp_path)
    mean = np.mean(np.maximum(features, 1e-6).astype("float64") ** 3, axis=(1, 2)) ** (1 / 3)
    np.testing.assert_allclose(
        output, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5
    )


def test_l2_normalize(tmp_path):
    vectors = np.array([[3, 4], [0, 0]], "float32")
    _, output = check_layer(layers.L2Normalize, vectors, tmp_path=tmp_path)
    np.testing.assert_allclose(output, [[0.6, 0.8], [0, 0]], atol=1e-6)


def test_the_whitening_is_trained():
    layer = layers.RMAC()
    model = keras.Sequential([keras.Input((4, 5, 3)), layer])
    assert [weight.name for weight in model.trainable_weights] == ["kernel", "bias"]
