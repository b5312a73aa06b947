"""`fit`: the one call of `model.fit`, with exact resume, evaluations and TensorBoard.

A run killed at any moment and started again ends with the same weights as one never killed. For
that a checkpoint holds the variables of the model, of its optimisers and of its seed generators
(which no Keras format saves) and the step; the data of a step must depend on the seed and the step
only. Layers must own their `keras.random.SeedGenerator`, as those of Keras do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from imgtext_tf import distribution, replicated_step, runs
from imgtext_tf.board import Board
from imgtext_tf.callbacks import Loop
from imgtext_tf.finite import TrainingError
from imgtext_tf.stop_signals import StopSignals

# All that has to do with a training is had from here.
__all__ = ["Board", "TrainingError", "fit", "set_precision", "set_seed"]


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
    batch_ids: Callable[[int], Sequence[str]] | None = None,
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
        batch_ids: number of a batch, from 0 -> the ids of its examples, which the error names
            where a loss or weight is not finite.
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
    _check_positive(max_steps, checkpoint_every, log_every, eval_every or 1)
    if monitor_mode not in ("max", "min"):
        raise ValueError(f"monitor_mode must be max or min, not {monitor_mode!r}")
    if model.steps_per_execution != 1:
        raise ValueError("compile the model with steps_per_execution=1: every step may be the last")
    set_seed(seed, deterministic)
    with run.locked(), StopSignals() as signals:
        loop = Loop(
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
            batch_ids=batch_ids,
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


def _check_positive(*counts: int) -> None:
    if min(counts) < 1:
        raise ValueError("max_steps, checkpoint_every, eval_every and log_every must be 1 or more")


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
