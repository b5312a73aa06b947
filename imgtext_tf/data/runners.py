"""Where the shards of a job are made: in this process, in several, or by an Apache Beam runner.

The unit of work is a shard. A task is all that a function needs to write one, whatever machine it
runs on; the function writes it atomically, so that a stopped job goes on at the first missing one.
All runners call the same functions and leave the same bytes.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from imgtext_tf import filesystem
from imgtext_tf.data import files, task_files

RUNNERS = ("local", "beam")
# The name DirectRunner stands for a program that Beam fetches from the network where it can. This
# one is Beam's own Python.
_DIRECT = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"

_LOG = logging.getLogger(__name__)
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Runner:
    """What makes the shards.

    Attributes:
        name: "local" or "beam".
        processes: of the local runner.
        beam_options: Beam's pipeline options, such as "runner=DataflowRunner" or
            "--direct_num_workers=4".
    """

    name: str = "local"
    processes: int = 1
    beam_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Sees that the fields fit each other."""
        if self.name not in RUNNERS:
            raise ValueError(f"--runner={self.name}: use one of {', '.join(RUNNERS)}")
        if self.processes < 1:
            raise ValueError("--processes must be at least 1")
        if self.beam_options and self.name != "beam":
            raise ValueError("--beam_options need --runner=beam")


LOCAL = Runner()


def map_shards(
    write: Callable[[Task], Result],
    tasks: Sequence[Task],
    runner: Runner,
    *,
    finished: Callable[[Task], Result | None],
    folder: str,
    gpus: bool = False,
) -> Iterator[tuple[Task, Result]]:
    """Makes the shards of all tasks that are missing, and yields each task as it is done.

    Args:
        write: writes the shard of a task; a function of a module that workers can import.
        tasks: one a shard; see `task_files.to_bytes`.
        runner: see `Runner`.
        finished: gives the result of a task whose shard is whole, else None; like `write`.
        folder: of the shards; with Beam all workers and this process must see it.
        gpus: whether workers may use GPUs.

    Yields:
        (task, result), in any order.

    Raises:
        ShardError: if a Beam worker failed, or its shards are not here; and what `write` raises.
    """
    todo = []
    for task, result in _look(tasks, finished):
        if result is None:
            todo.append(task)
        else:
            yield task, result
    if runner.name == "beam" and todo:
        _run_pipeline(write, todo, runner.beam_options, finished, folder, gpus)
        for task, result in _look(todo, finished):
            if result is None:
                raise files.ShardError(
                    f"{folder}: the Beam workers wrote shards that cannot be seen here; name a "
                    "folder that all machines share, such as gs://bucket/folder"
                )
            yield task, result
    elif runner.processes == 1:
        for task in todo:
            yield task, write(task)
    else:
        yield from _map_processes(write, todo, runner.processes, gpus)


def _look(
    tasks: Sequence[Task], finished: Callable[[Task], Result | None]
) -> Iterator[tuple[Task, Result | None]]:
    """What is there already, in the order of the tasks; files may be far away."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        yield from zip(tasks, pool.map(finished, tasks), strict=True)


# Processes ---------------------------------------------------------------------------------------


def _map_processes(
    write: Callable[[Task], Result], tasks: Sequence[Task], processes: int, gpus: bool
) -> Iterator[tuple[Task, Result]]:
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_process, (gpus,)
    )
    try:
        futures = {pool.submit(write, task): task for task in tasks}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process(gpus: bool) -> None:
    """Ctrl-C is the parent's to handle; a process whose parent was killed ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not gpus:
        tf.config.set_visible_devices([], "GPU")
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# Apache Beam -------------------------------------------------------------------------------------


def _run_pipeline(
    write: Callable, tasks: Sequence, options: Sequence[str], finished: Callable, folder: str,
    gpus: bool,
) -> None:  # fmt: skip
    """Runs a pipeline of one element a task.

    Tasks hold the texts of their shards: more than runners take as part of a pipeline. So they go
    through files beside the shards, and the pipeline has the files' names and digests.
    """
    try:
        import apache_beam as beam
        from apache_beam.options import pipeline_options
    except ImportError as error:
        raise files.ShardError(
            f"--runner=beam needs Apache Beam ({error}): pip install 'imgtext_tf[beam]'"
        ) from None
    flags = [option if option.startswith("-") else f"--{option}" for option in options]
    names = [name for name in flags if name.partition("=")[0] == "--runner"]
    flags = [f"--runner={_DIRECT}"] * (not names) + [
        f"--runner={_DIRECT}" if flag == "--runner=DirectRunner" else flag for flag in flags
    ]
    below = os.path.join(folder, f"tasks-{uuid.uuid4().hex}")
    how = {"write": _name_of(write), "finished": _name_of(finished), "gpus": gpus}

    try:
        elements = [_write_task(below, number, task) for number, task in enumerate(tasks)]
        _LOG.info("%d shards go to Beam: %s", len(tasks), " ".join(flags))
        pipeline = beam.Pipeline(options=pipeline_options.PipelineOptions(flags))
        made = pipeline | "tasks" >> beam.Create(elements)
        # Without it a runner would give all tasks to the worker that made the list.
        made | "spread" >> beam.Reshuffle() | "write" >> beam.Map(run_task, **how)
        state = pipeline.run().wait_until_finish()
        if state is not None and str(state) != "DONE":
            raise RuntimeError(f"the job ended as {state}")
    except Exception as error:  # whatever a runner makes of a worker's error
        text = str(error).strip()
        raise files.ShardError(
            f"{folder}: the Beam job failed; mend what it names and run the same command again, it "
            f"goes on at missing shards: {text[-2000:] or repr(error)}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            filesystem.remove_tree(below)


def _write_task(folder: str, number: int, task: Any) -> tuple[str, str]:
    """Writes a task; gives its file and the digest that vouches for it."""
    data = task_files.to_bytes(task)
    path = os.path.join(folder, f"{number:05d}")
    files.write_file(path, data)
    return path, hashlib.sha256(data).hexdigest()


def run_task(element: tuple[str, str], *, write: str, finished: str, gpus: bool) -> str:
    """What a Beam worker does with an element: makes the shard of a task, if it is missing.

    Args:
        element: of `_write_task`: no other file than the launcher's is used.
        write: module:name of the function.
        finished: module:name of the function.
        gpus: whether it may use GPUs.

    Returns:
        The path of the task's file.

    Raises:
        ShardError: if the file is another one.
    """
    path, sha256 = element
    if not gpus:
        with contextlib.suppress(RuntimeError):  # TensorFlow was in use here before
            tf.config.set_visible_devices([], "GPU")
    data = filesystem.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise files.ShardError(f"{path}: is not what the launcher wrote")
    task = task_files.from_bytes(data)
    if _function(finished)(task) is None:
        # A runner may give a task to two workers at once.
        token = files.writer.set(f"-{uuid.uuid4().hex}")
        try:
            _function(write)(task)
        finally:
            files.writer.reset(token)
    return path


def _name_of(function: Callable) -> str:
    module = function.__module__
    if module == "__main__":  # of a command: its importable name
        module = sys.modules["__main__"].__spec__.name
    return f"{module}:{function.__qualname__}"


def _function(name: str) -> Callable:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
