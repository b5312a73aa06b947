"""The battery that every layer goes through."""

import keras
import numpy as np


def check_layer(make_layer, *arguments, tmp_path):
    """Builds, calls, saves, loads and trains a layer.

    Args:
        make_layer: makes a new layer; called under two dtype policies.
        *arguments: the call's arguments: arrays, or lists or dicts of arrays, of two examples or
            more; each first axis is the batch.
        tmp_path: pytest's.

    Returns:
        (layer, its eager output as an array).
    """
    keras.utils.set_random_seed(1)
    layer = make_layer()
    eager = np.asarray(layer(*arguments))
    assert layer.built
    assert np.isfinite(eager).all()

    model = _model_of(layer, arguments)
    for expected, actual in zip(model.output.shape, eager.shape, strict=True):
        assert expected in (None, actual)
    inputs = keras.tree.flatten(arguments)
    _assert_close(model(inputs), eager)

    path = tmp_path / "layer.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)  # Safe mode: a Lambda layer would fail.
    np.testing.assert_array_equal(np.asarray(loaded(inputs)), np.asarray(model(inputs)))

    _check_mixed_precision(make_layer, arguments, layer, eager)
    _check_fit(model, inputs)
    return layer, eager


def _model_of(layer, arguments):
    """A functional model of the layer's call, all axes but the last of floats unknown."""
    symbols = keras.tree.map_structure(_symbol, list(arguments))
    return keras.Model(keras.tree.flatten(symbols), layer(*symbols))


def _symbol(array):
    array = np.asarray(array)
    shape = [None] * (array.ndim - 1)
    if shape and array.dtype == np.float32:
        shape[-1] = array.shape[-1]
    return keras.Input(shape, dtype=str(array.dtype))


def _check_mixed_precision(make_layer, arguments, layer, expected):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = make_layer()
        output = half(*arguments)
    finally:
        keras.config.set_dtype_policy(policy)
    assert keras.backend.standardize_dtype(output.dtype) == "float16"
    assert all(weight.dtype == "float32" for weight in half.trainable_weights)
    half.set_weights(layer.get_weights())
    np.testing.assert_allclose(
        np.asarray(half(*arguments), dtype="float32"), expected, rtol=2e-2, atol=2e-2
    )


def _check_fit(model, inputs):
    pooled = keras.layers.Flatten()(keras.ops.mean(model.output, axis=1, keepdims=True))
    if pooled.shape[-1] is None:  # Images of any size.
        pooled = keras.ops.mean(pooled, axis=-1, keepdims=True)
    trained = keras.Model(model.inputs, keras.layers.Dense(1)(pooled))
    trained.compile("sgd", "mse")
    before = model.get_weights()
    loss = trained.fit(inputs, np.ones((len(inputs[0]), 1), "float32"), epochs=1, verbose=0)
    assert np.isfinite(loss.history["loss"]).all()
    changed = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert any(changed) or not model.trainable_weights
    model.set_weights(before)


def _assert_close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-5, atol=1e-5)
