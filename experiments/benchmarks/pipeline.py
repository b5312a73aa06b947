"""The input pipeline against the decoder alone, and the writing of shards against a plain loop."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from experiments.benchmarks.measure import Comparison, draining, timer
from experiments.benchmarks.place import Place
from imgtext_tf.data import examples, images, pipeline, shards, text
from tfrecords_tools import shard_tasks
from tfrecords_tools.readers.base import Pair
from tfrecords_tools.shard_tasks import ShardTask

TITLE = "Reading and writing shards"
MINUTES = 1.5
_AUTO = tf.data.AUTOTUNE


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Otto2020's images of 299 pixels; pairs of a measurement."""

    batch_size: int = 32
    batches: int = 30
    image_size: int = 299
    shards: int = 8
    pairs: int = 128


QUICK = Sizes(batches=6, shards=2, pairs=64)


def comparisons(place: Place, sizes: Sizes) -> Iterator[Comparison]:
    """Reading, then writing."""
    reader = shards.ShardReader(place.relation_shards(), "train")
    yield _reading(place, reader, sizes)
    processes = os.cpu_count() or 1
    pairs, ids = _raw_pairs(reader, sizes, place.folder / "photos")
    # Processes that a long build has started long ago.
    with concurrent.futures.ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn")
    ) as pool:
        yield _writing(place, reader.record_kind, pairs, ids, sizes, pool, processes)


def _reading(place: Place, reader: shards.ShardReader, sizes: Sizes) -> Comparison:
    size, batch, count = sizes.image_size, sizes.batch_size, sizes.batches + 1
    rows = np.arange(min(len(reader), batch * count))
    serialised = reader.read(rows)
    jpegs = examples.decode(reader.record_kind, tf.constant(serialised), fields=["image"])["image"]

    def decoded() -> tf.data.Dataset:
        files = tf.data.Dataset.from_tensor_slices(jpegs).repeat().take(batch * count)
        pixels = files.map(lambda file: tf.io.decode_jpeg(file, channels=3), _AUTO)
        # Images of several sizes make no batch of an array: only their number counts.
        return pixels.map(tf.size, _AUTO).batch(batch, num_parallel_calls=_AUTO).prefetch(4)

    def plain() -> tf.data.Dataset:
        def one(record: tf.Tensor) -> tf.Tensor:
            schema = {"image": tf.io.FixedLenFeature([], tf.string)}
            pixels = tf.io.decode_jpeg(tf.io.parse_single_example(record, schema)["image"], 3)
            return tf.image.resize(pixels, [size, size]) / 255.0

        files = tf.io.gfile.glob(os.path.join(reader.directory, "*-train-*.tfrecord"))
        records = tf.data.TFRecordDataset(files).repeat().take(batch * count)
        return records.map(one, _AUTO).batch(batch).prefetch(4)

    vocabulary = text.Vocabulary.from_counts(os.path.join(reader.directory, shards.WORDS))

    def ours(distort: dict | None) -> tf.data.Dataset:
        return pipeline.relation_dataset(
            reader,
            target="relation",
            batch_size=batch,
            vocabulary=vocabulary,
            training=True,
            image_size=size,
            distort=distort,
            num_steps=count,
        )

    return Comparison(
        f"Images to batches of {batch} at {size} pixels",
        {
            "tf.io.decode_jpeg alone, from memory": draining(decoded(), units=batch),
            "plain tf.data: records in order, decoded, resized": draining(plain(), units=batch),
            "ours: any order, texts, decoded, cropped, resized": draining(ours(None), units=batch),
            "ours: the same, distorted for training": draining(ours({}), units=batch),
        },
        unit="images",
        note=place.data_note(),
    )


def _raw_pairs(
    reader: shards.ShardReader, sizes: Sizes, folder: pathlib.Path
) -> tuple[list[Pair], dict[str, str]]:
    """Photos as files and their texts, as a reader of raw data gives them: (pairs, image ids)."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs, ids = [], {}
    rows = np.arange(sizes.shards * sizes.pairs) % len(reader)
    for number, data in enumerate(reader.read(rows)):
        record = examples.from_bytes(reader.record_kind, data)
        path = folder / f"{record['image_id']}.jpg"
        path.write_bytes(record["image"])
        ids[os.fspath(path)] = record["image_id"]
        metrics = {name: record.get(name) for name in ("cmi", "sc", "stat")}
        label = record["relation"] if reader.record_kind == "own_relation" else ""
        pairs.append(
            Pair(
                id=f"{number}",
                image_path=os.fspath(path),
                sentences=tuple(record["sentences"]),
                source="benchmark",
                group=f"{number}",
                label=label,
                **metrics,
            )
        )
    return pairs, ids


def _writing(
    place: Place,
    kind: str,
    pairs: Sequence[Pair],
    ids: dict[str, str],
    sizes: Sizes,
    pool: concurrent.futures.Executor,
    processes: int,
) -> Comparison:
    parts = [pairs[start : start + sizes.pairs] for start in range(0, len(pairs), sizes.pairs)]

    def tasks(name: str) -> list[ShardTask]:
        return [
            ShardTask(
                shards.shard_path(place.folder / name, "benchmark", "train", number, len(parts)),
                list(part),
                {pair.image_path: ids[pair.image_path] for pair in part},
                None,
            )
            for number, part in enumerate(parts)
        ]

    def one_process() -> None:
        for task in tasks("one"):
            shard_tasks.write_shard(task)

    plain = _plain_writer(parts, place.folder / "plain", lambda data: None)
    checked = _plain_writer(parts, place.folder / "plain", images.check_image)
    return Comparison(
        f"Shards of {sizes.pairs} pairs, from photos as files",
        {
            "plain loop: tf.train.Example, TFRecordWriter": timer(plain),
            "the same, each photo decoded to see that it is whole": timer(checked),
            "ours in one process": timer(one_process),
            f"ours in {processes} processes": timer(
                lambda: list(pool.map(shard_tasks.write_shard, tasks("several")))
            ),
        },
        unit="shards",
        amount=len(parts),
        note=(
            "Ours checks photos, hashes photos and shards, and writes an index with the counts of "
            "words; processes were started before."
        ),
    )


def _plain_writer(
    parts: Sequence[Sequence[Pair]], folder: pathlib.Path, look: Callable[[bytes], object]
) -> Callable[[], None]:
    folder.mkdir(exist_ok=True)

    def feature(values: Sequence[bytes]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def write() -> None:
        for number, part in enumerate(parts):
            with tf.io.TFRecordWriter(os.fspath(folder / f"{number}.tfrecord")) as writer:
                for pair in part:
                    data = pathlib.Path(pair.image_path).read_bytes()
                    look(data)
                    fields = {
                        "image": feature([data]),
                        "id": feature([pair.id.encode()]),
                        "sentences": feature([one.encode() for one in pair.sentences]),
                        "relation": feature([pair.relation.encode()]),
                    }
                    example = tf.train.Example(features=tf.train.Features(feature=fields))
                    writer.write(example.SerializeToString())

    return write
