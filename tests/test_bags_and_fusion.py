"""Bags of grams, scores of pairs and bilinear fusion: the battery and loop forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import layers
from tests import layer_checks, reference

RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=[4, d]).astype(np.float32) for d in (3, 5))


def test_row_embedding(tmp_path):
    ids = np.array([[1, 0, 3], [2, 2, 0]], np.int32)
    layer, rows = layer_checks.check_layer(
        lambda: layers.RowEmbedding(5, 4), ids, tmp_path=tmp_path
    )
    table = layer.table.numpy()
    for row, one in zip(rows, ids, strict=True):
        for vector, place in zip(row, one, strict=True):
            np.testing.assert_allclose(vector, table[place] if place else np.zeros(4))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(ids))
    assert isinstance(tape.gradient(loss, layer.table.value), tf.IndexedSlices)


@pytest.mark.parametrize("root", [False, True])
def test_bag_pooling(root, tmp_path):
    states = RNG.normal(size=[2, 3, 4]).astype(np.float32)
    real = np.array([[True, False, True], [False, False, False]])
    _, pooled = layer_checks.check_layer(
        lambda: layers.BagPooling(root=root), states, real, tmp_path=tmp_path
    )
    expected = (states[0, 0] + states[0, 2]) / (np.sqrt(2) if root else 2)
    np.testing.assert_allclose(pooled, [expected, np.zeros(4)], rtol=1e-5)


def test_own_rows(tmp_path):
    # With several replicas: tests/test_distribution.py.
    layer_checks.check_layer(layers.OwnRows, B, A, tmp_path=tmp_path)


def test_pair_scores():
    b = RNG.normal(size=[4, 3]).astype(np.float32)
    group = np.array([1, 2, 1, 3])
    scores = layers.PairScores(scale=20)(A, b, group).numpy()
    for row in range(4):
        for column in range(4):
            same = group[row] == group[column] and row != column
            expected = -1e9 if same else 20 * reference.cosine(A[row], b[column])
            assert scores[row, column] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    # Other groups that hold the same text are not wrong either.
    first, second = np.array([7, 7, 8, 9]), np.array([4, 5, 5, 8])
    known = layers.PairScores(scale=20)(A, b, group, first, second).numpy()
    right = {(0, 2), (2, 0), (0, 1), (1, 0), (1, 2), (2, 1), (2, 3)}
    for row in range(4):
        for column in range(4):
            assert (known[row, column] == -1e9) == ((row, column) in right)
    learnt = layers.PairScores(scale=20, learn_scale=True)
    np.testing.assert_allclose(learnt(A, b, group), scores, rtol=1e-4)
    assert len(learnt.trainable_weights) == 1


def test_mlb(tmp_path):
    layer, fused = layer_checks.check_layer(lambda: layers.Mlb(6, rank=4), A, B, tmp_path=tmp_path)
    (u, ub), (v, vb), (p, pb) = ([w.numpy() for w in part.weights] for part in
                                 (layer.of_a, layer.of_b, layer.project))  # fmt: skip
    for row in range(4):
        expected = reference.mlb(A[row], B[row], u, ub, v, vb, p, pb)
        np.testing.assert_allclose(fused[row], expected, rtol=1e-4, atol=1e-5)


def test_mutan(tmp_path):
    layer, fused = layer_checks.check_layer(
        lambda: layers.Mutan(6, hidden=4, rank=3), A, B, tmp_path=tmp_path
    )
    parts = [
        [w.numpy() for w in part.weights]
        for part in (layer.of_a, layer.of_b, layer.core_a, layer.core_b)
    ]
    for row in range(4):
        expected = reference.mutan(A[row], B[row], *parts, rank=3)
        np.testing.assert_allclose(fused[row], expected, rtol=1e-4, atol=1e-5)


def test_the_layers_come_back_from_their_config():
    for layer in (
        layers.RowEmbedding(5, 4),
        layers.BagPooling(root=True),
        layers.PairScores(scale=3.0, learn_scale=True),
        layers.Mlb(6, rank=4),
        layers.Mutan(6, hidden=4, rank=3),
    ):
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert copy.get_config() == layer.get_config()
