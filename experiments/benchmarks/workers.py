"""Two workers of a cluster against one, each held to one core and one thread."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import socket
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection

import keras
import numpy as np
import tensorflow as tf

from experiments.benchmarks import matching
from experiments.benchmarks.measure import Comparison, NotRunError, Timer
from experiments.benchmarks.place import Place
from imgtext_tf import clusters, distribution, runs, training

TITLE = "Several workers"
MINUTES = 2.5
_LONGEST = 600  # seconds that a training may take
_DROPPED = 3  # first steps, which build graphs


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The matching baseline's, and the words that each batch is padded to."""

    model: matching.Sizes = matching.Sizes()
    width: int = 13
    steps: int = 10


QUICK = Sizes(model=matching.QUICK, steps=6)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """A step of the same global batch, through `training.fit` as every script trains."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if len(cores) < 2:
        raise NotRunError("two workers need two cores")
    yield Comparison(
        f"A training step of {sizes.model.batch_size} pairs in all",
        {
            "one worker": _timer(place.folder, sizes, cores[:1]),
            "two workers, multi_worker": _timer(place.folder, sizes, cores[:2]),
        },
        unit="pairs",
        amount=sizes.model.batch_size,
        note=(
            f"The matching baseline on captions of {sizes.width} words; each worker has one core "
            f"and one thread, on one machine. Medians of {sizes.steps - _DROPPED} steps of a new "
            "start in each round."
        ),
    )


def _timer(folder: pathlib.Path, sizes: Sizes, cores: Sequence[int]) -> Timer:
    def measure() -> float:
        addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(len(cores)))
        context = multiprocessing.get_context("spawn")
        with contextlib.ExitStack() as stack:
            answers = []
            for number, core in enumerate(cores):
                ours, theirs = context.Pipe()
                cluster = clusters.Cluster(addresses, number) if len(cores) > 1 else None
                run_dir = folder / f"worker-{number}-of-{len(cores)}-{time.monotonic_ns()}"
                process = context.Process(
                    target=train, args=(sizes, cluster, core, run_dir, theirs), daemon=True
                )
                process.start()
                stack.callback(process.kill)
                # The process holds the other end alone: if it dies, waiting ends.
                theirs.close()
                answers.append(ours)
            return [_answer(ours) for ours in answers][0]

    return measure


def _answer(connection: Connection) -> float:
    """The seconds a step that a worker measured.

    Raises:
        RuntimeError: if it ended without an answer, or takes too long.
    """
    with contextlib.suppress(EOFError):
        if connection.poll(_LONGEST):
            return connection.recv()
    raise RuntimeError("a worker ended without an answer: what it printed says why")


def train(
    sizes: Sizes,
    cluster: clusters.Cluster | None,
    core: int,
    run_dir: pathlib.Path,
    answer: Connection,
) -> None:
    """What a worker does, in a process of its own: trains, and sends the seconds of a step."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    model_sizes = sizes.model
    rng = np.random.default_rng(0)
    size = model_sizes.batch_size
    batch = {
        "image_features": rng.random((size, model_sizes.features), np.float32),
        "caption_ids": rng.integers(1, model_sizes.words, (size, sizes.width)).astype(np.int32),
        "image_row": np.arange(size, dtype=np.int32),
    }
    times = _Times()
    with distribution.started("single" if cluster is None else "multi_worker", cluster):
        training.set_seed(0)
        with distribution.scope():
            model = matching.build(model_sizes, model_sizes.words)
        training.fit(
            model,
            lambda start, count: tf.data.Dataset.from_tensors(batch).repeat(count),
            run=runs.RunDirectory(run_dir),
            max_steps=sizes.steps,
            checkpoint_every=sizes.steps,
            seed=0,
            callbacks=[times],
        )
    answer.send(statistics.median(np.diff(times.ends)[_DROPPED - 1 :].tolist()))


class _Times(keras.callbacks.Callback):
    """Keeps when each step ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.ends.append(time.perf_counter())


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
