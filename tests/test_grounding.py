"""Grad-CAM of a pair against its formula, with a descriptor whose gradient is known."""

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import grounding

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 6)).astype("float32")
MIX = RNG.normal(size=(3, 3)).astype("float32")


def encode(image):
    return tf.nn.relu(image[:, ::2, ::2] @ tf.constant(MIX))


def describe(maps):
    return tf.reduce_sum(maps, axis=(1, 2)) @ tf.constant(KERNEL)


def test_heatmaps_equal_the_formula():
    images = [RNG.random((6, 8, 3)).astype("float32"), RNG.random((4, 4, 3)).astype("float32")]
    first, second, top = grounding.pair_heatmaps(encode, describe, *images, dimensions=2)
    maps = [encode(image[None])[0].numpy() for image in images]
    phi = [one.sum(axis=(0, 1)) @ KERNEL for one in maps]
    assert set(top) == set(np.argsort(-(phi[0] * phi[1]))[:2])
    for own, found in enumerate((first, second)):
        # d phi_i / d A_c = KERNEL[c, i] everywhere, and so is its mean.
        weights = sum(phi[1 - own][i] * KERNEL[:, i] for i in top)
        expected = np.maximum(maps[own] @ weights, 0)
        expected = expected / expected.max() if expected.max() > 0 else expected
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.shape == maps[own].shape[:2]


def test_too_many_dimensions_are_refused():
    image = np.ones((4, 4, 3), "float32")
    with pytest.raises(ValueError, match="cannot take 7 of 6"):
        grounding.pair_heatmaps(encode, describe, image, image, dimensions=7)
