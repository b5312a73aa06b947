"""Writes the shards of a plan, each by itself: what a process or a worker of a cluster does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator
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
    """Writes the shard of a task.

    Raises:
        BuildError: if an image changed since it was planned.
        shards.ShardError: if a file cannot be written.
    """
    # A build has classes of the user's own throughout, or none.
    kind = "own_relation" if task.pairs[0].label else "relation"
    return shards.write_shard(task.path, kind, _records(task))


def finished(task: Any) -> shards.ShardInfo | None:
    """The info of the shard at a task's `path`; None where it is missing or damaged."""
    try:
        return shards.read_info(task.path)
    except shards.ShardError as error:
        _LOG.warning("writing a damaged shard again: %s", error)
        return None


def _records(task: ShardTask) -> Iterator[dict[str, Any] | base.BadRecord]:
    for pair in task.pairs:
        image = read_image(pair.image_path, task.image_ids[pair.image_path], task.resize)
        if isinstance(image, str):
            yield base.BadRecord(pair.id, image)
            continue
        metrics = {"cmi": pair.cmi, "sc": pair.sc, "stat": pair.stat}
        yield (
            image
            | ({} if pair.label else metrics)
            | {
                "id": pair.id,
                "sentences": list(pair.sentences),
                "relation": pair.relation,
                "source": pair.source,
                "group": pair.group,
                "swaps": [json.dumps(list(swap), ensure_ascii=False) for swap in pair.swaps],
            }
        )


def read_image(path: str, image_id: str, resize: int | None) -> dict[str, Any] | str:
    """The fields `image`, `image_id`, `height` and `width` of a file, or what is wrong with it.

    Args:
        path: of the file.
        image_id: as it was planned.
        resize: scale an image with a longer shorter side to this one, in pixels.

    Raises:
        BuildError: if the file changed since it was planned.
    """
    data = base.read_bytes(path)
    if hashlib.sha256(data).hexdigest()[:16] != image_id:
        raise BuildError(f"{path}: changed while building; run the command again")
    try:
        pixels = images.checked_pixels(data)
    except images.ImageError as error:
        # The file's name only: the index must not depend on where the raw data lies.
        return f"image {os.path.basename(path)}: {error}"
    turned = images.upright(pixels, data)
    height, width = turned.shape[:2]
    if resize and min(height, width) > resize:
        scale = resize / min(height, width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        turned = tf.cast(tf.round(tf.image.resize(turned, (height, width), "area")), tf.uint8)
    if turned is not pixels:
        # Also where it is turned only: readers of shards decode in the graph, which knows no EXIF.
        data = tf.io.encode_jpeg(turned, quality=95).numpy()
    return {"image": data, "image_id": image_id, "height": height, "width": width}
