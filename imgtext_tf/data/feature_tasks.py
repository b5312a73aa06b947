"""One shard of a feature cache as a task that processes and workers of a cluster can take."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data.files import ShardError, atomic
from imgtext_tf.data.runners import LOCAL, Runner, map_shards
from imgtext_tf.data.shards import ShardInfo, ShardReader, read_info

_ENCODER = "encoder.keras"


@dataclasses.dataclass(frozen=True)
class FeatureTask:
    """What a worker needs to write one shard.

    Attributes:
        path: of the shard.
        write: module:name of the function (task, readers, encode_batch) -> info.
        encoder: the Keras model's file; workers must see it.
        module: registers the model's layers.
        sources: (directory, split) of each reader; workers must see them.
        work: (image id, reader, row) of each image.
        how: the function's other settings, by name.
    """

    path: str
    write: str
    encoder: str
    module: str
    sources: tuple[tuple[str, str], ...]
    work: tuple[tuple[str, int, int], ...]
    how: tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A model that other processes can load.

    Attributes:
        model: images -> what is cached, by `predict_on_batch`.
        module: its import registers the model's layers.
    """

    model: keras.Model
    module: str = "imgtext_tf.encoders"


def weights_digest(model: keras.Model) -> str:
    """The sha256 of a model's weights, which tells what made a cache."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()


def write_shards(
    write: Callable[[FeatureTask, Sequence[ShardReader], Callable], ShardInfo],
    readers: Sequence[ShardReader],
    parts: Sequence[tuple[str, list[tuple[str, int, int]]]],
    encode_batch: Callable | Encoder,
    *,
    runner: Runner,
    directory: str | os.PathLike,
    **how: Any,
) -> Iterator[tuple[FeatureTask, ShardInfo]]:
    """Writes the shards of a cache that are missing, and yields each as it is done, in any order.

    Args:
        write: writes the shard of a task; a function of a module.
        readers: the splits whose images are wanted.
        parts: path and work of each shard.
        encode_batch: images -> what is cached; other processes need an `Encoder`.
        runner: see `Runner`; GPUs may be used.
        directory: of the cache.
        **how: settings of the tasks.

    Raises:
        ValueError: if other processes would need the encoder, and it is only a function.
        ShardError: if a file cannot be read or written.
    """
    directory = os.fspath(directory)
    file = os.path.join(directory, _ENCODER)
    name = f"{write.__module__}:{write.__qualname__}"
    module = encode_batch.module if isinstance(encode_batch, Encoder) else ""
    sources = tuple((reader.directory, reader.split) for reader in readers)
    tasks = [
        FeatureTask(path, name, file, module, sources, tuple(work), tuple(sorted(how.items())))
        for path, work in parts
    ]
    if runner == LOCAL:
        encode = encode_batch.model.predict_on_batch if module else encode_batch
        for task in tasks:
            yield task, finished(task) or write(task, readers, encode)
        return
    if not module:
        raise ValueError("other processes cannot have this encoder: give an `Encoder`")
    with atomic(file) as temporary:
        # Keras chooses the format by the suffix.
        encode_batch.model.save(f"{temporary}.keras")
        os.replace(f"{temporary}.keras", temporary)
    try:
        yield from map_shards(
            write_shard, tasks, runner, finished=finished, folder=directory, gpus=True
        )
    finally:
        filesystem.remove(file)


def finished(task: FeatureTask) -> ShardInfo | None:
    """The info of a shard that is whole; a damaged one is written again."""
    try:
        return read_info(task.path)
    except ShardError:
        return None


def write_shard(task: FeatureTask) -> ShardInfo:
    """Writes the shard of a task, in any process."""
    module, _, name = task.write.partition(":")
    write = getattr(importlib.import_module(module), name)
    readers = [_reader(*source) for source in task.sources]
    return write(task, readers, _encoder(task.encoder, task.module).predict_on_batch)


@functools.lru_cache(maxsize=8)
def _reader(directory: str, split: str) -> ShardReader:
    return ShardReader(directory, split)


@functools.lru_cache(maxsize=1)
def _encoder(path: str, module: str) -> keras.Model:
    importlib.import_module(module)
    return untrusted.load_model(path)
