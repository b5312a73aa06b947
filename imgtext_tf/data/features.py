"""A cache of feature maps: a backbone's output for every distinct image, computed once.

The cache is a dataset directory of "feature" shards (name `features`, split `images`), one row an
image whatever the number of pairs it stands in. Its images had evaluation preprocessing, so it
equals live features where distortions are off.
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

from imgtext_tf import filesystem
from imgtext_tf.data import examples, feature_tasks, images
from imgtext_tf.data.feature_tasks import Encoder, FeatureTask
from imgtext_tf.data.files import read_json, write_json
from imgtext_tf.data.runners import LOCAL, Runner
from imgtext_tf.data.shards import (
    MANIFEST,
    ShardInfo,
    ShardReader,
    read_records,
    shard_path,
    write_manifest,
    write_shard,
)

_NAME, _SPLIT = "features", "images"  # TensorFlow Datasets keeps "all" for itself
_DTYPES = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
# Written before the first shard, so that a stopped job cannot go on with another backbone.
_FINGERPRINT = "fingerprint.json"


class FeatureError(ValueError):
    """A feature cache that does not fit what it is asked for."""


class FeatureCache:
    """The feature maps of a cache directory, by image id; safe in threads.

    Attributes:
        shape: (h, w, C) of every map.
        fingerprint: what the maps were computed with.
    """

    def __init__(
        self, directory: str | os.PathLike, fingerprint: Mapping[str, Any] | None = None
    ) -> None:
        """Opens a finished cache.

        Args:
            directory: from `write_feature_cache`.
            fingerprint: items that the cache's fingerprint must have, such as backbone and
                weights; None compares nothing.

        Raises:
            ShardError: if a file is missing or damaged.
            FeatureError: if the cache was computed with something else.
        """
        self._reader = ShardReader(directory, _SPLIT)
        if self._reader.record_kind != "feature":
            raise FeatureError(f"{directory}: is no feature cache, use the folder of one")
        self.fingerprint: dict[str, Any] = self._reader.manifest["build"]
        _compare(directory, self.fingerprint, fingerprint or {})
        shape = self._reader.manifest["notes"].get("shape")
        if (
            self.fingerprint.get("dtype") not in _DTYPES
            or not isinstance(shape, list)
            or [type(side) for side in shape] != [int] * 3
            or min(shape) < 1
        ):
            raise FeatureError(f"{directory}: says no shape and type of its maps; compute it anew")
        self.shape: tuple[int, int, int] = tuple(shape)
        ids = self._reader.index["image_id"]
        self._order = np.argsort(ids)
        self._sorted_ids = ids[self._order]

    def __len__(self) -> int:
        """The number of images."""
        return len(self._reader)

    def lookup(self, image_ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """The rows of images: [N] str or bytes -> [N] int64.

        Raises:
            KeyError: naming an image without a row.
        """
        wanted = np.asarray(image_ids)
        if wanted.dtype.kind != "S":
            wanted = np.char.encode(wanted.astype(str), "utf-8")
        places = np.minimum(np.searchsorted(self._sorted_ids, wanted), len(self) - 1)
        missing = np.unique(wanted[self._sorted_ids[places] != wanted])
        if len(missing):
            some = ", ".join(one.decode("utf-8", "replace") for one in missing[:3])
            raise KeyError(
                f"{self._reader.directory}: lacks {len(missing)} images ({some}, ...): compute the "
                "cache again for these shards"
            )
        return self._order[places]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The feature maps at these rows: [B] int -> [B, h, w, C] float32.

        Raises:
            ShardError: if a shard changed since it was opened.
        """
        return self.decode(tf.constant(self.read_serialized(rows), tf.string)).numpy()

    def read_serialized(self, rows: np.ndarray) -> list[bytes]:
        """The records at these rows, for `decode`; raises what `read` raises."""
        return self._reader.read(rows)

    def decode(self, serialized: tf.Tensor) -> tf.Tensor:
        """Parses records in the graph: [B] string -> [B, h, w, C] float32."""
        values = examples.decode("feature", serialized, fields=["values"])["values"]
        maps = tf.io.decode_raw(values, tf.as_dtype(self.fingerprint["dtype"]))
        return tf.cast(tf.reshape(maps, [-1, *self.shape]), tf.float32)


