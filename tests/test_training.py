import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from imgtext_tf import board as board_module
from imgtext_tf import event_files, finite, progress, runs, training

STEPS = 12


def build_recurrent():
    """Everything with a state: dropout in and around an RNN, batch norm, Adam, averaged weights."""
    training.set_seed(0)
    inputs = keras.Input((4, 3), name="x")
    x = keras.layers.SimpleRNN(5, dropout=0.3, recurrent_dropout=0.2)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.3)(x)
    model = keras.Model({"x": inputs}, {"logits": keras.layers.Dense(3, name="logits")(x)})
    compile_classifier(model, keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))
    return model


def build_linear(optimizer=None):
    training.set_seed(0)
    inputs = keras.Input((4, 3), name="x")
    x = keras.layers.Flatten()(inputs)
    model = keras.Model({"x": inputs}, {"logits": keras.layers.Dense(3, name="logits")(x)})
    compile_classifier(model, optimizer or keras.optimizers.SGD(0.1))
    return model


def build_averaged():
    return build_linear(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))


def compile_classifier(model, optimizer, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        optimizer, loss={"logits": loss}, metrics={"logits": ["accuracy"]}, jit_compile=False,
        **options,
    )  # fmt: skip


def batches(start, count):
    """Batches that depend on their step only."""

    def batch(step):
        x = tf.random.stateless_normal((8, 4, 3), tf.stack([step, tf.constant(7, tf.int64)]))
        return {"x": x}, tf.argmax(x[:, 0], axis=-1, output_type=tf.int32)

    return tf.data.Dataset.range(start, start + count).map(batch)


def evaluate(model, step):
    """Runs the model, as an evaluation does, and gives back the step as the accuracy."""
    model.predict_on_batch({"x": np.ones((2, 4, 3), np.float32)})
    return {"accuracy": step / 100, "loss": 1.0}


def fit(model, run, max_steps=STEPS, *, make_dataset=batches, **options):
    options = {"checkpoint_every": 5, "seed": 0} | options
    return training.fit(model, make_dataset, run=run, max_steps=max_steps, **options)


@pytest.fixture
def run(tmp_path):
    return runs.RunDirectory(tmp_path / "run")


class At(keras.callbacks.Callback):
    """Calls a function after one step of this process."""

    def __init__(self, step, function):
        super().__init__()
        self._left, self._function = step, function

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if self._left == 0:
            self._function()


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def assert_same_end(model, run, other_model, other_run):
    """All weights, optimiser slots, averages and seed states are equal bit by bit."""
    for ours, theirs in zip(model.get_weights(), other_model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (state, arrays), (other_state, other_arrays) = (
        run.load_checkpoint(),
        other_run.load_checkpoint(),
    )
    assert state | {"seconds": 0} == other_state | {"seconds": 0}
    assert arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)


# Exact resume.


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = runs.RunDirectory(tmp_path_factory.mktemp("uninterrupted"))
    model = build_recurrent()
    before = model.get_weights()
    fit(model, run, evaluate=evaluate, eval_every=4)
    # It has learnt something, or the comparisons below would say nothing.
    assert not np.array_equal(before[0], model.get_weights()[0])
    return model, run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_step_with_a_checkpoint(run, number, caplog):
    outcome = fit(build_linear(), run, callbacks=[At(7, lambda: send(number))])
    # Step 7 was over when the signal came.
    assert outcome["status"] == "stopped" and outcome["step"] == 8
    assert "run the same command to go on" in caplog.text
    assert run.newest_checkpoint().name == "step-000000008.npz"


def test_a_stopped_run_goes_on_as_if_never_stopped(uninterrupted, run):
    options = {"evaluate": evaluate, "eval_every": 4}
    outcome = fit(build_recurrent(), run, callbacks=[At(6, send)], **options)
    assert outcome["status"] == "stopped" and outcome["step"] == 7
    model = build_recurrent()
    model.set_weights([weight + 1 for weight in model.get_weights()])
    outcome = fit(model, run, **options)
    assert outcome["status"] == "finished" and outcome["step"] == STEPS
    assert_same_end(model, run, *uninterrupted)


