import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import evaluation


@pytest.fixture(scope="module")
def echo():
    """A model whose logits are its input."""
    inputs = keras.Input([3], name="x")
    outputs = keras.layers.Activation("linear", name="logits")(inputs)
    return keras.Model({"x": inputs}, {"logits": outputs})


def batches(logits, labels, ids, *, batch_size=2):
    data = ({"x": np.array(logits, np.float32), "id": ids}, np.array(labels, np.int32))
    return tf.data.Dataset.from_tensor_slices(data).batch(batch_size)


LOGITS = [[2.0, 0, 0], [0, 1, 0], [0, 0, 3]]


def test_predict_keeps_the_order_and_the_short_last_batch(echo):
    arrays = evaluation.predict(echo, batches(LOGITS, [0, 2, 2], ["c", "a", "é"]), progress=False)
    assert arrays["ids"].tolist() == ["c", "a", "é"]
    assert arrays["labels"].tolist() == [0, 2, 2]
    np.testing.assert_array_equal(arrays["logits"], LOGITS)
    # softmax of (2, 0, 0): e^2 / (e^2 + 2)
    assert arrays["probabilities"][0, 0] == pytest.approx(np.e**2 / (np.e**2 + 2))
    np.testing.assert_allclose(arrays["probabilities"].sum(axis=1), 1, rtol=1e-6)


def test_evaluate_classifier_gives_hand_worked_metrics(echo):
    metrics, arrays = evaluation.evaluate_classifier(
        echo, batches(LOGITS, [0, 2, 2], ["c", "a", "b"]), ["x", "y", "z"], progress=False
    )
    # Cross entropy: log(e^2 + 2) - 2, log(e + 2) - 0, log(e^3 + 2) - 3.
    expected = np.mean([np.log(np.e**2 + 2) - 2, np.log(np.e + 2), np.log(np.e**3 + 2) - 3])
    assert metrics["loss"] == pytest.approx(expected, rel=1e-6)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["recall/z"] == 0.5 and metrics["precision/z"] == 1
    assert metrics["support/y"] == 0
    assert arrays["predicted"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(arrays["confusion_matrix"], [[1, 0, 0], [0, 0, 0], [0, 1, 1]])


def test_the_loss_of_huge_logits_is_finite(echo):
    data = batches([[1000.0, 0, -1000]], [2], ["a"])
    metrics, _ = evaluation.evaluate_classifier(echo, data, ["x", "y", "z"], progress=False)
    assert metrics["loss"] == pytest.approx(2000)


def test_sample_weights_are_ignored(echo):
    weighted = batches(LOGITS, [0, 2, 2], ["c", "a", "b"]).map(lambda x, y: (x, y, tf.zeros(1)))
    assert len(evaluation.predict(echo, weighted, progress=False)["ids"]) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (batches(LOGITS, [0, 0, 0], ["a", "b", "a"]), "'a' occurs more than once"),
        (batches(LOGITS, [0, 0, 0], ["a", "b", "c"]).take(0), "empty"),
        (batches(LOGITS, [0, 0, 0], ["a", "b", "c"]).map(lambda x, y: ({"x": x["x"]}, y)), "`id`"),
    ],
)
def test_data_that_cannot_be_joined_raises(echo, data, message):
    with pytest.raises(evaluation.EvaluationError, match=message):
        evaluation.predict(echo, data, progress=False)


def test_a_model_of_other_classes_raises(echo):
    data = batches(LOGITS, [0, 0, 0], ["a", "b", "c"])
    with pytest.raises(evaluation.EvaluationError, match="3 outputs for 2 classes"):
        evaluation.evaluate_classifier(echo, data, ["x", "y"], progress=False)


def test_batches_of_other_shapes_are_not_traced_anew():
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, x):
            traced.append(1)
            return keras.ops.sum(x, axis=1)

    inputs = keras.Input([None, 3], name="x")
    model = keras.Model({"x": inputs, "y": keras.Input([1], name="y")}, Counting()(inputs))
    del traced[:]
    logits_of = evaluation.forward(model)
    for length in (1, 2, 5):
        batch = {"x": np.ones([4, length, 3]), "y": np.zeros([4, 1]), "more": None}
        np.testing.assert_array_equal(logits_of(batch), np.full([4, 3], length))
    assert len(traced) == 1
