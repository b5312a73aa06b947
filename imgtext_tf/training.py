"""`fit`: the one call of `model.fit`, with exact resume, evaluations and TensorBoard.

A run killed at any moment and started again ends with the same weights as one never killed. For
that a checkpoint holds the variables of the model, of its optimisers and of its seed generators
(which no Keras format saves) and the step; the data of a step must depend on the seed and the step
only. Layers must own their `keras.random.SeedGenerator`, as those of Keras do.
"""

from __future__ import annotations

import bisect
import contextlib
import datetime
import logging
import math
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import distribution, replicated_step, runs

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class TrainingError(RuntimeError):
    """Training cannot go on.

    Attributes:
        step: the step at which it broke off.
    """

    def __init__(self, message: str, *, step: int):
        """Stores the step beside the message.

        Args:
            message: what happened and the mend.
            step: the step at which it broke off.
        """
        super().__init__(message)
        self.step = step


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seeds Python, NumPy, TensorFlow and Keras; call it before the model is built.

    Args:
        seed: the seed of initial weights and dropout.
        deterministic: whether TensorFlow may use deterministic operations only, for the rest of
            the process: two runs are then bit-equal on the same device, and slower.
    """
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def set_precision(mixed: bool, *, scaled: bool = True) -> None:
    """Sets Keras' dtype policy; call it before the model is built.

    Args:
        mixed: compute in 16 bits and keep weights and losses in float32: float16 where there is a
            GPU, whose losses Keras then scales, and bfloat16, which needs no scaling, elsewhere.
        scaled: whether losses may be scaled. Keras then makes every gradient of a few rows one of
            the whole table: where there is a large one, bfloat16 is taken everywhere.
    """
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    sixteen = "mixed_float16" if has_gpu and scaled else "mixed_bfloat16"
    keras.config.set_dtype_policy(sixteen if mixed else "float32")


class Board:
    """Writes TensorBoard events into one directory; the event file is made at the first write."""

    def __init__(self, directory: str | os.PathLike):
        """Names the directory.

        Args:
            directory: where the event files go.
        """
        self._directory = str(directory)
        self._writer = None

    def _events(self) -> contextlib.AbstractContextManager:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._directory)
        return self._writer.as_default()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by tag."""
        with self._events():
            for tag, value in values.items():
                tf.summary.scalar(tag, value, step=step)

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Writes a picture, [H, W, 3] uint8."""
        with self._events():
            tf.summary.image(tag, image[None], step=step)

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Writes a text in Markdown."""
        with self._events():
            tf.summary.text(tag, markdown, step=step)

    def flush(self) -> None:
        """Hands what was written to the file system."""
        if self._writer is not None:
            self._writer.flush()


