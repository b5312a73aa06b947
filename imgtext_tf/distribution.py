"""Training on several devices or machines: the same steps as on one, by slices of its batches.

`started` is entered once, before TensorFlow is used; models and optimisers are made in `scope`;
`training.fit` does the rest by `replicated_step`. The first worker, the chief, evaluates and
writes; what it decides the others are told (`from_chief`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import untrusted

logger = logging.getLogger(__name__)

STRATEGIES = ("single", "mirrored", "multi_worker")

_AT_ONCE = 64  # variables sent together
_SUM = tf.distribute.ReduceOp.SUM


class _State:
    """What the process trains with; `started` changes it."""

    strategy: tf.distribute.Strategy | None = None
    worker, workers = 0, 1
    sums: Mapping[bool, Callable] = {}


@contextlib.contextmanager
def started(name: str, cluster: Any = None) -> Iterator[None]:
    """Trains by a strategy while entered; enter it before anything else uses TensorFlow.

    Args:
        name: "single"; "mirrored": all GPUs of this machine (or logical CPUs, without one);
            "multi_worker": the machines of `cluster`.
        cluster: a `clusters.Cluster`, for "multi_worker".

    Raises:
        ValueError: if the strategy is unknown.
    """
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}: use one of {', '.join(STRATEGIES)}")
    if name == "single":
        yield
        return
    if name == "mirrored":
        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        _State.strategy = tf.distribute.MirroredStrategy(devices)
    else:
        os.environ["TF_CONFIG"] = cluster.config()
        _State.worker, _State.workers = cluster.number, len(cluster.workers)
        logger.info(
            "worker %d of %s: waiting for the others", _State.worker, ", ".join(cluster.workers)
        )
        _State.strategy = tf.distribute.MultiWorkerMirroredStrategy()
    _State.sums = {which: _make_sum(_State.strategy, which) for which in (True, False)}
    logger.info("%d replicas train together", replicas())
    # Predictions are each process's own: Keras would put those of all replicas into one array.
    keras.Model.distribute_strategy = property(lambda self: tf.distribute.get_strategy())
    try:
        yield
        from_chief(None)  # Nobody leaves while the chief still reports: it would count as lost.
    finally:
        del keras.Model.distribute_strategy
        _State.strategy, _State.worker, _State.workers = None, 0, 1


def strategy() -> tf.distribute.Strategy | None:
    """What the process trains by; None under "single"."""
    return _State.strategy


def replicas() -> int:
    """How many devices of all workers train together."""
    return 1 if _State.strategy is None else _State.strategy.num_replicas_in_sync


def worker() -> tuple[int, int]:
    """(number of this process, number of all): the slice of a global batch that it reads."""
    return _State.worker, _State.workers


def is_chief() -> bool:
    """Whether this process evaluates and writes."""
    return _State.worker == 0


def ends_here(outcome: Mapping[str, Any]) -> bool:
    """Whether a script has nothing left to do after training: stopped, or the chief reports."""
    return outcome["status"] == "stopped" or not is_chief()


def is_lost(error: Exception) -> bool:
    """Whether an error of TensorFlow says that another worker is gone."""
    kinds = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
    return isinstance(error, kinds) or "Collective ops is aborted" in str(error)


def scope() -> contextlib.AbstractContextManager:
    """Where models and optimisers are made that are trained by the strategy."""
    return contextlib.nullcontext() if _State.strategy is None else _State.strategy.scope()


def scoped(function: Callable) -> Callable:
    """Runs a function that makes a model, or its optimiser, in `scope`."""

    @functools.wraps(function)
    def inside(*arguments: Any, **named: Any) -> Any:
        with scope():
            return function(*arguments, **named)

    return inside


def from_chief(value: Any) -> Any:
    """The chief's value, on every worker; all must call it, in the same order.

    Args:
        value: an array, of the same shape and type on all workers, or JSON values; the others'
            values do not count.
    """
    if _State.workers == 1:
        return value
    if isinstance(value, np.ndarray):
        return _chiefs_array(value)
    sent = json.dumps(value if is_chief() else None).encode("utf-8")
    length = int(_chiefs_array(np.array(len(sent), np.int64)))
    letters = np.zeros(length, np.int64)
    if is_chief():
        letters[:] = np.frombuffer(sent, np.uint8)
    return untrusted.parse_json(_chiefs_array(letters).astype(np.uint8).tobytes())


def chief_first(function: Callable) -> Callable:
    """The others run a function after the chief has: a cache on a shared disk is made once."""

    @functools.wraps(function)
    def in_turn(*arguments: Any, **named: Any) -> Any:
        if not is_chief():
            from_chief(None)
        found = function(*arguments, **named)
        if is_chief():
            from_chief(None)
        return found

    return in_turn


def any_worker(flag: bool) -> bool:
    """Whether the flag is set on any worker; all must call it."""
    return flag if _State.workers == 1 else bool(_summed(np.array(int(flag), np.int64), False))


def _chiefs_array(value: np.ndarray) -> np.ndarray:
    """The chief's array: what collective operations have no type for travels in a wider one."""
    wide = np.int64 if value.dtype.kind in "iub" else np.float32
    wide = np.float64 if value.dtype == np.float64 else wide
    return _summed(value.astype(wide), True).astype(value.dtype)


def _summed(value: np.ndarray, of_chief: bool) -> np.ndarray:
    """The sum over all replicas, or what the first of them has: [...] -> [...]."""
    found = _State.sums[of_chief](tf.constant(value.ravel())).numpy()
    return found.reshape(value.shape)


def _make_sum(strategy: tf.distribute.Strategy, of_chief: bool) -> Callable:
    """[N] tensor of this worker -> [N] tensor, as a graph that is made once a type."""

    def add(value):
        context = tf.distribute.get_replica_context()
        if of_chief:
            number = tf.cast(context.replica_id_in_sync_group, tf.int32)
            value = tf.where(number == 0, value, tf.zeros_like(value))
        return context.all_reduce(_SUM, tf.identity(value))

    def run(value):
        found = strategy.run(add, args=(value,))
        return strategy.experimental_local_results(found)[0]

    return tf.function(run, autograph=False, reduce_retracing=True)


def share_variables(variables: Mapping[str, keras.Variable]) -> None:
    """Gives every worker the chief's values of some variables.

    Raises:
        ValueError: if a worker's variables are others than the chief's.
    """
    if _State.workers == 1:
        return
    shapes = [[name, list(variable.shape)] for name, variable in variables.items()]
    if from_chief(shapes) != shapes:
        raise ValueError("the workers' models differ: start all of them with the same command")
    for is_integer in (True, False):
        chosen = [one for one in variables.values() if ("int" in one.dtype) == is_integer]
        for start in range(0, len(chosen), _AT_ONCE):
            some = chosen[start : start + _AT_ONCE]
            values = [variable.numpy() for variable in some]
            wide = np.int64 if is_integer else np.float32
            flat = _chiefs_array(np.concatenate([one.ravel().astype(wide) for one in values]))
            ends = np.cumsum([one.size for one in values])[:-1]
            for variable, one, old in zip(some, np.split(flat, ends), values, strict=True):
                variable.assign(one.reshape(old.shape).astype(old.dtype))
