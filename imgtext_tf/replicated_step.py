"""A Keras training step on several replicas: what Keras 3.15 lacks for it, in one place.

Every replica takes its rows of the same global batch; gradients, losses and metrics are those of
the global batch, also where its rows do not divide evenly: a replica's mean counts by its share of
the rows. Losses that compare rows of a batch gather them (`layers.replicas`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from imgtext_tf import distribution
from imgtext_tf.sparse_gradients import merged

# Far apart, so that replicas' counters do not meet.
_SEED_STEP = 1_000_003
_SUM = tf.distribute.ReduceOp.SUM


class Stop:
    """A wish to stop training that all workers follow after the same step."""

    def __init__(self):
        """Nobody wishes to stop."""
        self.wished = tf.Variable(0.0, trainable=False)
        self._agreed: Any = False

    def wish(self) -> None:
        """Stops all workers after the next step."""
        self.wished.assign(1.0)

    def agree(self, value: Any) -> None:
        """Notes how many workers wished it in this step."""
        self._agreed = value

    def agreed(self) -> bool:
        """Whether all stop now."""
        return bool(self._agreed > 0)


def attach(
    model: keras.Model, dataset: tf.data.Dataset, stop: Stop, *, cut: Callable, sliced: bool
) -> tf.data.Dataset:
    """Makes `model.fit` train by the strategy: the batches to give it.

    What is replaced, on this model and its optimisers:
    - `_maybe_symbolic_build` (private) would average a batch over the workers and build the model
      anew: `_symbolic_build` does it once, from the shapes.
    - `make_train_function` reduces logs along an axis that they have not: a step gives the metrics
      of the global batch.
    - `optimizer.apply` would clip gradients before they are summed over the replicas: they are
      summed first, and `_all_reduce_sum_gradients` (private) does nothing.
    - `optimizer.scale_loss` takes a replica's mean loss by its share of the batch's rows, and the
      logged losses of several outputs count by rows.

    Args:
        model: compiled, made in `scope`.
        dataset: the batches.
        stop: see `Stop`.
        cut: (batch, number, count) -> one of so many parts of a batch, such as `cut_rows`.
        sliced: whether the batches are this worker's slices already; else they are cut.
    """
    strategy = distribution.strategy()
    if strategy is None:
        return dataset
    number, count = distribution.worker()
    if count > 1 and not sliced:
        dataset = dataset.map(lambda *all: cut(all if all[1:] else all[0], number, count))
    with strategy.scope():
        model._symbolic_build(data_batch=dataset.element_spec)
    model._maybe_symbolic_build = lambda **_: None
    for layer in _layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            # The statistics of the global batch, which also keeps them equal on all workers.
            layer.synchronized = True
    step = _Step(model, cut, stop)
    step.replace_weights_of_losses()
    for optimizer in optimizers_of(model):
        step.replace_reduction(optimizer)

    def make_train_function(force: bool = False) -> None:
        @tf.function(reduce_retracing=True, autograph=False)
        def run(batch):
            found = strategy.run(step.take, args=(batch,))
            return {
                name: strategy.experimental_local_results(value)[0] for name, value in found.items()
            }

        def train(iterator):
            logs = run(next(iterator))
            stop.agree(logs.pop("stop"))
            return logs

        model.train_function = train

    model.make_train_function = make_train_function
    return dataset


def optimizers_of(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """The optimisers that are attributes of a model, each once."""
    found = {
        id(value): value
        for value in vars(model).values()
        if isinstance(value, keras.optimizers.Optimizer)
    }
    return list(found.values())


class _Step:
    """One training step of one replica."""

    def __init__(self, model: keras.Model, cut: Callable, stop: Stop):
        self._model, self._cut, self._stop = model, cut, stop
        # A model with a step of its own knows the global batch; Keras' step knows its rows only.
        self._keras_step = type(model).train_step is keras.Model.train_step
        # Replicas of one process are threads that take turns.
        self._of_replica = threading.local()
        shared = {
            id(layer.seed_generator.state)
            for layer in _layers_of(model)
            if getattr(layer, "one_draw", False)
        }
        weights = {id(variable) for variable in model.weights}
        self._seeds = [v for v in model.variables if id(v) not in weights | shared]

    def take(self, batch):
        """Trains on the replica's part of a worker's batch: the logs of the global batch."""
        context = tf.distribute.get_replica_context()
        number = tf.cast(context.replica_id_in_sync_group, tf.int32)
        own, workers = distribution.worker()
        local = context.num_replicas_in_sync // workers
        part = self._cut(batch, number - own * local, local)
        if self._keras_step:
            rows = tf.cast(_rows(part), tf.float32)
            total = context.all_reduce(_SUM, tf.identity(rows))
            self._of_replica.rows = rows
            self._of_replica.share = rows * context.num_replicas_in_sync / total
        offset = tf.cast(number, tf.int64) * _SEED_STEP
        self._move_seeds(offset)
        logs = self._model.train_step(part)
        self._move_seeds(-offset)
        return self._of_all(context, logs)

    def replace_reduction(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Sums gradients over the replicas before anything is done with them."""
        for replaced in ("apply", "scale_loss"):  # by an earlier call of fit
            vars(optimizer).pop(replaced, None)
        apply, scale = optimizer.apply, optimizer.scale_loss
        # Keras clips and squares repeated rows one by one: as on one device, unless the model
        # itself sees to it that none is repeated.
        merges = getattr(self._model, "merges_rows", False)

        def summed_apply(grads, trainable_variables=None):
            context = tf.distribute.get_replica_context()
            places = [place for place, one in enumerate(grads) if one is not None]
            sums = context.all_reduce(_SUM, [grads[place] for place in places])
            grads = list(grads)
            for place, one in zip(places, sums, strict=True):
                grads[place] = merged(one) if merges else one
            return apply(grads, trainable_variables)

        optimizer.apply = summed_apply
        for one in (optimizer, getattr(optimizer, "inner_optimizer", optimizer)):
            one._all_reduce_sum_gradients = lambda pairs: pairs
        if self._keras_step:
            optimizer.scale_loss = lambda loss: scale(
                loss * tf.cast(self._of_replica.share, loss.dtype)
            )

    def replace_weights_of_losses(self) -> None:
        """Logs the mean loss of each of several outputs by rows: Keras may not know how many."""
        for metric in self._model.metrics if self._keras_step else ():
            if type(metric) is not keras.metrics.Mean or metric.name == "loss":
                continue
            vars(metric).pop("update_state", None)
            metric.update_state = lambda value, sample_weight=None, update=metric.update_state: (
                update(value, sample_weight=self._of_replica.rows)
            )

    def _move_seeds(self, offset) -> None:
        """Every replica draws its own dropout; between the steps all have the chief's seeds."""
        step = tf.one_hot(0, 2, offset, 0, dtype=tf.int64)
        for state in self._seeds:
            now = tf.cast(tf.convert_to_tensor(state), tf.int64)
            state.assign(tf.cast(now + step, state.dtype))

    def _of_all(self, context, logs):
        """The logs, of the metrics' sums over all replicas."""
        metrics = [variable for metric in self._model.metrics for variable in metric.variables]
        values = [tf.reshape(tf.cast(tf.convert_to_tensor(v), tf.float32), [-1]) for v in metrics]
        values.append(tf.reshape(self._stop.wished, [1]))
        sums = context.all_reduce(_SUM, tf.concat(values, 0))
        *sums, stop = tf.split(sums, [value.shape[0] for value in values])
        shaped = [
            (variable, tf.cast(tf.reshape(one, variable.shape), variable.dtype))
            for variable, one in zip(metrics, sums, strict=True)
        ]
        with keras.StatelessScope(state_mapping=shaped):
            exact = self._model.get_metrics_result()
        return {name: exact[name] for name in logs} | {"stop": tf.reshape(stop, [])}


def _layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers_of(layer)


def _rows(batch):
    return tf.shape(tf.nest.flatten(batch)[0])[0]


def cut_rows(batch, number, count):
    """A part of the rows of a batch; the first parts have one more where they do not divide evenly.

    Args:
        batch: a structure of dense tensors, all with the same number of rows.
        number: of the part, [] int32 or int.
        count: of all parts, int.
    """
    if count == 1:
        return batch
    rows = _rows(batch)
    check = tf.debugging.assert_greater_equal(
        rows, count, "a batch has fewer rows than there are replicas: use a larger --batch_size"
    )
    with tf.control_dependencies([check]):
        size, more = rows // count, rows % count
    start = number * size + tf.minimum(number, more)
    stop = start + size + tf.cast(number < more, tf.int32)
    return tf.nest.map_structure(lambda tensor: tensor[start:stop], batch)
