"""Small datasets for the tests of the data layer."""

import hashlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import relations
from imgtext_tf.data import shards

WORDS = "a red green dog cat runs sits on under the old wall by water again".split()


def make_record(number: int, *, images: int = 7) -> dict:
    """Record `number` of class `number % 8`, of 1 to 4 sentences; `images` distinct pictures."""
    rng = np.random.default_rng(number)
    relation = relations.RELATIONS[number % 8]
    cmi, sc, stat = relations.METRICS_OF_RELATION[relation]
    shade = np.random.default_rng(number % images).integers(0, 256, [3])
    pixels = np.broadcast_to(shade, [24 + number % images, 30, 3]).astype(np.uint8)
    image = tf.io.encode_png(pixels).numpy()
    return {
        "id": f"pair-{number}",
        "image": image,
        "image_id": hashlib.sha256(image).hexdigest()[:16],
        "height": pixels.shape[0],
        "width": 30,
        "sentences": [
            " ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(rng.integers(1, 5))
        ],
        "cmi": cmi,
        "sc": sc,
        "stat": stat,
        "relation": relation,
        "source": "odd" if number % 2 else "even",
        "group": f"group-{number // 4}",
    }


@pytest.fixture(scope="session")
def record():
    return make_record


@pytest.fixture(scope="session")
def write_dataset():
    """Writes `train` records to some shards of a folder, and the manifest."""

    def write(folder: pathlib.Path, records: list, shard_count: int = 3) -> pathlib.Path:
        infos = []
        for index in range(shard_count):
            path = shards.shard_path(folder, "relations", "train", index, shard_count)
            infos.append(shards.write_shard(path, "relation", records[index::shard_count]))
        shards.write_manifest(
            folder,
            name="relations",
            record_kind="relation",
            kind="synthetic",
            build={"seed": 1},
            splits={"train": infos},
        )
        return folder

    return write


@pytest.fixture(scope="session")
def dataset(tmp_path_factory, write_dataset) -> pathlib.Path:
    """90 records in 3 shards; read only."""
    return write_dataset(tmp_path_factory.mktemp("dataset"), [make_record(n) for n in range(90)])
