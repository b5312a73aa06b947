"""Cross entropy over verified labels."""

import keras
import numpy as np

from imgtext_tf import losses
from tests import reference

LABELS = np.array([[1, 0, -1], [-1, -1, -1], [0, 0, 1]])
LOGITS = np.array([[2.0, -1, 50], [1, 2, 3], [0.5, 0, -3]], np.float32)


def test_equals_the_loop_form():
    found = losses.verified_cross_entropy(LABELS, LOGITS)
    expected = [reference.verified_cross_entropy(*row) for row in zip(LABELS, LOGITS, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_large_logits_do_not_overflow():
    found = losses.verified_cross_entropy(np.array([[0, 1]]), np.array([[200.0, -200.0]]))
    np.testing.assert_allclose(found, [200], rtol=1e-6)


def test_as_a_loss_of_compile():
    loss = losses.VerifiedCrossEntropy()
    mean = np.mean(losses.verified_cross_entropy(LABELS, LOGITS))
    np.testing.assert_allclose(loss(LABELS, LOGITS), mean, rtol=1e-6)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert isinstance(copy, losses.VerifiedCrossEntropy)
