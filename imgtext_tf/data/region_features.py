"""A cache of region vectors: what a frozen backbone and max pooling give for every image.

Images keep their aspect, so their maps have many shapes; what R-MAC pools from them is a few
vectors each. Like the cache of feature maps it is a folder of "feature" shards (name `regions`),
one row an image, resumable, with a fingerprint of what made it. Images of one shape share a batch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data import examples, feature_tasks
from imgtext_tf.data.feature_tasks import Encoder, FeatureTask
from imgtext_tf.data.features import FeatureCache, FeatureError, distinct_images
from imgtext_tf.data.files import read_json, write_json
from imgtext_tf.data.runners import LOCAL, Runner
from imgtext_tf.data.shape_batches import image_batches
from imgtext_tf.data.shards import (
    MANIFEST,
    ShardInfo,
    ShardReader,
    read_info,
    read_records,
    shard_path,
    write_manifest,
    write_shard,
)

_NAME, _SPLIT = "regions", "images"
_FINGERPRINT = "fingerprint.json"
_CHUNK, _PER_SHARD = 512, 4096


def read_regions(directory: str | os.PathLike, image_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """The region vectors of images, padded with zeros: [N, R, C] float16.

    Args:
        directory: of `write_region_cache`.
        image_ids: [N] str or bytes.

    Raises:
        ShardError: if a file is missing or damaged.
        FeatureError: naming an image that the cache lacks.
    """
    reader = ShardReader(directory, _SPLIT)
    wanted = [one if isinstance(one, bytes) else str(one).encode("utf-8") for one in image_ids]
    row_of = {image_id: row for row, image_id in enumerate(reader.index["image_id"].tolist())}
    missing = [one.decode() for one in wanted if one not in row_of]
    if missing:
        raise FeatureError(
            f"{directory}: lacks {len(missing)} images ({missing[0]}, ...): remove the folder, it "
            "is then computed for these shards"
        )
    rows = np.array([row_of[one] for one in wanted], np.int64)
    notes = reader.manifest["notes"]
    untrusted.need(notes, {"regions": int, "channels": int}, reader.directory)
    found = np.zeros([len(rows), notes["regions"], notes["channels"]], np.float16)
    order = np.argsort(rows, kind="stable")  # as they lie on disk
    for start in range(0, len(order), _CHUNK):
        places = order[start : start + _CHUNK]
        for place, data in zip(places, reader.read(rows[places]), strict=True):
            record = examples.from_bytes("feature", data)
            try:
                values = np.frombuffer(record["values"], "<f2").reshape(record["shape"])
                found[place, : len(values)] = values
            except (TypeError, ValueError) as error:
                raise FeatureError(
                    f"{directory}: image {record['image_id']!r}: {error}; remove the folder, it is "
                    "then computed anew"
                ) from error
    return found


def write_region_cache(
    directory: str | os.PathLike,
    readers: Sequence[ShardReader],
    encode_batch: Callable[[tf.Tensor], Any] | Encoder,
    *,
    longest_side: int,
    fingerprint: Mapping[str, Any],
    batch_size: int = 32,
    images_per_shard: int = _PER_SHARD,
    runner: Runner = LOCAL,
) -> None:
    """Computes the region vectors of every distinct image of some splits.

    A finished cache stays as it is; a stopped one goes on at the first missing shard.

    Args:
        directory: of the cache.
        readers: splits of records with images.
        encode_batch: [B, H, W, 3] float32 in [0, 1] -> [B, R, C] float; a function or an
            `Encoder`.
        longest_side: see `shape_batches.scaled_shape`.
        fingerprint: what the vectors depend on, JSON values.
        batch_size: most images of a call.
        images_per_shard: about how many rows a shard has.
        runner: what computes the shards; several processes or Beam need an `Encoder`.

    Raises:
        FeatureError: if the folder holds vectors of something else, or a vector is not finite.
        images.ImageError: naming an image that cannot be decoded.
    """
    work = distinct_images(readers)
    build = dict(fingerprint) | {"longest_side": longest_side}

    def write_shards(parts: list[tuple[str, list]], bar: tqdm) -> dict[str, ShardInfo]:
        infos = {}
        for task, info in feature_tasks.write_shards(
            write_regions, readers, parts, encode_batch, runner=runner, directory=directory,
            longest_side=longest_side, batch_size=batch_size,
        ):  # fmt: skip
            infos[task.path] = info
            bar.update(len(task.work))
        return infos

    _write(directory, work, write_shards, build, readers[0].manifest["kind"], images_per_shard)


def pool_feature_cache(
    directory: str | os.PathLike,
    cache: FeatureCache,
    image_ids: Sequence[str],
    pool: Callable[[np.ndarray], Any],
    *,
    fingerprint: Mapping[str, Any],
    kind: str,
) -> None:
    """Makes the cache of region vectors out of one of whole feature maps, without the backbone.

    Args:
        directory: of the cache of region vectors.
        cache: of feature maps.
        image_ids: what it shall hold, in any order.
        pool: [B, h, w, C] -> [B, R, C].
        fingerprint: what the vectors depend on beside the maps, JSON values.
        kind: "real" or "synthetic" images.

    Raises:
        KeyError: naming an image without a map.
    """
    names = sorted(set(image_ids))
    rows = cache.lookup(names)

    def batches(part: list[tuple[str, int]]) -> Iterator[tuple[list[str], np.ndarray]]:
        for places in np.array_split(np.arange(len(part)), -(-len(part) // 128)):
            yield [part[p][0] for p in places], cache.read(np.array([part[p][1] for p in places]))

    def write_shards(parts: list[tuple[str, list]], bar: tqdm) -> dict[str, ShardInfo]:
        infos = {}
        for path, part in parts:
            info = read_info(path)
            infos[path] = info or write_shard(path, "feature", _records(batches(part), pool))
            bar.update(len(part))
        return infos

    build = dict(fingerprint) | {"maps": cache.fingerprint}
    work = list(zip(names, rows.tolist(), strict=True))
    _write(directory, work, write_shards, build, kind, _PER_SHARD)


def _write(
    directory: str | os.PathLike,
    work: list[tuple],
    write_shards: Callable[[list[tuple[str, list]], tqdm], dict[str, ShardInfo]],
    build: dict[str, Any],
    kind: str,
    images_per_shard: int,
) -> None:
    """Writes the shards that are missing, and the manifest; `work` begins with images' names."""
    digest = hashlib.sha256("\n".join(name for name, *_ in work).encode()).hexdigest()
    build = json.loads(json.dumps(build | {"images": digest}))
    _claim(directory, build)
    if filesystem.exists(os.path.join(directory, MANIFEST)):
        return
    count = -(-len(work) // images_per_shard)
    parts = [
        (shard_path(directory, _NAME, _SPLIT, number, count), [work[place] for place in places])
        for number, places in enumerate(np.array_split(np.arange(len(work)), count))
    ]
    with tqdm(total=len(work), desc="region vectors", unit="image") as bar:
        infos = write_shards(parts, bar)
    regions, channels = np.max([_largest_shape(path) for path, _ in parts], axis=0).tolist()
    write_manifest(
        directory,
        name=_NAME,
        record_kind="feature",
        kind=kind,
        build=build,
        splits={_SPLIT: [infos[path] for path, _ in parts]},
        notes={"regions": regions, "channels": channels},
    )


def write_regions(
    task: FeatureTask, readers: Sequence[ShardReader], encode_batch: Callable[[tf.Tensor], Any]
) -> ShardInfo:
    """Writes the shard of a task; see `feature_tasks`."""
    how = dict(task.how)
    batches = _batches(readers, task.work, how["longest_side"], how["batch_size"])
    return write_shard(task.path, "feature", _records(batches, encode_batch))


def _batches(
    readers: Sequence[ShardReader],
    work: Sequence[tuple[str, int, int]],
    longest_side: int,
    batch_size: int,
) -> Iterator[tuple[list[str], tf.Tensor]]:
    window = 16 * batch_size  # held in memory at once; shapes are sorted inside of it
    for start in range(0, len(work), window):
        part = work[start : start + window]
        rows = [(number, row) for _, number, row in part]
        for places, batch in image_batches(
            readers, rows, longest_side=longest_side, batch_size=batch_size
        ):
            yield [part[place][0] for place in places], batch


def _records(
    batches: Iterator[tuple[list[str], Any]], encode_batch: Callable[[Any], Any]
) -> Iterator[dict[str, Any]]:
    for names, batch in batches:
        found = np.asarray(encode_batch(batch), np.float32)
        if found.ndim != 3 or len(found) != len(names):
            raise FeatureError(f"the encoder gives {found.shape}, not [B, R, C]")
        with np.errstate(over="ignore"):
            stored = found.astype("<f2")
        for name, one in zip(names, stored, strict=True):
            if not np.isfinite(one).all():
                raise FeatureError(
                    f"image {name!r}: a region vector is not finite in 16 bits; look at the weights"
                )
            yield {
                "image_id": name,
                "shape": list(one.shape),
                "dtype": "float16",
                "values": one.tobytes(),
            }


def _largest_shape(path: str) -> np.ndarray:
    """[2]: regions and channels of the largest row of a shard."""
    shapes = [examples.from_bytes("feature", data)["shape"] for data in read_records(path)]
    return np.max(shapes, axis=0)


def _claim(directory: str | os.PathLike, build: Mapping[str, Any]) -> None:
    """Notes whose vectors a folder holds, or compares."""
    path = os.path.join(directory, _FINGERPRINT)
    if not filesystem.exists(path):
        write_json(path, build)
        return
    found = read_json(path)
    for key, value in build.items():
        if found.get(key) != value:
            raise FeatureError(
                f"{directory}: its region vectors were computed with {key} = {found.get(key)!r}, "
                f"not {value!r}; use another folder, or delete this one"
            )
