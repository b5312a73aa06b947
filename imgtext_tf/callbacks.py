"""What happens around the steps of `training.fit`: checks, evaluations, checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from imgtext_tf import runs
from imgtext_tf.board import Board
from imgtext_tf.checkpoints import as_if_ended, assign, checksum, is_constant, variables_by_name
from imgtext_tf.progress import Progress
from imgtext_tf.stop_signals import EvaluationStopped, StopSignals

logger = logging.getLogger(__name__)


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


class Loop(keras.callbacks.Callback):
    """What happens around the steps of `fit`: checks, evaluations, checkpoints, progress."""

    def __init__(
        self,
        model: keras.Model,
        *,
        run: runs.RunDirectory,
        board: Board,
        signals: StopSignals,
        max_steps: int,
        seed: int,
        evaluate: Callable[[keras.Model, int], Mapping[str, float]] | None,
        eval_steps: list[int],
        monitor: str,
        sign: int,
        log_every: int,
    ):
        """Takes what `training.fit` was given; see there.

        Args:
            model: the compiled model.
            run: its run directory, locked.
            board: the TensorBoard writer.
            signals: entered; tell when to stop.
            max_steps: the step to stop at.
            seed: of the run.
            evaluate: (model, step) -> metrics.
            eval_steps: the steps to evaluate at, rising.
            monitor: the metric that chooses the best model, as `val/<name>`.
            sign: 1 where more of it is better, else -1.
            log_every: steps between TensorBoard scalars.
        """
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
        self._progress = Progress(max_steps, eval_steps)
        self._logs: dict[str, float] = {}
        self._epoch_begin = 0
        # What a checkpoint keeps beside the variables.
        self.step = 0
        self._constants = checksum(
            variable for variable in model.variables if is_constant(variable)
        )
        self._seconds_before = 0.0
        self._evaluated_step = 0
        self._best_step: int | None = None
        self._best_value: float | None = None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Counts, checks, evaluates and stops as it is due."""
        self.step += 1
        self._logs = dict(logs or {})
        # Keras logs the mean of a loss since the last reset, and a mean once NaN stays NaN.
        for name, value in self._logs.items():
            if "loss" in name and not math.isfinite(value):
                raise self._error(f"{name} is {value}: try a lower learning rate")
        self._progress.advance(self.step, self._logs)
        if not self._signals.received:
            self._evaluate_if_due()
        if self.step % self._log_every == 0 or self.step >= self._max_steps:
            self._board.scalars(self.step, {f"train/{k}": v for k, v in self._logs.items()})
            # Every point is the mean of its own stretch. Keras itself resets between two epochs,
            # after other callbacks have seen the values at the end of this one.
            if batch + 1 < self.params["steps"]:
                self.model.reset_metrics()
        if self._signals.received or self.step >= self._max_steps:
            self.model.stop_training = True

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Notes where the stretch between two checkpoints begins."""
        self._epoch_begin = self.step

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the checkpoint.

        Raises:
            TrainingError: if the data ended early, or a weight is not finite.
        """
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
        with self._progress.evaluation(), as_if_ended(self.model):
            try:
                self._signals.in_evaluation = True
                values = self._evaluate_model(self.model, self.step)
                self._signals.in_evaluation = False
            except EvaluationStopped:
                return
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
            variables = variables_by_name(self.model)
            arrays = {name: variable.numpy() for name, variable in variables.items()}
            self._run.save_checkpoint(arrays, state)
            self._board.flush()

    def resume(self) -> None:
        """Takes up the state of the newest checkpoint, if there is one."""
        if self.model.optimizer is not None and not self.model.optimizer.built:
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
            assign(variables_by_name(self.model), arrays)
            self.step = state["step"]
            self._seconds_before = state["seconds"]
            self._evaluated_step = state["evaluated_step"]
            self._best_step, self._best_value = state["best_step"], state["best_value"]
            logger.info("resumed at step %d of %d", self.step, self._max_steps)
        # A killed run may have evaluated after its last checkpoint; it will do so again.
        history = self._run.read_history()
        known = [row for row in history if int(row["step"]) <= self._evaluated_step]
        if len(known) < len(history):
            self._run.write_history(known)
        if self._evaluation_is_due():  # the run was stopped in it, or is evaluated at other steps
            self._evaluate_if_due()
            self._save()

    def outcome(self) -> dict[str, Any]:
        """What `fit` returns."""
        stopped = self._signals.received and (
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