def fit(
    model: keras.Model,
    make_dataset: Callable[[int, int], tf.data.Dataset],
    *,
    run: runs.RunDirectory,
    max_steps: int,
    checkpoint_every: int,
    seed: int,
    evaluate: Callable[[keras.Model, int], Mapping[str, float]] | None = None,
    eval_every: int | None = None,
    eval_steps: Sequence[int] = (),
    monitor: str = "val/accuracy",
    monitor_mode: str = "max",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    deterministic: bool = False,
    board: Board | None = None,
    log_every: int = 100,
    sliced: bool = False,
    cut: Callable = replicated_step.cut_rows,
) -> dict[str, Any]:
    """Trains a compiled model up to a step, from the run's checkpoint if there is one.

    An epoch of `model.fit` is the stretch between two checkpoints. SIGINT and SIGTERM end the
    training after the current step, with a checkpoint; a second one aborts at once.

    Args:
        model: a compiled model; an optimiser beside `model.optimizer` must be an attribute of the
            model and built.
        make_dataset: (start step, number of steps) -> that many training batches.
        run: where checkpoints, models, `history.csv` and TensorBoard events go.
        max_steps: the step to stop at.
        checkpoint_every: steps between checkpoints.
        seed: the seed of the run; a resumed run must have the same.
        evaluate: (model, step) -> metrics, which are written as `val/<name>`. Under an optimiser
            with `use_ema` the model has its averaged weights meanwhile.
        eval_every: evaluate at multiples of this step.
        eval_steps: evaluate at these steps; the last step is always evaluated.
        monitor: the metric that chooses `model_best.keras`; the first of equals stays.
        monitor_mode: "max" or "min".
        callbacks: further Keras callbacks; their own state is not in the checkpoints.
        deterministic: see `set_seed`.
        board: the TensorBoard writer to use; by default one in the run's directory.
        log_every: steps between TensorBoard scalars of the training.
        sliced: whether the batches are this worker's slices (`distribution.worker`) already; else
            they are cut out of the global ones.
        cut: (batch, number, count) -> one of so many parts of a batch.

    Returns:
        `status` ("finished" or "stopped"), `step`, `seconds` of training over all resumes,
        `best_step` and `best_value` (None without an evaluation). The model then has the last
        weights, averaged if the optimiser averages.

    Raises:
        TrainingError: if the loss or a weight is not finite, or the data ends early.
        runs.RunError: if another process uses the run directory.
        ValueError: if an argument is wrong or the checkpoint is of another model.
    """
    if min(max_steps, checkpoint_every, log_every) < 1 or (eval_every or 1) < 1:
        raise ValueError("max_steps, checkpoint_every, eval_every and log_every must be 1 or more")
    if monitor_mode not in ("max", "min"):
        raise ValueError(f"monitor_mode must be max or min, not {monitor_mode!r}")
    if model.steps_per_execution != 1:
        raise ValueError("compile the model with steps_per_execution=1: every step may be the last")
    set_seed(seed, deterministic)
    with run.locked(), _StopSignals() as signals:
        loop = _Loop(
            model,
            run=run,
            board=board or Board(run.tensorboard),
            signals=signals,
            max_steps=max_steps,
            seed=seed,
            evaluate=evaluate,
            eval_steps=_evaluation_steps(max_steps, eval_every, eval_steps) if evaluate else [],
            monitor=monitor,
            sign=1 if monitor_mode == "max" else -1,
            log_every=log_every,
        )
        loop.resume()
        start = loop.step
        if distribution.any_worker(signals.received):
            loop.stop.agree(1)
        elif start < max_steps:
            batches = _checked(make_dataset(start, max_steps - start), max_steps - start)
            model.fit(
                replicated_step.attach(model, batches, loop.stop, cut=cut, sliced=sliced),
                epochs=math.ceil((max_steps - start) / checkpoint_every),
                steps_per_epoch=checkpoint_every,
                callbacks=[loop, *callbacks],
                shuffle=False,
                verbose=0,
            )
        elif start > 0 and model.optimizer is not None:
            # What model.fit does after its last step: averaged weights take their place.
            model.optimizer.finalize_variable_values(model.trainable_variables)
        return loop.finish()


def _evaluation_steps(max_steps: int, every: int | None, steps: Iterable[int]) -> list[int]:
    """All steps to evaluate at, rising; the last step is one of them."""
    regular = range(every, max_steps, every) if every else ()
    return sorted({*regular, *(step for step in steps if 0 < step < max_steps), max_steps})


