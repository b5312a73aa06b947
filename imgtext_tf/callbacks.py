"""What happens around the steps of `training.fit`: checks, evaluations, checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import keras

from imgtext_tf import distribution, replicated_step, runs
from imgtext_tf.board import Board
from imgtext_tf.checkpoints import as_if_ended, assign, checksum, is_constant, variables_by_name
from imgtext_tf.finite import FiniteWeights, TrainingError, bad_array, name_batches
from imgtext_tf.meters import Meters
from imgtext_tf.progress import Progress
from imgtext_tf.stop_signals import EvaluationStopped, StopSignals

logger = logging.getLogger(__name__)


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
        batch_ids: Callable[[int], Sequence[str]] | None = None,
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
            batch_ids: number of a batch, from 0 -> what it holds.
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
        self._batch_ids = batch_ids
        self._finite = FiniteWeights(model)
        self._progress = Progress(max_steps, eval_steps)
        self._logs: dict[str, float] = {}
        self._epoch_begin = 0
        self.stop = replicated_step.Stop()
        self._meters = Meters(model)
        # What a checkpoint keeps beside the variables.
        self.step = 0
        self._constants = checksum(
            variable for variable in model.variables if is_constant(variable)
        )
        self._seconds_before = 0.0
        self._evaluated_step = 0
        self._best_step: int | None = None
        self._best_value: float | None = None

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Tells the other workers of a signal."""
        if self._signals.received:
            self.stop.wish()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Counts, checks, evaluates and stops as it is due."""
        self.step += 1
        self._logs = self._meters.logs(logs or {})
        self._check_finite()
        self._progress.advance(self.step, self._logs)
        if self.step % self._log_every == 0 or self.step >= self._max_steps:
            self._board.scalars(self.step, {f"train/{k}": v for k, v in self._logs.items()})
            # Every point is the mean of its own stretch. Keras itself resets between two epochs,
            # after other callbacks have seen the values at the end of this one.
            if self.step % self._log_every == 0 and batch + 1 < self.params["steps"]:
                self.model.reset_metrics()
        if not self._stops():
            self._evaluate_if_due()
        if self._stops() or self.step >= self._max_steps:
            self.model.stop_training = True

    def _stops(self) -> bool:
        """Whether a signal ends the training now; several workers end it after the same step."""
        if distribution.worker() == (0, 1):
            return self._signals.received
        return self.stop.agreed()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Notes where the stretch between two checkpoints begins; gives metrics their values."""
        self._epoch_begin = self.step
        self._meters.go_on()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the checkpoint.

        Raises:
            TrainingError: if the data ended early, or a weight is not finite.
        """
        complete = self.step - self._epoch_begin == self.params["steps"]
        if not complete and not self.model.stop_training:
            # Keras only warns, and would start the data anew in the next epoch.
            self._raise("the training data ended too early")
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
        with self._progress.evaluation(), as_if_ended(self.model):
            try:
                self._signals.in_evaluation = True
                values = self._evaluate_model(self.model, self.step)
                self._signals.in_evaluation = False
            except EvaluationStopped:
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
        if self._logs:  # else no step was taken yet, and they are as they were resumed
            self._meters.keep(logged=self.step % self._log_every == 0)
        with self._progress.pause():
            variables = variables_by_name(self.model)
            arrays = {name: variable.numpy() for name, variable in variables.items()}
            if name := bad_array(arrays):
                self._raise(
                    f"the weight {variables[name].path} is not finite", since_checkpoint=True
                )
            # A checkpoint speaks for all events up to its step.
            self._board.flush()
            self._run.save_checkpoint(arrays | self._meters.arrays(), state)

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
            self._meters.take(arrays)
            assign(variables_by_name(self.model), arrays)
            self.step = state["step"]
            self._seconds_before = state["seconds"]
            self._evaluated_step = state["evaluated_step"]
            self._best_step, self._best_value = state["best_step"], state["best_value"]
            logger.info("resumed at step %d of %d", self.step, self._max_steps)
        self._follow_chief()
        # A killed run may have gone on after its last checkpoint; it will do so again.
        self._board.go_on(self.step)
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
        distribution.share_variables(variables_by_name(self.model))

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

    def _check_finite(self) -> None:
        # Keras logs the mean of a loss since the last reset, and a mean once NaN stays NaN.
        for name, value in self._logs.items():
            if "loss" in name and not math.isfinite(value):
                self._raise(f"{name} is {value}: try a lower learning rate", with_batch=True)
        if path := self._finite.bad():
            self._raise(
                f"the weight {path} is not finite after a finite loss: try a lower learning rate, "
                "or clip gradients",
                with_batch=True,
            )

    def _raise(
        self, what: str, *, with_batch: bool = False, since_checkpoint: bool = False
    ) -> NoReturn:
        """Ends the training with step and last good checkpoint, and the ids of batches at fault."""
        newest = self._run.newest_checkpoint()
        parts = [f"step {self.step}", f"last good checkpoint: {newest or 'none'}"]
        first = int(newest.stem.split("-")[1]) if newest and since_checkpoint else 0
        if with_batch or since_checkpoint:
            steps = range(first + 1 if since_checkpoint else self.step, self.step + 1)
            parts.append(name_batches(self._run.path / "bad_batches.tsv", steps, self._batch_ids))
        raise TrainingError(f"{what} ({'; '.join(parts)})", step=self.step)
