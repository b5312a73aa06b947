"""Row-sparse optimisers: equal to the dense ones where rows are touched, and cheap elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import finite, layers, optimizers
from imgtext_tf.models import phrase_generator
from tests import reference

START = np.random.default_rng(0).normal(size=[7, 3]).astype(np.float32)
# Row 2 occurs three times: its gradients must be summed before they are squared.
ROWS = [2, 5, 2, 0, 2]
VALUES = np.random.default_rng(1).normal(size=[3, 5, 3]).astype(np.float32)
TOUCHED = [0, 2, 5]


def dense(values):
    gradient = np.zeros_like(START)
    np.add.at(gradient, ROWS, values)
    return gradient


def run(optimizer, *, sparse, steps=3):
    variable = keras.Variable(START)
    for values in VALUES[:steps]:
        gradient = dense(values)
        if sparse:
            gradient = tf.IndexedSlices(values, ROWS, START.shape)
        else:
            gradient = tf.constant(gradient)
        optimizer.apply([gradient], [variable])
    return variable.numpy()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (optimizers.LazyAdam, keras.optimizers.Adam),
        (optimizers.SparseAdagrad, keras.optimizers.Adagrad),
    ],
)
def test_equals_the_dense_optimiser_on_touched_rows(ours, theirs):
    mine, other = run(ours(0.1), sparse=True), run(theirs(0.1), sparse=False)
    np.testing.assert_allclose(mine[TOUCHED], other[TOUCHED], rtol=1e-5)
    untouched = np.setdiff1d(range(7), TOUCHED)
    np.testing.assert_array_equal(mine[untouched], START[untouched])
    np.testing.assert_allclose(run(ours(0.1), sparse=False), other, rtol=1e-5)


def test_keras_takes_repeated_rows_for_several_gradients():
    """Why the rows are summed first. If this fails, Keras has mended it."""
    theirs = run(keras.optimizers.Adagrad(0.1), sparse=True, steps=1)
    assert np.abs(
        theirs[2] - run(keras.optimizers.Adagrad(0.1), sparse=False, steps=1)[2]
    ).max() > (1e-3)


def test_lazy_adam_equals_the_loop_form():
    weights = START.astype(float).copy()
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step, values in enumerate(VALUES, 1):
        gradient = dense(values)
        for row in TOUCHED:
            for column in range(3):
                place = row, column
                weights[place], first[place], second[place] = reference.adam_step(
                    weights[place], first[place], second[place], gradient[place], step, 0.1
                )
    np.testing.assert_allclose(
        run(optimizers.LazyAdam(0.1), sparse=True), weights, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("sparse", [True, False])
def test_row_wise_adagrad_equals_the_loop_form(sparse):
    weights, sums = START.astype(float).copy(), [0.1] * 7
    for values in VALUES:
        for row, slope in enumerate(dense(values)):
            if row in TOUCHED:
                sums[row] += sum(slope**2) / 3
                weights[row] -= 0.1 * slope / np.sqrt(sums[row] + 1e-7)
    optimizer = optimizers.SparseAdagrad(0.1, row_wise=True)
    np.testing.assert_allclose(run(optimizer, sparse=sparse), weights, rtol=1e-4, atol=1e-5)
    assert [v.shape for v in optimizer.variables if "accumulator" in v.path] == [(7, 1)]


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.LazyAdam(0.02),
        optimizers.SparseAdagrad(0.3),
        optimizers.SparseAdagrad(0.3, row_wise=True),
    ],
    ids=["adam", "adagrad", "row_wise"],
)
def test_trains_the_generator_in_fit(optimizer, tmp_path):
    """Eight kinds of images, each with its queries; the rest of 500 queries never occurs."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(8, size=512)
    images = np.eye(8, dtype=np.float32)[kinds][:, None, None] + 0.1 * rng.normal(
        size=[512, 1, 1, 8]
    )
    keras.utils.set_random_seed(1)
    model = phrase_generator.phrase_generator(
        num_queries=500, feature_shape=(1, 1, 8), embedding_dim=16, num_sampled=50, seed=1
    )
    phrase_generator.compile_generator(model, optimizer)
    before = phrase_generator.query_weights(model)
    x = {"image_features": images, "query": kinds * 3}
    y = {"candidates": np.zeros(512)}
    losses = model.fit(x, y, batch_size=32, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert np.abs(phrase_generator.query_weights(model) - before).max() > 0.01
    embedding = phrase_generator.embedder(model)({"image_features": images})["embedding"]
    logits = model.get_layer("queries")(embedding).numpy()
    assert (logits[:, :24].argmax(1) == kinds * 3).mean() > 0.9
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == optimizer.get_config()
    np.testing.assert_array_equal(
        phrase_generator.query_weights(loaded), phrase_generator.query_weights(model)
    )


CLASSES = 9973  # a prime that no other length of the model is a multiple of


def sizes_in_a_step(optimizer, sampler, max_elements):
    """All lengths of all arrays that the operations of a training step make."""
    image, query = keras.Input((8,), name="image"), keras.Input((), dtype="int64", name="query")
    options = {"sampler": sampler, "num_sampled": 50, "max_elements": max_elements}
    head = layers.CosineSoftmax(CLASSES, dtype="float32", **options)
    model = keras.Model(
        {"image": image, "query": query}, head(keras.layers.Dense(16)(image), query)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    optimizer.build(model.trainable_variables)
    looks = finite.FiniteWeights(model)
    batch = {"image": tf.zeros([4, 8]), "query": tf.range(4, dtype=tf.int64)}, tf.zeros([4])
    steps = [tf.function(lambda: model.train_step(batch)), tf.function(looks._check)]
    operations = [
        op for step in steps for op in step.get_concrete_function().graph.get_operations()
    ]
    shapes = [output.shape for op in operations for output in op.outputs]
    return {length for shape in shapes if shape.rank for length in shape}


@pytest.mark.parametrize("sampler", ["log_uniform", "uniform", "mixed", "in_batch"])
@pytest.mark.parametrize("parts", [1, 3])
def test_no_operation_of_a_step_is_as_long_as_the_classes(sampler, parts):
    """The cost of a step does not grow with them: whatever is as long as the table would."""
    part = -(-CLASSES // parts)
    for optimizer in (
        optimizers.LazyAdam(0.1),
        optimizers.SparseAdagrad(0.1, row_wise=True),
    ):
        found = sizes_in_a_step(optimizer, sampler, 16 * part)
        assert not {CLASSES, part, CLASSES // parts} & found and 16 in found
    assert part in sizes_in_a_step(keras.optimizers.Adam(0.1), sampler, 16 * part), "Keras' does"


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="amsgrad"):
        optimizers.LazyAdam(amsgrad=True)


@pytest.mark.parametrize("option", ["clipnorm", "clipvalue", "global_clipnorm"])
@pytest.mark.parametrize("ours", [optimizers.LazyAdam, optimizers.SparseAdagrad])
def test_clipping_of_unsummed_rows_is_refused(ours, option):
    with pytest.raises(ValueError, match=f"has no {option}"):
        ours(0.1, **{option: 1.0})


def test_the_head_wants_no_xla():
    assert not layers.CosineSoftmax(9, num_sampled=3).supports_jit