def _checked(dataset: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    """The data set, unless it is known to have too few batches: Keras would repeat them."""
    batches = int(dataset.cardinality())  # negative where unknown or endless
    if 0 <= batches < steps:
        raise ValueError(f"make_dataset gives {batches} batches for {steps} steps")
    return dataset


class _EvaluationStopped(BaseException):
    """A stop signal came during an evaluation. No Exception, so that nothing swallows it."""


class _StopSignals:
    """While entered, notes SIGINT and SIGTERM instead of ending the process at once."""

    def __init__(self):
        self.received = False
        self.in_evaluation = False
        self._previous = {}

    def __enter__(self) -> _StopSignals:
        # Python allows handlers in the main thread only; elsewhere signals keep their effect.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, *_: object) -> None:
        if self.received:
            raise KeyboardInterrupt("second stop signal: aborted")
        self.received = True
        if self.in_evaluation:
            # An evaluation may take minutes, and the resumed run does it again.
            self.in_evaluation = False
            raise _EvaluationStopped


class _Loop(keras.callbacks.Callback):
    """What happens around the steps of `fit`: checks, evaluations, checkpoints, progress."""

    def __init__(
        self,
        model: keras.Model,
        *,
        run: runs.RunDirectory,
        board: Board,
        signals: _StopSignals,
        max_steps: int,
        seed: int,
        evaluate: Callable[[keras.Model, int], Mapping[str, float]] | None,
        eval_steps: list[int],
        monitor: str,
        sign: int,
        log_every: int,
    ):
        super().__init__()
        self.set_model(model)
        self._run = run
        self._board = board
        self._signals = signals
        self._max_steps = max_steps
        self._seed = seed
        self._evaluate_model = evaluate
        self._eval_steps = eval_steps
        self._monitor = monitor
        self._sign = sign
        self._log_every = log_every
        self._progress = _Progress(max_steps, eval_steps)
        self._logs: dict[str, float] = {}
        self._epoch_begin = 0
        self.stop = replicated_step.Stop()
        # What a checkpoint keeps beside the variables.
        self.step = 0
        self._constants = _checksum(
            variable for variable in model.variables if _is_constant(variable)
        )
        self._seconds_before = 0.0
        self._evaluated_step = 0
        self._best_step: int | None = None
        self._best_value: float | None = None

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if self._signals.received:
            self.stop.wish()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.step += 1
        self._logs = dict(logs or {})
        # Keras logs the mean of a loss since the last reset, and a mean once NaN stays NaN.
        for name, value in self._logs.items():
            if "loss" in name and not math.isfinite(value):
                raise self._error(f"{name} is {value}: try a lower learning rate")
        self._progress.advance(self.step, self._logs)
        if not self._stops():
            self._evaluate_if_due()
        if self.step % self._log_every == 0 or self.step >= self._max_steps:
            self._board.scalars(self.step, {f"train/{k}": v for k, v in self._logs.items()})
            # Every point is the mean of its own stretch. Keras itself resets between two epochs,
            # after other callbacks have seen the values at the end of this one.
            if batch + 1 < self.params["steps"]:
                self.model.reset_metrics()
        if self._stops() or self.step >= self._max_steps:
            self.model.stop_training = True

    def _stops(self) -> bool:
        """Whether a signal ends the training now; several workers end it after the same step."""
        if distribution.worker() == (0, 1):
            return self._signals.received
        return self.stop.agreed()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._epoch_begin = self.step

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        complete = self.step - self._epoch_begin == self.params["steps"]
        if not complete and not self.model.stop_training:
            # Keras only warns, and would start the data anew in the next epoch.
            raise self._error("the training data ended too early")
        self._save()

    def _evaluation_is_due(self) -> bool:
        return self.step in self._eval_steps and self._evaluated_step < self.step

    def _evaluate_if_due(self) -> None:
        if not self._evaluation_is_due():
            return
        if not distribution.is_chief():
            if distribution.from_chief(None):
                self._evaluated_step = self.step
            return
        with self._progress.evaluation(), _as_if_ended(self.model):
            try:
                self._signals.in_evaluation = True
                values = self._evaluate_model(self.model, self.step)
                self._signals.in_evaluation = False
            except _EvaluationStopped:
                distribution.from_chief(False)
                return
            distribution.from_chief(True)
            values = {f"val/{name}": float(value) for name, value in values.items()}
            if self._monitor not in values:
                raise ValueError(f"the evaluation gives no {self._monitor!r} to choose the best "
                                 f"model by, only {', '.join(sorted(values))}")  # fmt: skip
            is_best = self._keep_best(values[self._monitor])
        self._evaluated_step = self.step
        self._board.scalars(self.step, values)
        self._board.flush()
        train = {f"train/{name}": value for name, value in self._logs.items()}
        history = self._run.read_history()
        self._run.write_history([*history, {"step": self.step, **train, **values}])
        logger.info(
            "step %d: %s %.4f, best at step %s",
            self.step, self._monitor, values[self._monitor], self._best_step,
        )  # fmt: skip
        if is_best:  # the file of the best weights and the checkpoint shall speak of the same step
            self._save()

    def _keep_best(self, value: float) -> bool:
        before = -math.inf if self._best_value is None else self._sign * self._best_value
        if self._sign * value > before:  # not so for NaN
            self._run.save_model(self.model, "best")
            self._best_step, self._best_value = self.step, value
            return True
        return False

    def _save(self) -> None:
        if not distribution.is_chief():
            return
        state = {
            "step": self.step,
            "seed": self._seed,
            "seconds": self._seconds(),
            "evaluated_step": self._evaluated_step,
            "best_step": self._best_step,
            "best_value": self._best_value,
            "constants": self._constants,
        }
        with self._progress.pause():
            for variable in self.model.trainable_variables:
                if not np.isfinite(variable.numpy()).all():
                    raise self._error(f"the weight {variable.path} is not finite")
            variables = _variables_by_name(self.model)
            arrays = {name: variable.numpy() for name, variable in variables.items()}
            self._run.save_checkpoint(arrays, state)
            self._board.flush()

    def resume(self) -> None:
        """Takes up the state of the newest checkpoint, if there is one."""
        if self.model.optimizer is not None and not self.model.optimizer.built:
            with distribution.scope():
                self.model.optimizer.build(self.model.trainable_variables)
        checkpoint = self._run.load_checkpoint()
        if checkpoint is not None:
            state, arrays = checkpoint
            if state["seed"] != self._seed:
                raise ValueError(f"the run in {self._run.path} was begun with seed "
                                 f"{state['seed']}, not {self._seed}")  # fmt: skip
            if state.get("constants", self._constants) != self._constants:
                raise ValueError(f"the run in {self._run.path} was begun with other word vectors "
                                 "or another backbone: give it the same files")  # fmt: skip
            _assign(_variables_by_name(self.model), arrays)
            self.step = state["step"]
            self._seconds_before = state["seconds"]
            self._evaluated_step = state["evaluated_step"]
            self._best_step, self._best_value = state["best_step"], state["best_value"]
            logger.info("resumed at step %d of %d", self.step, self._max_steps)
        self._follow_chief()
        # A killed run may have evaluated after its last checkpoint; it will do so again.
        history = self._run.read_history()
        known = [row for row in history if int(row["step"]) <= self._evaluated_step]
        if len(known) < len(history):
            self._run.write_history(known)
        if self._evaluation_is_due():  # the run was stopped in it, or is evaluated at other steps
            self._evaluate_if_due()
            self._save()

    def _follow_chief(self) -> None:
        """Begins with the chief's weights and step: only the chief has a checkpoint."""
        self.step, self._evaluated_step = distribution.from_chief([self.step, self._evaluated_step])
        if distribution.from_chief(self._constants) != self._constants:
            raise ValueError("this worker's word vectors or backbone are not the chief's: give all "
                             "workers the same files")  # fmt: skip
        distribution.share_variables(_variables_by_name(self.model))

    def finish(self) -> dict[str, Any]:
        """Saves the last weights: what `fit` returns, the chief's on all workers."""
        if distribution.is_chief():
            self._run.save_model(self.model, "last")
        return distribution.from_chief(self.outcome())

    def outcome(self) -> dict[str, Any]:
        """What `fit` returns on this worker."""
        stopped = (self._signals.received or self.stop.agreed()) and (
            self.step < self._max_steps or self._evaluation_is_due()
        )
        if stopped:
            logger.warning(
                "stopped at step %d of %d, state saved in %s: run the same command to go on",
                self.step, self._max_steps, self._run.path,
            )  # fmt: skip
        return {
            "status": "stopped" if stopped else "finished",
            "step": self.step,
            "seconds": self._seconds(),
            "best_step": self._best_step,
            "best_value": self._best_value,
        }

    def _seconds(self) -> float:
        return self._seconds_before + self._progress.seconds()

    def _error(self, what: str) -> TrainingError:
        checkpoint = self._run.newest_checkpoint() or "none"
        message = f"{what} (step {self.step}; last good checkpoint: {checkpoint})"
        return TrainingError(message, step=self.step)


class _Progress:
    """Speed and time left; logs a line now and then, readable on a terminal and in a file."""

    def __init__(self, max_steps: int, eval_steps: list[int]):
        self._max_steps = max_steps
        self._eval_steps = eval_steps
        self._eval_seconds = 0.0
        self._begin = time.monotonic()
        # Where the stretch of the next line begins: time, step, and pauses since then.
        self._since: tuple[float, int] | None = None
        self._paused = 0.0

    def seconds(self) -> float:
        """Seconds since the training of this process began, evaluations included."""
        return time.monotonic() - self._begin

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Takes the time of a block out of the speed."""
        start = time.monotonic()
        yield
        self._paused += time.monotonic() - start

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """Takes the time of an evaluation out of the speed, and notes it for the time left."""
        start = time.monotonic()
        with self.pause():
            yield
        self._eval_seconds = time.monotonic() - start

    def advance(self, step: int, logs: Mapping[str, float]) -> None:
        """Notes that a step is done, and logs a line if it is time for one."""
        now = time.monotonic()
        if self._since is None:
            # The first step builds the graph and is no measure of speed.
            self._since, self._paused = (now, step), 0.0
            return
        seconds = now - self._since[0]
        if seconds < _SECONDS_BETWEEN_LINES and step < self._max_steps:
            return
        rate = (step - self._since[1]) / max(seconds - self._paused, 1e-9)
        evaluations = len(self._eval_steps) - bisect.bisect_left(self._eval_steps, step)
        left = (self._max_steps - step) / rate + evaluations * self._eval_seconds
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        logger.info(
            "step %d/%d  %.3g steps/s  %s  %s left",
            step, self._max_steps, rate, numbers, datetime.timedelta(seconds=round(left)),
        )  # fmt: skip
        self._since, self._paused = (now, step), 0.0


@contextlib.contextmanager
def _as_if_ended(model: keras.Model) -> Iterator[None]:
    """Gives the model the weights it would end with now, and afterwards its old state back.

    The final weights are averaged ones if the optimiser averages. The states of seed generators
    come back too: a Keras RNN with dropout draws its masks in prediction as well as in training,
    so that without this an evaluation would change the training after it.
    """
    weights = {id(variable) for variable in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    before = [(variable, variable.numpy()) for variable in [*model.trainable_variables, *seeds]]
    if model.optimizer is not None:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _variables_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """All variables that training changes, by a name that depends on their order only.

    `model.variables` holds the weights and the states of the seed generators; metrics begin anew.
    Variables that a layer marks as constant (tables of given vectors, frozen backbones: most of the
    bytes) are left out.
    """
    groups = {"model": [value for value in model.variables if not _is_constant(value)]}
    for number, optimizer in enumerate(replicated_step.optimizers_of(model)):
        if not optimizer.built:
            raise ValueError(f"the optimiser {optimizer.name!r} must be built before training")
        groups[f"optimizer{number}"] = optimizer.variables
    return {
        f"{group}/{index:05d}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }


def _is_constant(variable: keras.Variable) -> bool:
    return getattr(variable, "constant", False)


def _checksum(variables: Iterable[keras.Variable]) -> int:
    """A checksum of the values, in the variables' order."""
    value = 0
    for variable in variables:
        value = zlib.crc32(np.ascontiguousarray(variable.numpy()).data, value)
    return value


def _assign(variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Gives variables their values; ValueError if they do not fit."""
    if variables.keys() != arrays.keys():
        raise ValueError(
            f"the checkpoint has {len(arrays)} variables and the model with its optimisers "
            f"{len(variables)}: it is of another model"
        )
    for name, variable in variables.items():
        array = arrays[name]
        if array.dtype.kind == "V":  # NumPy's files forget the name of bfloat16
            array = array.view(variable.numpy().dtype)
        if array.shape != tuple(variable.shape):
            raise ValueError(
                f"the checkpoint has shape {array.shape} for {variable.path} of shape "
                f"{tuple(variable.shape)}: it is of another model"
            )
        variable.assign(array)
