"""The prototypes' sums over one shard of photos: what a process or a worker of a cluster does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments import phrase_labels
from experiments.embedding_shards import open_reader
from imgtext_tf import filesystem, prototypes
from imgtext_tf.data import embeddings, examples
from imgtext_tf.data.files import ShardError, atomic

_CHUNK = 512


@dataclasses.dataclass(frozen=True)
class PrototypeTask:
    """What a worker needs to sum the embeddings of one shard by query.

    Attributes:
        path: of the sums to write.
        embeddings_dir: of `export_embeddings`, side "image"; workers must see it.
        data_dir: of the shards that were embedded; workers must see it.
        split: of them.
        shard: number of the shard.
        normalize: see `prototypes.Prototypes`.
        more_queries: count the photos' further queries, too.
        train_share: share of the photos that count, by a hash of their content.
        left_out: stems of words; queries that hold one of them do not count.
    """

    path: str
    embeddings_dir: str
    data_dir: str
    split: str
    shard: int
    normalize: bool
    more_queries: bool
    train_share: float
    left_out: Sequence[str] = ()


def write_shard(task: PrototypeTask) -> str:
    """Sums the embeddings of a shard's photos by query; returns the path.

    Raises:
        ShardError: if embeddings and photos do not fit, or a file cannot be read or written.

    Reference: Shah2019, Eq. 2.
    """
    ids, vectors = embeddings.EmbeddingShards(task.embeddings_dir).read(task.shard)
    reader = open_reader(task.data_dir, task.split)
    rows = np.flatnonzero(reader.index["shard"] == task.shard)
    if [name.decode("utf-8") for name in reader.index["id"][rows].tolist()] != ids:
        raise ShardError(
            f"{task.embeddings_dir}: shard {task.shard} has not the photos of {task.data_dir}; "
            "export the embeddings of these shards"
        )
    found = prototypes.Prototypes(vectors.shape[1], normalize=task.normalize)
    for start in range(0, len(rows), _CHUNK):
        data = reader.read(rows[start : start + _CHUNK])
        records = [examples.from_bytes(reader.record_kind, one) for one in data]
        kept = [place for place, one in enumerate(records) if _counts(one, task.train_share)]
        queries = [
            {*records[place]["queries"], *_further(records[place], task.more_queries)}
            for place in kept
        ]
        # Sorted: sets have no order, and it decides that of the file.
        queries = phrase_labels.without([sorted(own) for own in queries], task.left_out)
        found.add(vectors[start : start + _CHUNK][kept], queries)
    with atomic(task.path) as temporary:
        found.save(temporary)
    return task.path


def finished(task: PrototypeTask) -> str | None:
    """The path of the sums, if they are there."""
    return task.path if filesystem.exists(task.path) else None


def _counts(record: dict, train_share: float) -> bool:
    return int(record["image_id"][:8], 16) / 2**32 < train_share


def _further(record: dict, wanted: bool) -> list[str]:
    return record["more_queries"] if wanted else []