def test_a_killed_run_goes_on_as_if_never_killed(uninterrupted, run):
    # The process kills itself halfway through writing the checkpoint of step 10.
    program = (
        "import os, pathlib, signal, sys\n"
        "import numpy as np\n"
        "sys.path[:0] = sys.argv[2:]\n"
        "import test_training as t\n"
        "save = np.savez\n"
        "def die(file, **arrays):\n"
        "    if 'step-000000010' in str(file.name):\n"
        "        file.write(b'half a checkpoint'); file.flush()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    save(file, **arrays)\n"
        "np.savez = die\n"
        "run = t.runs.RunDirectory(sys.argv[1])\n"
        "t.fit(t.build_recurrent(), run, evaluate=t.evaluate, eval_every=4)\n"
    )
    tests = pathlib.Path(__file__).parent
    command = [sys.executable, "-c", program, str(run.path), str(tests), str(tests.parent)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    # Step 8 was the best so far, and has a checkpoint of its own.
    assert run.newest_checkpoint().name == "step-000000008.npz"
    assert len(list(run.checkpoints.iterdir())) == 3  # the newest two, and the half
    assert [row["step"] for row in run.read_history()] == ["4", "8"]
    model = build_recurrent()
    fit(model, run, evaluate=evaluate, eval_every=4)
    assert_same_end(model, run, *uninterrupted)
    assert [row["step"] for row in run.read_history()] == ["4", "8", "12"]
    assert [path.name for path in sorted(run.checkpoints.iterdir())] == [
        "step-000000008.npz",
        "step-000000012.npz",
    ]


def test_the_best_weights_and_the_checkpoint_speak_of_one_step(run):
    """A kill right after an evaluation loses nothing of what it found."""

    def die():
        if run.model_file("best").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(build_linear(), run, evaluate=evaluate, eval_every=3, callbacks=[At(3, die)])
    state, _ = run.load_checkpoint()
    assert state["step"] == state["best_step"] == 3


def test_constants_are_not_saved_but_checked(run):
    model = build_linear()
    fixed = model.layers[-1].kernel
    fixed.constant, fixed.trainable = True, False
    compile_classifier(model, keras.optimizers.SGD(0.1))
    fit(model, run, max_steps=5)
    _, arrays = run.load_checkpoint()
    assert fixed.shape not in {array.shape for array in arrays.values()}
    fixed.assign_add(np.ones(fixed.shape))
    with pytest.raises(ValueError, match="other word vectors or another backbone"):
        fit(model, run, max_steps=6)


def test_evaluations_do_not_change_the_training(uninterrupted, run):
    """A Keras RNN with dropout draws random numbers in prediction as well."""
    model = build_recurrent()
    fit(model, run, checkpoint_every=7)
    for ours, theirs in zip(model.get_weights(), uninterrupted[0].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_evaluations_and_saved_models_have_the_averaged_weights(run):
    seen = {}

    def look(model, step):
        seen[step] = model.layers[-1].kernel.numpy()
        return {"accuracy": -step}  # the first evaluation is the best

    model = build_averaged()
    fit(model, run, 6, evaluate=look, eval_steps=[3])
    best, last = (
        keras.models.load_model(run.model_file(which), compile=False).layers[-1].kernel.numpy()
        for which in ("best", "last")
    )
    np.testing.assert_array_equal(best, seen[3])
    np.testing.assert_array_equal(last, seen[6])
    np.testing.assert_array_equal(last, model.layers[-1].kernel.numpy())
    # Training goes on from the raw weights, which the checkpoint keeps.
    raw = run.load_checkpoint()[1]["model/00000"]
    assert raw.shape == last.shape and not np.array_equal(raw, last)


def test_a_finished_run_is_not_trained_again_but_may_go_on(tmp_path):
    def no_data(start, count):
        raise AssertionError("trained again")

    run, other_run = runs.RunDirectory(tmp_path / "a"), runs.RunDirectory(tmp_path / "b")
    model = build_averaged()
    fit(model, run, 7)
    again = build_averaged()
    assert fit(again, run, 7, make_dataset=no_data)["status"] == "finished"
    assert_same_end(again, run, model, run)
    longer, other = build_averaged(), build_averaged()
    fit(longer, run)
    fit(other, other_run)
    assert_same_end(longer, run, other, other_run)


def test_a_second_optimizer_is_kept_too(run):
    class TwoOptimizers(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)
            self.second = keras.optimizers.Adam(0.01)

        def call(self, inputs):
            return self.dense(keras.ops.reshape(inputs["x"], (-1, 12)))

    def build():
        training.set_seed(0)
        model = TwoOptimizers()
        model(next(iter(batches(0, 1)))[0])
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        return model

    with pytest.raises(ValueError, match="optimiser 'adam.*' must be built"):
        fit(build(), run, 5)
    model = build()
    model.second.build(model.trainable_variables)
    # As a train_step of the model would.
    model.second.apply([np.ones(v.shape, np.float32) for v in model.trainable_variables])
    fit(model, run, 5)
    resumed = build()
    resumed.second.build(resumed.trainable_variables)
    fit(resumed, run, 5)
    assert resumed.second.iterations == 1
    for ours, theirs in zip(resumed.second.variables, model.second.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: (build_linear(), {"seed": 1}), "begun with seed 0"),
        (lambda: (build_linear(keras.optimizers.Adam()), {}), "of another model"),
        (lambda: (build_recurrent(), {}), "of another model"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(run, change, message):
    fit(build_linear(), run, 3)
    model, options = change()
    with pytest.raises(ValueError, match=message):
        fit(model, run, 4, **options)


# Stops and failures.


def test_a_stop_in_an_evaluation_leaves_it_to_the_resumed_run(run):
    calls = []

    def interrupted(model, step):
        calls.append(step)
        send()
        raise AssertionError("the evaluation went on")

    outcome = fit(build_linear(), run, 6, evaluate=interrupted, eval_steps=[3])
    assert outcome["status"] == "stopped" and outcome["step"] == 3 and calls == [3]
    assert outcome["best_step"] is None and run.read_history() == []
    outcome = fit(build_linear(), run, 6, evaluate=evaluate, eval_steps=[3])
    assert outcome["status"] == "finished"
    assert [row["step"] for row in run.read_history()] == ["3", "6"]


def test_a_second_signal_aborts_and_handlers_come_back(run):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def twice():
        send(signal.SIGTERM)
        send(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(build_linear(), run, callbacks=[At(7, twice)])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert run.newest_checkpoint().name == "step-000000005.npz"


def test_a_loss_that_is_not_a_number_ends_the_training(run):
    def poisoned(start, count):
        def poison(step, batch):
            x = tf.where(step + start == 6, np.nan, batch[0]["x"])
            return {"x": x}, batch[1]

        return batches(start, count).enumerate().map(poison)

    with pytest.raises(
        training.TrainingError, match="loss is nan.*step 7.*step-000000005"
    ) as error:
        fit(build_linear(), run, make_dataset=poisoned)
    assert error.value.step == 7


def test_weights_that_are_not_finite_are_never_saved(run):
    # The loss of step 5 is finite, its update is not.
    def explode():
        model.layers[-1].kernel.assign(np.full((12, 3), np.inf))

    model = build_linear()
    with pytest.raises(training.TrainingError, match="kernel is not finite.*step 5.*none"):
        fit(model, run, callbacks=[At(5, explode)], checkpoint_every=6, max_steps=5)
    assert run.newest_checkpoint() is None


@pytest.mark.parametrize("count", [4, 10])
def test_data_that_ends_early_is_an_error(run, count):
    """At 10 of 12 steps an epoch of 5 is just over, and Keras would begin again."""
    with pytest.raises(ValueError, match=f"{count} batches for 12 steps"):
        fit(build_linear(), run, make_dataset=lambda *_: batches(0, count))
    unknown = batches(0, count).filter(lambda *_: True)
    with pytest.raises(training.TrainingError, match=f"ended too early .step {count};"):
        fit(build_linear(), run, make_dataset=lambda *_: unknown)


def test_two_fits_on_one_directory(run):
    with runs.RunDirectory(run.path).locked(), pytest.raises(runs.RunError, match="in use"):
        fit(build_linear(), run)


@pytest.mark.parametrize(
    "options",
    [{"max_steps": 0}, {"checkpoint_every": 0}, {"log_every": 0}, {"eval_every": -1},
     {"monitor_mode": "up"}],
)  # fmt: skip
def test_wrong_arguments(run, options):
    with pytest.raises(ValueError, match="must be"):
        fit(build_linear(), run, **options)


def test_several_steps_in_one_call_are_refused(run):
    model = build_linear()
    compile_classifier(model, "sgd", steps_per_execution=4)
    with pytest.raises(ValueError, match="steps_per_execution"):
        fit(model, run)


# Evaluations, best model and logs.


def test_evaluation_at_chosen_steps_and_at_the_end(run):
    fit(build_linear(), run, 10, evaluate=evaluate, eval_every=4, eval_steps=[3, 4, 99])
    assert [row["step"] for row in run.read_history()] == ["3", "4", "8", "10"]


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [("max", [0.2, 0.9, 0.9, 0.1], 4), ("min", [0.2, np.nan, 0.1, 0.3], 6)],
)
def test_the_best_model_is_kept_by_the_monitor(run, mode, values, best):
    kernels = {}

    def scripted(model, step):
        kernels[step] = model.layers[-1].kernel.numpy()
        return {"score": values[step // 2 - 1]}

    outcome = fit(
        build_linear(), run, 8, evaluate=scripted, eval_every=2,
        monitor="val/score", monitor_mode=mode,
    )  # fmt: skip
    assert outcome["best_step"] == best and outcome["best_value"] == values[best // 2 - 1]
    for which, step in (("best", best), ("last", 8)):
        kept = keras.models.load_model(run.model_file(which), compile=False)
        np.testing.assert_array_equal(kept.layers[-1].kernel.numpy(), kernels[step])


def test_a_missing_monitor_is_named(run):
    with pytest.raises(ValueError, match="no 'val/f1'.*val/accuracy, val/loss"):
        fit(build_linear(), run, 2, evaluate=evaluate, monitor="val/f1")


def test_tensorboard_and_history_have_the_numbers(run):
    fit(build_linear(), run, 6, evaluate=evaluate, eval_every=3, log_every=2)
    events = event_accumulator.EventAccumulator(str(run.tensorboard), {"tensors": 0}).Reload()

    def scalars(tag):
        return {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}

    assert scalars("val/accuracy") == pytest.approx({3: 0.03, 6: 0.06})
    assert sorted(scalars("train/loss")) == [2, 4, 6]
    assert sorted(scalars("train/accuracy")) == [2, 4, 6]
    rows = run.read_history()
    assert [float(row["val/accuracy"]) for row in rows] == [0.03, 0.06]
    assert float(rows[1]["train/loss"]) == pytest.approx(scalars("train/loss")[6], rel=1e-6)


def test_board_writes_pictures_and_texts(tmp_path):
    board = training.Board(tmp_path)
    board.flush()
    assert not list(tmp_path.iterdir())
    board.image(3, "picture", np.zeros((4, 5, 3), np.uint8))
    board.text(3, "words", "*dog*")
    board.flush()
    events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["tensors"]) == ["picture", "words"]
    width, height, _ = tf.make_ndarray(events.Tensors("picture")[0].tensor_proto)
    assert (width, height) == (b"5", b"4")


def test_progress_lines_tell_speed_numbers_and_time_left(run, caplog, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO", logger="imgtext_tf.progress"):
        fit(build_linear(), run, 4)
    lines = [r.getMessage() for r in caplog.records if "steps/s" in r.getMessage()]
    assert [line.split()[1] for line in lines] == ["2/4", "3/4", "4/4"]
    for line in lines:
        assert "loss" in line and "accuracy" in line
    assert lines[-1].endswith("0:00:00 left")


def test_time_left_counts_steps_and_evaluations(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    meter = progress.Progress(100, [10, 50, 100])
    clock[0] = 7.0  # the first step builds the graph
    meter.advance(1, {})
    clock[0] = 17.0
    meter.advance(10, {})
    with meter.evaluation():
        clock[0] = 22.0
    clock[0] = 34.0
    with caplog.at_level("INFO", logger="imgtext_tf.progress"):
        meter.advance(34, {"loss": 0.5})
    # 24 steps in 17 - 5 s; then 66 steps at 2 a second and the evaluations at 50 and 100.
    expected = f"2 steps/s  loss 0.5000  0:00:{66 // 2 + 2 * 5} left"
    assert caplog.records[-1].getMessage() == f"step 34/100  {expected}"


def test_sixteen_bits_where_the_device_has_them(monkeypatch):
    names = []
    try:
        for devices in ([], ["GPU:0"]):
            monkeypatch.setattr(
                tf.config, "list_physical_devices", lambda kind, found=devices: found
            )
            training.set_precision(True)
            names.append(keras.config.dtype_policy().name)
        training.set_precision(True, scaled=False)
        names.append(keras.config.dtype_policy().name)
    finally:
        training.set_precision(False)
    assert names == ["mixed_bfloat16", "mixed_float16", "mixed_bfloat16"]
    assert keras.config.dtype_policy().name == "float32"


# Losses and weights that are not finite.


def ids(step):
    return [f"{step}.{row}" for row in range(8)]


def test_the_step_and_the_batch_of_a_loss_that_is_not_finite_are_named(run):
    def poisoned(start, count):
        def poison(step, batch):
            return {"x": tf.where(step + start == 6, np.inf, batch[0]["x"])}, batch[1]

        return batches(start, count).enumerate().map(poison)

    with pytest.raises(training.TrainingError, match=r"6\.0, 6\.1, .*6\.7, listed in") as error:
        fit(build_linear(), run, make_dataset=poisoned, batch_ids=ids)
    assert error.value.step == 7 and "step-000000005" in str(error.value)
    lines = (run.path / "bad_batches.tsv").read_text().splitlines()
    assert lines == [f"7\t6.{row}" for row in range(8)]
    # Started again without the bad batch, it goes on from the good checkpoint.
    assert fit(build_linear(), run)["status"] == "finished"


def test_an_update_that_ruins_the_weights_is_seen_in_its_own_step(run):
    """The loss of that step is finite; without a look at the weights the next one was blamed."""
    model = build_linear()
    optimizer = model.optimizer
    options = {
        "batch_ids": ids,
        "callbacks": [At(6, lambda: optimizer.learning_rate.assign(np.inf))],
    }
    with pytest.raises(training.TrainingError, match=r"weight .* finite loss.*step 7;.*6\.0"):
        fit(model, run, **options)
    state, arrays = run.load_checkpoint()
    assert state["step"] == 5 and all(np.isfinite(array).all() for array in arrays.values())


def test_an_optimizer_that_is_not_finite_is_never_saved(run):
    def explode():
        model.optimizer.variables[-1].assign(np.full(3, np.inf))

    model = build_linear(keras.optimizers.Adam(0.01))
    with pytest.raises(training.TrainingError, match="steps 6 to 10, listed in"):
        fit(model, run, callbacks=[At(10, explode)], batch_ids=ids)
    assert run.newest_checkpoint().name == "step-000000005.npz"
    assert len((run.path / "bad_batches.tsv").read_text().splitlines()) == 5 * 8


def test_a_large_table_is_looked_at_with_the_checkpoint(run, monkeypatch):
    monkeypatch.setattr(finite, "_LARGEST", 10)

    def explode():
        model.layers[-1].kernel.assign(np.full((12, 3), np.inf))

    model = build_linear(keras.optimizers.SGD(0.0))
    with pytest.raises(training.TrainingError, match="kernel is not finite"):
        fit(model, run, callbacks=[At(5, explode)], max_steps=5)


def test_ids_that_cannot_be_told_hide_no_error(run):
    def broken(step):
        raise OSError("the shards are gone")

    def poisoned(start, count):
        return batches(start, count).map(lambda x, y: ({"x": x["x"] * np.nan}, y))

    with pytest.raises(training.TrainingError, match="its batch: unknown"):
        fit(build_linear(), run, make_dataset=poisoned, batch_ids=broken)


# What a killed run wrote after its last checkpoint.


def points(run):
    """(tag, step) -> value of the scalars of a run."""
    events = event_accumulator.EventAccumulator(str(run.tensorboard), {"tensors": 0}).Reload()
    return {
        (tag, event.step): float(tf.make_ndarray(event.tensor_proto))
        for tag in events.Tags()["tensors"]
        for event in events.Tensors(tag)
    }


def test_logs_of_a_killed_run_are_those_of_one_never_killed(run, tmp_path):
    """Each point once, and each the mean of its whole stretch."""

    def die():
        raise KeyboardInterrupt

    options = {"evaluate": evaluate, "eval_every": 4, "log_every": 3}
    with pytest.raises(KeyboardInterrupt):
        fit(build_linear(), run, callbacks=[At(10, die)], **options)
    fit(build_linear(), run, **options)
    whole = runs.RunDirectory(tmp_path / "whole")
    fit(build_linear(), whole, **options)
    assert points(run) == points(whole)
    assert run.read_history() == whole.read_history()
    assert len(event_files.files_of(run.tensorboard)) == 2  # what was before, and after


def test_event_files_stay_few_and_small(tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "_SCALARS", 8)
    monkeypatch.setattr(event_files, "_OTHERS", 3)
    for start in range(0, 40, 10):
        board = training.Board(tmp_path)
        board.go_on(start)
        for step in range(start + 1, start + 14):  # the last three are dropped by the next one
            board.scalars(step, {"loss": step})
            board.image(step, "picture", np.full((4, 5, 3), step, np.uint8))
        board.flush()
    board.go_on(40)
    assert len(event_files.files_of(tmp_path)) == 1
    events = event_accumulator.EventAccumulator(str(tmp_path), {"tensors": 0}).Reload()
    steps = [event.step for event in events.Tensors("loss")]
    assert len(steps) <= 8 and steps[-1] == 40 and len(set(steps)) == len(steps)
    assert [event.step for event in events.Tensors("picture")] == [38, 39, 40]


def test_a_board_that_grows_too_large_is_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(board_module, "_MOST_BYTES", 20_000)
    monkeypatch.setattr(event_files, "_OTHERS", 2)
    board = training.Board(tmp_path)
    noise = np.random.default_rng(0)
    for step in range(40):
        board.image(step, "picture", noise.integers(0, 255, (30, 30, 3)).astype(np.uint8))
        board.flush()
    assert sum(path.stat().st_size for path in event_files.files_of(tmp_path)) < 30_000
    events = event_accumulator.EventAccumulator(str(tmp_path), {"tensors": 0}).Reload()
    assert events.Tensors("picture")[-1].step == 39


def test_half_an_event_at_the_end_of_a_file_is_left_out(tmp_path):
    board = training.Board(tmp_path)
    board.scalars(1, {"loss": 1.0})
    board.scalars(2, {"loss": 2.0})
    board.flush()
    (path,) = event_files.files_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    training.Board(tmp_path).go_on(2)
    (path,) = event_files.files_of(tmp_path)
    assert [event.step for event in event_files.read(path) if event.summary.value] == [1]
