"""One shard of images with captions, as `caption_plan` planned it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from imgtext_tf.data import shards
from tfrecords_tools import shard_tasks
from tfrecords_tools.caption_plan import Image
from tfrecords_tools.readers import base


@dataclasses.dataclass(frozen=True)
class CaptionTask:
    """What a worker needs to write one shard."""

    path: str
    images: tuple[Image, ...]
    resize: int | None


def write_shard(task: CaptionTask) -> shards.ShardInfo:
    """Writes the shard of a task.

    Raises:
        BuildError: if an image changed since it was planned.
        shards.ShardError: if a file cannot be written.
    """
    return shards.write_shard(task.path, "image_captions", _records(task))


def _records(task: CaptionTask) -> Iterator[dict[str, Any] | base.BadRecord]:
    for image in task.images:
        fields = shard_tasks.read_image(image.path, image.image_id, task.resize)
        if isinstance(fields, str):
            yield base.BadRecord(image.id, fields)
            continue
        yield fields | {
            "id": image.id,
            "source": image.source,
            "group": image.id,
            "sentence_ids": [sentence_id for sentence_id, _ in image.captions],
            "sentences": [text for _, text in image.captions],
        }
