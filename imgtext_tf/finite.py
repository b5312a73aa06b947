"""NaN and infinity in weights: seen in the step they come from, without a copy to the host."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import runs

logger = logging.getLogger(__name__)

_MOST_NAMED = 32  # ids of a batch in a message

# What is larger takes longer to read than a step: it is looked at when a checkpoint is written. So
# are tables of which a step touches a few rows (`rows_only`), or it would cost what they are long.
_LARGEST = 1 << 24


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


class FiniteWeights:
    """Looks through the weights that are trained, in one call of a graph a step."""

    def __init__(self, model: keras.Model):
        """Chooses the variables.

        Args:
            model: built, with what it trains set as trainable.
        """
        self._variables = [
            variable
            for variable in model.trainable_variables
            if int(np.prod(variable.shape)) <= _LARGEST
            and not getattr(variable, "rows_only", False)
        ]
        self._look = tf.function(self._check, jit_compile=False)

    def bad(self) -> str | None:
        """The path of a weight with a value that is not finite; None where all are."""
        try:
            self._look()
            return None
        except tf.errors.InvalidArgumentError:
            arrays = {variable.path: variable.numpy() for variable in self._variables}
            return bad_array(arrays) or "of one replica"

    def _check(self) -> None:
        for variable in self._variables:
            tf.debugging.check_numerics(variable.value, variable.path)


def bad_array(arrays: Mapping[str, np.ndarray]) -> str | None:
    """The name of an array with a value that is not finite; None where all are."""
    for name, array in arrays.items():
        if array.dtype.kind not in "biu" and not np.isfinite(array).all():
            return name
    return None


def name_batches(
    path: pathlib.Path, steps: range, batch_ids: Callable[[int], Sequence[str]] | None
) -> str:
    """Says what the batches of some steps held, and lists it in a file of step<TAB>id.

    Args:
        path: of the file.
        steps: counted from 1.
        batch_ids: number of a batch, from 0 -> what it holds; None: unknown.

    Returns:
        For a message: the ids of a single batch, as far as they fit, or where they are listed.
    """
    if batch_ids is None:
        return "its batch: unknown"
    try:
        lines = [(step, str(one)) for step in steps for one in batch_ids(step - 1)]
        with runs.atomic_path(path) as temporary:
            text = "".join(f"{step}\t{one}\n" for step, one in lines)
            temporary.write_text(text, encoding="utf-8")
    except Exception:  # must not hide the error that it is asked for
        logger.warning("the batches of %s cannot be listed", steps, exc_info=True)
        return "its batch: unknown"
    if len(steps) > 1:
        return f"one of the batches of steps {steps[0]} to {steps[-1]}, listed in {path}"
    shown = [one for _, one in lines[:_MOST_NAMED]]
    more = f" and {len(lines) - len(shown)} more" if len(lines) > len(shown) else ""
    return f"its batch: {', '.join(shown)}{more}, listed in {path}"
