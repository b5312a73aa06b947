"""A made-up data set for Otto2020: 12 pairs a class in train, 4 in val and test."""

import hashlib
import json
import pathlib

import numpy as np
import tensorflow as tf

from imgtext_tf import relations
from imgtext_tf.data import shards

PAIRS = {"train": 12, "val": 4, "test": 4}
# One word tells the class, the others are noise: a model of texts can learn it in a few steps.
NOISE = "a photo of the old house by our quiet lake".split()


def record(relation: str, split: str, number: int) -> dict:
    rng = np.random.default_rng([relations.RELATIONS.index(relation), len(split), number])
    pixels = rng.integers(0, 256, [40, 48, 3], np.uint8)
    image = tf.io.encode_jpeg(pixels).numpy()
    cmi, sc, stat = relations.METRICS_OF_RELATION[relation]
    words = [*rng.permutation(NOISE)[:4], "class" + relation.replace(" ", "").lower()]
    name = f"{split}-{relation.replace(' ', '-')}-{number}"
    sentences = [" ".join(rng.permutation(words)) for _ in range(number % 3 + 1)]
    # As if the word that tells the class had been another one.
    start = sentences[0].index("class")
    swap = json.dumps([0, start, "before", sentences[0][start:].split()[0]])
    return {
        "id": name,
        "image": image,
        "image_id": hashlib.sha256(image).hexdigest()[:16],
        "height": 40,
        "width": 48,
        "sentences": sentences,
        "cmi": cmi,
        "sc": sc,
        "stat": stat,
        "relation": relation,
        "source": "made up" if number % 4 else "elsewhere",
        "group": name,
        "swaps": [swap] if sc == -1 else [],
    }


def write(folder: pathlib.Path) -> None:
    """Writes the data set, with its balanced parts."""
    infos = {}
    for split, count in PAIRS.items():
        records = [record(r, split, n) for n in range(count) for r in relations.RELATIONS]
        path = shards.shard_path(folder, "relations", split, 0, 1)
        infos[split] = [shards.write_shard(path, "relation", records)]
        # Half of the pairs make the balanced part.
        ids = [one["id"] for one in records[: len(records) // 2]]
        (folder / f"balanced_{split}_ids.txt").write_text("\n".join(ids) + "\n")
    shards.write_manifest(
        folder,
        name="relations",
        record_kind="relation",
        kind="synthetic",
        build={},
        splits=infos,
        notes={},
    )