def write_feature_cache(
    directory: str | os.PathLike,
    readers: Sequence[ShardReader],
    encode_batch: Callable[[tf.Tensor], Any] | Encoder,
    *,
    image_size: images.Size,
    fingerprint: Mapping[str, Any],
    batch_size: int = 32,
    shards: int = 8,
    dtype: str = "float16",
    central_fraction: float = images.EVAL_CROP,
    runner: Runner = LOCAL,
) -> FeatureCache:
    """Computes the feature map of every distinct image of some splits and returns the cache.

    A finished cache is just opened; a stopped one goes on at the first missing shard.

    Args:
        directory: of the cache, made where missing.
        readers: the splits whose images are wanted.
        encode_batch: [B, H, W, 3] float32 in [0, 1] -> [B, h, w, C] float, as a backbone does; a
            function or an `Encoder`.
        image_size: pixels that the backbone takes.
        fingerprint: what the maps depend on (backbone, sha256 of its weights, ...), JSON values.
        batch_size: images a call of `encode_batch`.
        shards: files to write, at most one an image.
        dtype: "float16" (half the disk) or "float32" (bit-equal to live features).
        central_fraction: see `images.eval_crop`.
        runner: what computes the shards; several processes or Beam need an `Encoder`.

    Raises:
        FeatureError: if the directory holds other maps, or a map is not finite in this dtype.
        ShardError: if a file cannot be read or written.
        images.ImageError: naming the image that cannot be decoded.
    """
    if dtype not in _DTYPES:
        raise FeatureError(f"dtype is {dtype!r}: use {' or '.join(_DTYPES)}")
    work = distinct_images(readers)
    shards = max(1, min(shards, len(work)))
    names = "\n".join(image_id for image_id, _, _ in work)
    build = json.loads(json.dumps(dict(fingerprint))) | {
        "image_size": list(image_size) if isinstance(image_size, tuple) else image_size,
        "central_fraction": central_fraction,
        "dtype": dtype,
        "shards": shards,
        "images": hashlib.sha256(names.encode("utf-8")).hexdigest(),
    }
    _claim(directory, build)
    if filesystem.exists(os.path.join(directory, MANIFEST)):
        return FeatureCache(directory, build)
    parts = [
        (shard_path(directory, _NAME, _SPLIT, number, shards), [work[place] for place in places])
        for number, places in enumerate(np.array_split(np.arange(len(work)), shards))
    ]
    infos = {}
    with tqdm(total=len(work), desc="feature maps", unit="image") as bar:
        for task, info in feature_tasks.write_shards(
            write_maps, readers, parts, encode_batch, runner=runner, directory=directory,
            dtype=dtype, size=image_size, fraction=central_fraction, batch_size=batch_size,
        ):  # fmt: skip
            infos[task.path] = info
            bar.update(len(task.work))
    found = [infos[path] for path, _ in parts]
    _finish(directory, found, build=build, kind=readers[0].manifest["kind"])
    return FeatureCache(directory, build)


def write_maps(
    task: FeatureTask, readers: Sequence[ShardReader], encode_batch: Callable[[tf.Tensor], Any]
) -> ShardInfo:
    """Writes the shard of a task; see `feature_tasks`."""
    how = dict(task.how)
    records = _records(encode_batch, how.pop("dtype"), image_batches(readers, task.work, **how))
    return write_shard(task.path, "feature", records)


def _finish(directory: str | os.PathLike, infos: list[ShardInfo], **more: Any) -> None:
    first = next(read_records(os.path.join(directory, infos[0].file)))
    notes = {"shape": examples.from_bytes("feature", first)["shape"]}
    splits = {_SPLIT: infos}
    write_manifest(directory, name=_NAME, record_kind="feature", splits=splits, notes=notes, **more)


def distinct_images(readers: Sequence[ShardReader]) -> list[tuple[str, int, int]]:
    """(image id, reader, row) of the first record of each image, sorted by id.

    Raises:
        FeatureError: if there is no image.
    """
    seen: dict[str, tuple[str, int, int]] = {}
    for number, reader in enumerate(readers):
        for row, image_id in enumerate(reader.index["image_id"].tolist()):
            name = image_id.decode("utf-8")
            seen.setdefault(name, (name, number, row))
    if not seen:
        raise FeatureError("there are no images to compute features of")
    # By id: another build of the same images finds the same cache.
    return sorted(seen.values())


def image_batches(
    readers: Sequence[ShardReader],
    work: Sequence[tuple[str, int, int]],
    *,
    size: images.Size,
    fraction: float,
    batch_size: int,
) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
    """([B] image ids, [B, H, W, 3] images) of these images, decoded in parallel."""

    def load(place: np.ndarray) -> tuple[bytes, bytes]:
        image_id, number, row = work[int(place)]
        data = readers[number].read(np.array([row]))[0]
        record = examples.from_bytes(readers[number].record_kind, data)
        return image_id.encode("utf-8"), record["image"]

    def decode(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image_id, data = tf.numpy_function(load, [place], [tf.string, tf.string], stateful=False)
        pixels = images.decode_named(tf.ensure_shape(data, []), tf.ensure_shape(image_id, []))
        return image_id, images.eval_crop(pixels, size, fraction)

    dataset = tf.data.Dataset.range(len(work)).map(decode, tf.data.AUTOTUNE, deterministic=True)
    for image_ids, batch in dataset.batch(batch_size).prefetch(2):
        yield image_ids.numpy(), batch


def _records(
    encode_batch: Callable[[tf.Tensor], Any],
    dtype: str,
    batches: Iterator[tuple[np.ndarray, tf.Tensor]],
) -> Iterator[dict[str, Any]]:
    for image_ids, batch in batches:
        maps = np.asarray(encode_batch(batch), np.float32)
        if maps.ndim != 4 or len(maps) != len(image_ids):
            raise FeatureError(f"the backbone gives {maps.shape}, not [B, h, w, C]")
        with np.errstate(over="ignore"):
            stored = maps.astype(_DTYPES[dtype])
        for image_id, one in zip(image_ids, stored, strict=True):
            name = image_id.decode("utf-8")
            if not np.isfinite(one).all():
                raise FeatureError(
                    f"image {name!r}: its feature map has values that are not finite as {dtype}; "
                    "use dtype='float32', or look at the weights"
                )
            yield {
                "image_id": name,
                "shape": list(one.shape),
                "dtype": dtype,
                "values": one.tobytes(),
            }


def _claim(directory: str | os.PathLike, build: Mapping[str, Any]) -> None:
    """Notes whose maps a directory holds, or compares."""
    path = os.path.join(directory, _FINGERPRINT)
    if filesystem.exists(path):
        _compare(directory, read_json(path), build)
    else:
        write_json(path, build)


def _compare(
    directory: str | os.PathLike, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    for key, value in wanted.items():
        if found.get(key) != value:
            raise FeatureError(
                f"{directory}: its feature maps were computed with {key} = {found.get(key)!r}, "
                f"not {value!r}; use another folder, or delete this one"
            )
