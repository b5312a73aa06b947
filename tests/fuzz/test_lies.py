"""Data sets whose index or records say what is not so, under digests that are right."""

import hashlib
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from experiments import common_flags
from imgtext_tf.data import examples, pipeline, shards, text
from tests.fuzz.sources import framed, record

IDS = 4
HEAVY = pytest.mark.heavy


@pytest.fixture
def data(tmp_path):
    """A data set whose files a test may write anew; `vouch` writes the manifest that fits them."""
    path = shards.shard_path(tmp_path, "relations", "train", 0, 1)
    shards.write_shard(path, "relation", map(record, range(IDS)))
    return tmp_path


def vouch(data):
    info = shards.read_info(shards.shard_path(data, "relations", "train", 0, 1))
    shards.write_manifest(
        data, name="relations", record_kind="relation", kind="real", build={},
        splits={"train": [info]},
    )  # fmt: skip


def index_of(data):
    path = pathlib.Path(shards.index_path(shards.shard_path(data, "relations", "train", 0, 1)))
    with np.load(path, allow_pickle=False) as arrays:
        return path, dict(arrays)


def use(data):
    """What a training does with it: verification, plan and all batches of an epoch."""
    vouch(data)
    shards.verify(data)
    reader = shards.ShardReader(data, "train")
    batches = pipeline.relation_dataset(
        reader, target="relation", batch_size=2, image_size=4, training=True, seed=0, num_steps=2,
        vocabulary=text.Vocabulary(["a", "dog"]), by_length=True,
    )  # fmt: skip
    return list(batches)


def test_the_truth_is_used(data):
    assert len(use(data)) == 2


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("size", [2**62] * IDS, "behind the"),
        ("size", [2**63 - 1] * IDS, "behind the"),
        ("size", np.array([2**64 - 1] * IDS, np.uint64), "behind the"),
        ("offset", [2**40] * IDS, "behind the"),
        ("offset", [-1] * IDS, "'offset' has a number below 0"),
        ("words", [-5] * IDS, "'words' has a number below 0"),
        ("longest", [[1]] * IDS, "'longest' has int64"),
        ("id", [b"\xff", b"b", b"c", b"d"], "decode"),
        ("relation", [b"\xed\xa0\x80"] * IDS, "decode"),
        ("id", [b"../../up"] * IDS, "occurs twice"),
        ("offset", [0.5] * IDS, "'offset' has float64"),
    ],
)
def test_an_index_that_lies_is_named(data, column, values, message):
    path, arrays = index_of(data)
    np.savez(path, **(arrays | {column: np.array(values)}))
    with pytest.raises(shards.ShardError, match=message):
        use(data)


def test_an_index_that_points_elsewhere_is_found_by_reading(data):
    path, arrays = index_of(data)
    np.savez(path, **(arrays | {"offset": arrays["offset"] + 1}))
    with pytest.raises((shards.ShardError, tf.errors.OpError), match="no record|behind the"):
        use(data)
    np.savez(path, **(arrays | {"relation": np.array([b"Nonsense"] * IDS)}))
    with pytest.raises(ValueError, match="record 'r0'.*Nonsense"):
        use(data)
    # Lengths are only what batches are planned by.
    np.savez(path, **(arrays | {"longest": np.array([2**31 - 1] * IDS, np.int32)}))
    assert len(use(data)) == 2


def bytes_of(changes, number=0):
    """A record as `examples.encode` would never write it."""
    example = tf.train.Example.FromString(examples.encode("relation", record(number)))
    for name, values in changes.items():
        feature = example.features.feature[name]
        feature.Clear()
        if isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(values)
    return example.SerializeToString()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        pytest.param({"image": [b"GIF89a"]}, r"the image of 'r\d' cannot", id="image"),
        pytest.param(b"\xff" * 40, "Error parsing", id="noise", marks=HEAVY),
        pytest.param(b"", "has no field 'id'", id="nothing", marks=HEAVY),
        pytest.param({"image": [1]}, "'image' holds another type", id="number", marks=HEAVY),
        pytest.param({"image": [b"", b""]}, "'image' has 2 values", id="two", marks=HEAVY),
        pytest.param({"sentences": [7]}, "'sentences' holds another", id="no text", marks=HEAVY),
    ],
)
def test_a_record_that_is_none_is_named(data, payload, message):
    shard = pathlib.Path(shards.shard_path(data, "relations", "train", 0, 1))
    path, arrays = index_of(data)
    if isinstance(payload, dict):
        payloads = [bytes_of(payload, number) for number in range(IDS)]
    else:
        payloads = [payload] * IDS
        message = rf"{shard.name}: record \d \('r\d', byte \d+\) is not a record .*{message}"
    shard.write_bytes(b"".join(map(framed, payloads)))
    payload = payloads[0]
    size = shards.HEADER_BYTES + len(payload) + 4
    meta = json.loads(bytes(arrays["meta"])) | {
        "bytes": size * IDS, "sha256": hashlib.sha256(shard.read_bytes()).hexdigest()
    }  # fmt: skip
    arrays["offset"], arrays["size"] = size * np.arange(IDS), np.full(IDS, len(payload))
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(tf.errors.OpError, match=message) as found:
        use(data)
    assert common_flags.data_fault(found.value)
