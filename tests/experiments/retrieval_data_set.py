"""A made-up data set of images and captions: what the captions say is what the images show."""

import hashlib

import numpy as np
import tensorflow as tf

from imgtext_tf.data import shards

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "grey": (90,) * 3}
SHAPES = ((24, 32), (32, 24), (32, 32))
COUNTS = {"train": 60, "val": 16, "test": 16}


def picture(number: int) -> tuple[bytes, list[str], tuple[int, int]]:
    """A picture in two colours, what it shows, and its shape."""
    rng = np.random.default_rng(number)
    height, width = SHAPES[number % 3]
    first, second = rng.choice(list(COLOURS), 2, replace=False)
    pixels = rng.integers(0, 30, [height, width, 3]).astype(np.uint8)
    pixels[: height // 2] += np.array(COLOURS[first], np.uint8)
    pixels[height // 2 :] += np.array(COLOURS[second], np.uint8)
    sentences = [f"a {first} top over {second}", f"{second} below number{number % 5}"]
    return tf.io.encode_png(pixels).numpy(), sentences, (height, width)


def write(folder) -> None:
    """Writes the data set."""
    infos, start = {}, 0
    for split, count in COUNTS.items():
        records = []
        for number in range(start, start + count):
            data, sentences, (height, width) = picture(number)
            records.append(
                {
                    "id": str(number),
                    "image": data,
                    "image_id": hashlib.sha256(data).hexdigest()[:16],
                    "height": height,
                    "width": width,
                    "sentences": sentences,
                    "sentence_ids": [f"{number}.{place}" for place in range(2)],
                    "objects": [f"{sentences[0].split()[1]}.n.01"],
                    "source": "made up",
                    "group": str(number),
                }
            )
        start += count
        path = shards.shard_path(folder, "captions", split, 0, 1)
        infos[split] = [shards.write_shard(path, "image_captions", records)]
    shards.write_manifest(
        folder,
        name="captions",
        record_kind="image_captions",
        kind="synthetic",
        build={},
        splits=infos,
        notes={},
    )
