import keras
import numpy as np
import pytest

from imgtext_tf import layers
from tests import reference
from tests.layer_checks import check_layer

RNG = np.random.default_rng(0)


def batch(*shape):
    words = RNG.normal(size=shape).astype("float32")
    real = np.arange(shape[1]) < np.array([[shape[1]], [2], [1]])[: shape[0]]
    return words, real


def with_bias(layer):
    layer.bias.assign(RNG.normal(size=layer.bias.shape))
    return layer


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_gru_equals_the_loop_form(tmp_path, sequences, backward):
    words, real = batch(3, 4, 5)

    def make():
        return layers.MaskedGRU(6, return_sequences=sequences, backward=backward)

    layer, _ = check_layer(make, words, real, tmp_path=tmp_path)
    output = np.asarray(with_bias(layer)(words, real))
    for row in range(3):
        inputs = words[row][real[row]]
        states = reference.gru(inputs[::-1] if backward else inputs, *layer.get_weights())
        if sequences:
            expected = states[::-1] if backward else states
            np.testing.assert_allclose(output[row][real[row]], expected, atol=1e-5)
        else:
            np.testing.assert_allclose(output[row], states[-1], atol=1e-5)


def test_gru_and_its_gradients_equal_those_of_keras():
    import tensorflow as tf

    words, real = batch(3, 4, 5)
    ours, theirs = layers.MaskedGRU(6), keras.layers.GRU(6)
    ours(words, real)
    with_bias(ours)
    theirs.build(words.shape)
    theirs.set_weights(ours.get_weights())
    found = []
    for layer, call in ((ours, lambda x: ours(x, real)), (theirs, lambda x: theirs(x, mask=real))):
        values = tf.constant(words)
        with tf.GradientTape() as tape:
            tape.watch(values)
            output = call(values)
            loss = tf.reduce_sum(output * tf.range(6.0) ** 2)
        variables = [variable.value for variable in layer.trainable_variables]
        found.append([output, *tape.gradient(loss, [values, *variables])])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(other), atol=2e-5)


@pytest.mark.parametrize("backward", [False, True])
def test_padding_changes_no_state_and_no_gradient(backward):
    import tensorflow as tf

    words, real = batch(3, 4, 5)
    layer = layers.MaskedGRU(6, backward=backward)
    padded = np.pad(words, [(0, 0), (0, 3), (0, 0)], constant_values=9)
    more = np.pad(real, [(0, 0), (0, 3)])
    np.testing.assert_allclose(layer(words, real), layer(padded, more), atol=1e-6)
    values = tf.constant(padded)
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(layer(values, more))
    gradient = tape.gradient(loss, values).numpy()
    assert not gradient[~more].any() and gradient[more].any(axis=-1).all()


def test_a_row_without_words_is_zero():
    words, _ = batch(2, 4, 5)
    output = layers.MaskedGRU(6)(words, np.zeros([2, 4], bool))
    np.testing.assert_array_equal(np.asarray(output), np.zeros([2, 6]))


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_pooling_by_hand(tmp_path, mode):
    states, real = batch(3, 4, 5)
    real[2] = False
    _, output = check_layer(lambda: layers.MaskedPooling(mode), states, real, tmp_path=tmp_path)
    pool = np.mean if mode == "mean" else np.max
    for row in (0, 1):
        np.testing.assert_allclose(output[row], pool(states[row][real[row]], axis=0), atol=1e-6)
    np.testing.assert_array_equal(output[2], 0)


def test_unknown_pooling():
    with pytest.raises(ValueError, match="mean or max"):
        layers.MaskedPooling("sum")
