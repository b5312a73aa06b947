import keras
import numpy as np
import pytest

from imgtext_tf import losses


def test_adjusted_cross_entropy_by_hand():
    # Equal scores, shares 1 : 3: the adjusted softmax is (1/4, 3/4).
    loss = losses.AdjustedCrossEntropy([10, 30], reduction="none")
    actual = np.asarray(loss(np.array([0, 1]), np.zeros((2, 2), "float32")))
    np.testing.assert_allclose(actual, [-np.log(0.25), -np.log(0.75)], rtol=1e-6)


def test_half_the_strength_takes_the_root_of_the_shares():
    loss = losses.AdjustedCrossEntropy([1, 9], strength=0.5, reduction="none")
    # Shares 1 : 3, times the odds exp(1) : 1 of the scores.
    actual = np.asarray(loss(np.array([0]), np.array([[1.0, 0.0]], "float32")))
    np.testing.assert_allclose(actual, [-np.log(np.e / (np.e + 3))], rtol=1e-6)


def test_without_strength_it_is_the_plain_loss():
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = losses.AdjustedCrossEntropy([1, 2, 3], strength=0.0)
    labels = np.array([0, 1, 2, 1, 0])
    np.testing.assert_allclose(float(loss(labels, logits)), float(plain(labels, logits)), rtol=1e-6)


def test_it_is_rebuilt_from_its_config():
    loss = losses.AdjustedCrossEntropy([1, 2], strength=0.5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (again.shares, again.strength) == ([1.0, 2.0], 0.5)


def test_a_class_without_examples_is_refused():
    with pytest.raises(ValueError, match="a class without examples"):
        losses.AdjustedCrossEntropy([1, 0])
