"""Optimisers that only touch the rows of a table that a gradient has.

Keras' own do arithmetic on the whole table in every step, which takes longer the more classes
there are, and take each of several gradients of one row for a gradient of its own. These sum the
gradients of a row first. A gradient without rows goes the way of the parent class, so that one
optimiser serves the whole model. `weight_decay`, `use_ema` and gradient
accumulation work on whole tables: leave them off where steps must stay cheap. Keras would clip the
gradients before the rows are summed, which is another clipping: it is refused.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from imgtext_tf.sparse_gradients import summed_rows


def _refuse_clipping(name: str, options: dict) -> None:
    for option in ("clipnorm", "clipvalue", "global_clipnorm"):
        if options.get(option) is not None:
            raise ValueError(f"{name} has no {option}: it would clip rows before they are summed")


@keras.saving.register_keras_serializable(package="imgtext_tf")
class LazyAdam(keras.optimizers.Adam):
    """Adam whose moments and weights change in the rows of the gradient only.

    On a row that every step has, it is Adam. The moments of other rows stay as they are, where
    Adam's would fade and move the row all the while.
    """

    def __init__(self, learning_rate=0.001, **kwargs):
        """Takes the arguments of `keras.optimizers.Adam` except `amsgrad`.

        Args:
            learning_rate: a float or schedule.
            **kwargs: of Keras' Adam.

        Raises:
            ValueError: if `amsgrad` or a clipping is asked for.
        """
        _refuse_clipping("LazyAdam", kwargs)
        if kwargs.get("amsgrad"):
            raise ValueError("LazyAdam has no amsgrad: leave it out")
        super().__init__(learning_rate, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        """One update; see the class."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        rows, slope = summed_rows(gradient)
        slope = tf.cast(slope, variable.dtype)
        place = self._get_variable_index(variable)
        first, second = self._momentums[place].value, self._velocities[place].value
        step = tf.cast(tf.convert_to_tensor(self.iterations) + 1, variable.dtype)
        beta_1, beta_2 = (tf.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        rate = tf.cast(learning_rate, variable.dtype)
        rate *= tf.sqrt(1 - tf.pow(beta_2, step)) / (1 - tf.pow(beta_1, step))
        moment = beta_1 * tf.gather(first, rows) + (1 - beta_1) * slope
        power = beta_2 * tf.gather(second, rows) + (1 - beta_2) * tf.square(slope)
        _scatter("Update", first, rows, moment)
        _scatter("Update", second, rows, power)
        _scatter("Sub", variable, rows, rate * moment / (tf.sqrt(power) + self.epsilon))


@keras.saving.register_keras_serializable(package="imgtext_tf")
class SparseAdagrad(keras.optimizers.Adagrad):
    """Adagrad on the rows of the gradient only: the same updates as Adagrad's, at their cost.

    With `row_wise` every matrix keeps one accumulator a row instead of one a number: the mean of
    the squares over the row. A table of N x D then costs N numbers of state.
    """

    def __init__(self, learning_rate=0.1, *, row_wise=False, **kwargs):
        """Takes the arguments of `keras.optimizers.Adagrad`.

        Args:
            learning_rate: a float or schedule.
            row_wise: see the class.
            **kwargs: of Keras' Adagrad.

        Raises:
            ValueError: if a clipping is asked for.
        """
        _refuse_clipping("SparseAdagrad", kwargs)
        super().__init__(learning_rate, **kwargs)
        self.row_wise = row_wise

    def add_variable_from_reference(self, reference_variable, name=None, initializer="zeros"):
        """Makes the accumulators, which are smaller than their variable if `row_wise`."""
        if self.row_wise and name == "accumulator" and len(reference_variable.shape) == 2:
            return self.add_variable(
                (reference_variable.shape[0], 1),
                initializer=initializer,
                dtype=reference_variable.dtype,
                name=f"{reference_variable.name}_accumulator",
            )
        return super().add_variable_from_reference(reference_variable, name, initializer)

    def update_step(self, gradient, variable, learning_rate):
        """One update; see the class."""
        sparse = isinstance(gradient, tf.IndexedSlices)
        place = self._get_variable_index(variable)
        sums = self._accumulators[place].value
        reduced = self.row_wise and len(variable.shape) == 2
        if not sparse and not reduced:
            super().update_step(gradient, variable, learning_rate)
            return
        rate = tf.cast(learning_rate, variable.dtype)
        if sparse:
            rows, slope = summed_rows(gradient)
        else:
            rows, slope = tf.range(tf.shape(gradient)[0]), gradient
        slope = tf.cast(slope, variable.dtype)
        squares = tf.square(slope)
        if reduced:
            squares = tf.reduce_mean(squares, 1, keepdims=True)
        total = tf.gather(sums, rows) + squares
        _scatter("Update", sums, rows, total)
        _scatter("Sub", variable, rows, rate * slope / tf.sqrt(total + self.epsilon))

    def get_config(self):
        """The arguments of the constructor."""
        return super().get_config() | {"row_wise": self.row_wise}


def _scatter(what: str, variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    # The raw operations: the methods of the variable give back the whole of it, copied.
    operation = getattr(tf.raw_ops, f"ResourceScatter{what}")
    operation(resource=variable.handle, indices=rows, updates=values)
