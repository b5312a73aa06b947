import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import layers
from tests.layer_checks import check_layer


def test_l2_normalize_by_hand(tmp_path):
    values = np.array([[3, 4], [0, -2]], "float32")
    _, output = check_layer(layers.L2Normalize, values, tmp_path=tmp_path)
    np.testing.assert_allclose(output, [[0.6, 0.8], [0, -1]], atol=1e-6)


def test_a_zero_vector_gives_zeros_and_a_finite_gradient():
    values = tf.zeros([2, 3])
    with tf.GradientTape() as tape:
        tape.watch(values)
        output = layers.L2Normalize()(values)
    np.testing.assert_array_equal(output, np.zeros([2, 3]))
    assert np.isfinite(tape.gradient(output, values)).all()


def test_gradient_reversal_keeps_values(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    layer, output = check_layer(lambda: layers.GradientReversal(0.5), values, tmp_path=tmp_path)
    np.testing.assert_array_equal(output, values)
    assert layer.trainable_weights == []


@pytest.mark.parametrize("strength", [0.0, 0.25, 2.0])
def test_gradient_is_reversed_and_scaled(strength):
    layer = layers.GradientReversal()
    layer.strength.assign(strength)
    values = tf.constant([[1.0, -2.0]])
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(layer(values) ** 2)
    np.testing.assert_allclose(tape.gradient(loss, values), -strength * 2 * values.numpy())


def test_a_changed_strength_counts_in_a_compiled_graph_and_is_saved(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.GradientReversal(1.0, name="reversal")(inputs))

    @tf.function
    def gradient(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(model(values))
        return tape.gradient(loss, values)

    values = tf.ones([1, 2])
    np.testing.assert_array_equal(gradient(values), -np.ones([1, 2]))
    model.get_layer("reversal").strength.assign(0.5)
    np.testing.assert_array_equal(gradient(values), -0.5 * np.ones([1, 2]))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.get_layer("reversal").strength) == 0.5


def test_dann_ramp():
    # 2 / (1 + e^-5) - 1 = 0.986614 at half time.
    np.testing.assert_allclose(
        layers.dann_ramp([0.0, 0.5, 1.0]), [0, 0.986614, 0.999909], atol=1e-6
    )
