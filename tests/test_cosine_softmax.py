"""The softmax over many classes: against a loop, against all classes, and what it samples."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import layers
from tests import layer_checks, reference

X = np.random.default_rng(0).normal(size=[6, 5]).astype(np.float32)
LABELS = np.array([3, 0, 3, 11, 7, 2])


def head(num_classes=12, dim=5, **kwargs):
    layer = layers.CosineSoftmax(num_classes, **{"num_sampled": 5, "seed": 4} | kwargs)
    layer.build((None, dim))
    return layer


def table_of(layer):
    return np.concatenate([part.numpy() for part in layer.tables])


def test_battery(tmp_path):
    layer, logits = layer_checks.check_layer(
        lambda: layers.CosineSoftmax(9, num_sampled=4, seed=1), X, tmp_path=tmp_path
    )
    for row, x in zip(logits, X, strict=True):
        expected = [20 * reference.cosine(w, x) for w in table_of(layer)]
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_equation_1(scale):
    """p_c of all queries, from the cosine distance itself."""
    layer = head(scale=scale)
    probabilities = tf.nn.softmax(layer(X)).numpy()
    for row, x in zip(probabilities, X, strict=True):
        expected = reference.query_probabilities(table_of(layer), x, scale)
        np.testing.assert_allclose(row, expected, rtol=1e-4)


@pytest.mark.parametrize("sampler", ["log_uniform", "uniform", "in_batch", "mixed"])
def test_candidates_equal_the_loop_form(sampler, monkeypatch):
    layer = head(sampler=sampler)
    counts = np.arange(12, 0, -1)
    if sampler in ("in_batch", "mixed"):
        layer.set_frequencies(counts)
    drawn = [1, 3, 1, 9, 3, 0]
    monkeypatch.setattr(layer, "_draw", lambda: tf.constant(drawn, tf.int64))
    candidates = layer(X, LABELS).numpy()
    expected = reference.sampled_logits(
        table_of(layer),
        X,
        LABELS,
        scale=20,
        drawn={"in_batch": [], "mixed": drawn}.get(sampler, drawn),
        draws=layer.draws,
        log_uniform=sampler == "log_uniform",
        batch_counts=counts if sampler in ("in_batch", "mixed") else None,
    )
    assert candidates.shape == expected.shape
    np.testing.assert_allclose(candidates, expected, rtol=1e-4, atol=1e-4)


def test_full_is_the_softmax_over_all_classes():
    layer = head(sampler="full")
    losses = keras.losses.SparseCategoricalCrossentropy(True, reduction=None)
    sampled = losses(np.zeros(6), layer(X, LABELS)).numpy()
    np.testing.assert_allclose(sampled, losses(LABELS, layer(X)).numpy(), rtol=1e-5)


@pytest.mark.parametrize("sampler", ["log_uniform", "uniform"])
def test_the_chance_to_be_drawn_is_what_is_subtracted(sampler):
    layer = head(200, sampler=sampler, num_sampled=40)
    drawn = np.zeros(200)
    times, sizes = 3000, []
    for _ in range(times):
        ids, log_q = layer._sample(tf.constant([0], tf.int64))
        assert len(set(ids.numpy())) == len(ids)
        drawn[ids.numpy()] += 1
        sizes.append(len(ids))
    chance = np.exp(log_q(tf.range(200, dtype=tf.int64)).numpy())
    assert np.mean(sizes) == pytest.approx(40, rel=0.03)
    # Five standard deviations of a share of `times` draws.
    assert (np.abs(drawn / times - chance) < 5 * np.sqrt(0.25 / times)).all()


def test_the_correction_has_no_floor():
    """At 40 million classes a class is drawn with a chance of 1e-7: no clipping there."""
    layer = layers.CosineSoftmax(40_000_000, sampler="uniform", num_sampled=4)
    log_p = layer._log_probability(tf.constant([39_999_999], tf.int64)).numpy()[0]
    assert log_p == pytest.approx(-np.log(4e7), rel=1e-6)
    layer = layers.CosineSoftmax(40_000_000, num_sampled=4096)
    log_p = layer._log_probability(tf.constant([39_999_999], tf.int64)).numpy()[0]
    assert log_p == pytest.approx(np.log(np.log1p(1 / 4e7) / np.log1p(4e7)), rel=1e-6)
    drawn = layer._draw().numpy()
    assert drawn.min() == 0 and 20_000_000 < drawn.max() < 40_000_000
    assert (drawn[drawn > 2**24] % 2).any(), "odd ids beyond 2**24 can be drawn, too"


def test_accidental_hits_are_masked(monkeypatch):
    monkeypatch.setattr(
        layers.CosineSoftmax, "_draw", lambda self: tf.constant([3, 5, 7], tf.int64)
    )
    masked = head()(X, LABELS).numpy()[:, 1:] < -1e8
    assert masked.tolist() == [[label == other for other in (3, 5, 7)] for label in LABELS]
    assert head(remove_hits=False)(X, LABELS).numpy().min() > -1e3


def test_a_table_in_several_variables_is_the_same_table():
    whole, parts = head(), head(max_elements=20)
    assert [table.shape[0] for table in parts.tables] == [4, 4, 4]
    uneven = head(max_elements=25)
    assert [table.shape[0] for table in uneven.tables] == [4, 4, 4]
    uneven = head(11, max_elements=20)
    assert [table.shape[0] for table in uneven.tables] == [4, 4, 3]
    first = table_of(whole)
    for start, table in zip((0, 4, 8), parts.tables, strict=True):
        table.assign(first[start : start + 4])
    np.testing.assert_allclose(parts(X, LABELS), whole(X, LABELS), rtol=1e-5)
    np.testing.assert_array_equal(
        uneven._rows(tf.range(11, dtype=tf.int64)).numpy(), table_of(uneven)
    )
    assert len({table.numpy().tobytes() for table in parts.tables}) == 3


def test_no_variable_has_more_elements_than_32_bits_can_count(monkeypatch):
    """40 million queries of 64 numbers: 2.56 billion."""
    shapes = []
    monkeypatch.setattr(
        layers.CosineSoftmax,
        "add_weight",
        lambda self, shape, **kwargs: shapes.append(shape) or types.SimpleNamespace(),
    )
    layers.CosineSoftmax(40_000_000, num_sampled=4096).build((None, 64))
    assert shapes == [(20_000_000, 64)] * 2
    shapes.clear()
    layers.CosineSoftmax(33_554_431, num_sampled=4096).build((None, 64))
    assert shapes == [(33_554_431, 64)], "2**31 - 64 fit into one"


def test_the_gradient_has_the_touched_rows_only():
    layer = head(1000)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(X, LABELS))
    (gradient,) = tape.gradient(loss, [layer.tables[0].value])
    assert isinstance(gradient, tf.IndexedSlices)
    assert gradient.values.shape[0] <= 6 + layer.draws


def test_the_scale_is_learnt_up_to_a_limit():
    layer = head(learn_scale=True)
    assert layer._scale().numpy() == pytest.approx(20)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(layer(X, LABELS)[:, 0])
    assert tape.gradient(loss, layer.log_scale.value).numpy() != 0
    layer.log_scale.assign(9)
    assert layer._scale().numpy() == 100


def test_samples_go_on_from_the_saved_state():
    layer, other = head(), head()
    layer(X, LABELS)
    other.seed_generator.state.assign(layer.seed_generator.state)
    np.testing.assert_array_equal(layer(X, LABELS), other(X, LABELS))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="unknown sampler"):
        layers.CosineSoftmax(9, sampler="other")
    with pytest.raises(ValueError, match="fewer than all"):
        layers.CosineSoftmax(9, num_sampled=9)
    with pytest.raises(ValueError, match="12 positive numbers"):
        head(sampler="mixed").set_frequencies(np.zeros(12))
