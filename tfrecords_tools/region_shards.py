"""One shard of Visual Genome's images with their region descriptions."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf.data import images, shape_batches, shards
from tfrecords_tools.build_settings import BuildError
from tfrecords_tools.readers import base, visual_genome
from tfrecords_tools.readers.visual_genome import RegionImage


@dataclasses.dataclass(frozen=True)
class RegionTask:
    """What a worker needs to write one shard."""

    path: str
    images: list[RegionImage]
    image_ids: dict[str, str]
    longest_side: int


def write_shard(task: RegionTask) -> shards.ShardInfo:
    """Writes the shard of a task.

    Raises:
        BuildError: if an image changed since it was planned.
        shards.ShardError: if a file cannot be written.
    """
    return shards.write_shard(task.path, "image_captions", _records(task))


def _records(task: RegionTask) -> Iterator[dict[str, Any] | base.BadRecord]:
    for image in task.images:
        data = base.read_bytes(image.image_path)
        image_id = task.image_ids[image.image_path]
        if hashlib.sha256(data).hexdigest()[:16] != image_id:
            raise BuildError(f"{image.image_path}: changed while building; run the command again")
        try:
            pixels = images.checked_pixels(data)
        except images.ImageError as error:
            name = os.path.basename(image.image_path)
            yield base.BadRecord(image.id, f"image {name}: {error}")
            continue
        turned = images.upright(pixels, data)
        height, width = turned.shape[:2]
        if turned is not pixels or 0 < task.longest_side < max(height, width):
            if 0 < task.longest_side < max(height, width):
                height, width = shape_batches.scaled_shape(height, width, task.longest_side)
            data = _as_jpeg(turned, height, width)
        yield {
            "id": image.id,
            "image": data,
            "image_id": image_id,
            "height": height,
            "width": width,
            "sentences": list(image.sentences),
            "sentence_ids": list(image.sentence_ids),
            "objects": list(image.objects),
            "source": visual_genome.SOURCE,
            "group": image.id,
        }


def _as_jpeg(pixels: np.ndarray, height: int, width: int) -> bytes:
    """An image as a JPEG of a shape, of the quality that all builds have."""
    pixels = tf.image.resize(pixels, (height, width), "area")
    return tf.io.encode_jpeg(tf.cast(tf.round(pixels), tf.uint8), quality=95).numpy()
