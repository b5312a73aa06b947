"""Writes the shards of a plan, each by itself, in processes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from imgtext_tf.data import images, shards
from tfrecords_tools.build_settings import BuildError
from tfrecords_tools.readers import base

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """What one process needs to write one shard."""

    path: str
    pairs: list[base.Pair]
    image_ids: dict[str, str]
    resize: int | None


def write_shard(task: ShardTask) -> shards.ShardInfo:
    """Writes the shard of a task, or takes it as it is where it is whole.

    Raises:
        BuildError: if an image changed since it was planned.
        shards.ShardError: if a file cannot be written.
    """
    try:
        info = shards.read_info(task.path)
    except shards.ShardError as error:
        _LOG.warning("writing a damaged shard again: %s", error)
        info = None
    return info or shards.write_shard(task.path, "relation", _records(task))


def _records(task: ShardTask) -> Iterator[dict[str, Any] | base.BadRecord]:
    for pair in task.pairs:
        data = base.read_bytes(pair.image_path)
        image_id = task.image_ids[pair.image_path]
        if hashlib.sha256(data).hexdigest()[:16] != image_id:
            raise BuildError(f"{pair.image_path}: changed while building; run the command again")
        try:
            height, width = images.check_image(data)
        except images.ImageError as error:
            # The file's name only: the index must not depend on where the raw data lies.
            yield base.BadRecord(pair.id, f"image {os.path.basename(pair.image_path)}: {error}")
            continue
        if task.resize and min(height, width) > task.resize:
            data, height, width = shrink(data, height, width, task.resize)
        yield {
            "id": pair.id,
            "image": data,
            "image_id": image_id,
            "height": height,
            "width": width,
            "sentences": list(pair.sentences),
            "cmi": pair.cmi,
            "sc": pair.sc,
            "stat": pair.stat,
            "relation": pair.relation,
            "source": pair.source,
            "group": pair.group,
            "swaps": [json.dumps(list(swap), ensure_ascii=False) for swap in pair.swaps],
        }


def shrink(data: bytes, height: int, width: int, side: int) -> tuple[bytes, int, int]:
    """Scales an image's shorter side to `side` pixels: (JPEG of quality 95, height, width)."""
    scale = side / min(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = tf.image.resize(images.decode_pixels(tf.constant(data)), (height, width), "area")
    pixels = tf.cast(tf.round(pixels), tf.uint8)
    return tf.io.encode_jpeg(pixels, quality=95).numpy(), height, width


def write_all(
    tasks: Sequence[Any],
    processes: int,
    write: Callable[[Any], shards.ShardInfo] = write_shard,
) -> Iterator[tuple[Any, shards.ShardInfo]]:
    """Writes the shards of all tasks, and yields each as it is done, in any order.

    Args:
        tasks: `ShardTask`s, or whatever `write` takes.
        processes: to share the work.
        write: writes the shard of a task; a function of a module, for processes to find it.

    Raises:
        BuildError, shards.ShardError: see `write_shard`.
    """
    if processes == 1:
        for task in tasks:
            yield task, write(task)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_process
    )
    try:
        futures = {pool.submit(write, task): task for task in tasks}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    """Ctrl-C is the parent's to handle; a process whose parent was killed ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tf.config.set_visible_devices([], "GPU")
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
