"""A data set small enough to train on in a test: 12 pairs a class in train, 4 in val and test."""

import hashlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from experiments import relation_experiment, relation_report
from imgtext_tf import relations
from imgtext_tf.data import shards
from tests.tiny_runs import settings_of

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
    return {
        "id": name,
        "image": image,
        "image_id": hashlib.sha256(image).hexdigest()[:16],
        "height": 40,
        "width": 48,
        "sentences": [" ".join(rng.permutation(words)) for _ in range(number % 3 + 1)],
        "cmi": cmi,
        "sc": sc,
        "stat": stat,
        "relation": relation,
        "source": "made up",
        "group": name,
        "swaps": [],
    }


@pytest.fixture(scope="session", autouse=True)
def small_sheets():
    """One example a class: drawing 24 takes longer than training on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relation_report, "_PAIRS_SHOWN", len(relations.RELATIONS))
        yield


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tiny_data")
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
    return folder


@pytest.fixture(scope="session")
def cached_run(tiny_data, tmp_path_factory):
    """A run from cached features: (settings, result)."""
    folder = tmp_path_factory.mktemp("cached")
    settings = settings_of(tiny_data, folder / "run", cache_features=str(folder / "cache"))
    return settings, relation_experiment.run(settings)
