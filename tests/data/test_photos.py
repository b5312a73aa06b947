"""Batches of photos: every pair once an epoch, any step at once, pixels or features."""

import numpy as np
import pytest

from imgtext_tf.data import features, photos, shards

LISTS = [["dog", "red dog"], ["dog"], [], ["cat", "dog"], ["bird"]]


@pytest.fixture(scope="module")
def reader(tmp_path_factory, record):
    folder = tmp_path_factory.mktemp("queries")
    names = ("id", "image", "image_id", "height", "width", "source", "group")
    rows = [
        {name: record(number)[name] for name in names} | {"queries": queries or ["none"]}
        for number, queries in enumerate(LISTS)
    ]
    info = shards.write_shard(shards.shard_path(folder, "q", "train", 0, 1), "image_query", rows)
    shards.write_manifest(
        folder, name="q", record_kind="image_query", kind="synthetic", build={},
        splits={"train": [info]},
    )  # fmt: skip
    return shards.ShardReader(folder, "train")


def test_text_lists_and_frequency(reader):
    found = photos.text_lists(reader, "queries")
    assert found == [own or ["none"] for own in LISTS]
    assert list(photos.by_frequency(LISTS).items()) == [
        ("dog", 3), ("bird", 1), ("cat", 1), ("red dog", 1),
    ]  # fmt: skip


def test_pairs_of_known_queries():
    pairs = photos.QueryPairs.of(LISTS, ["dog", "cat"])
    assert list(zip(pairs.rows, pairs.queries, strict=True)) == [(0, 0), (1, 0), (3, 1), (3, 0)]


def test_every_pair_once_an_epoch_in_a_new_order():
    rows = np.arange(30)
    pairs = photos.QueryPairs(rows, rows % 7)
    epochs = []
    for epoch in range(3):
        batches = [pairs.batch(10 * epoch + s, batch_size=3, seed=5)[0] for s in range(10)]
        epochs.append(np.concatenate(batches).tolist())
        assert sorted(epochs[-1]) == rows.tolist()
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != [*rows]
    again = pairs.batch(7, batch_size=3, seed=5)
    assert again[0].tolist() == epochs[0][21:24] and (again[1] == again[0] % 7).all()
    with pytest.raises(ValueError, match="no batch of 31"):
        pairs.batch(0, batch_size=31, seed=0)


def test_training_starts_at_any_step(reader):
    pairs = photos.QueryPairs.of(LISTS, ["dog", "cat", "bird"])
    how = {"batch_size": 2, "seed": 1, "image_size": 12, "distort": {}}
    whole = list(photos.pair_dataset(reader, pairs, start_step=0, num_steps=5, **how))
    later = list(photos.pair_dataset(reader, pairs, start_step=3, num_steps=2, **how))
    for (x, y), (a, b) in zip(whole[3:], later, strict=True):
        np.testing.assert_array_equal(x["image"], a["image"])
        np.testing.assert_array_equal(x["query"], a["query"])
        assert y["candidates"].numpy().tolist() == b["candidates"].numpy().tolist() == [0, 0]
    assert whole[0][0]["image"].shape == (2, 12, 12, 3)


def test_every_photo_once_with_its_features(reader, tmp_path):
    def encode(images):
        return np.asarray(images).mean((1, 2), keepdims=True)

    cache = features.write_feature_cache(
        tmp_path, [reader], encode, image_size=8, fingerprint={}, central_fraction=1.0
    )
    cached = list(photos.photo_dataset(reader, batch_size=2, features=cache))
    live = list(photos.photo_dataset(reader, batch_size=2, image_size=8))
    assert [len(batch["id"]) for batch in cached] == [2, 2, 1]
    ids = np.concatenate([batch["id"] for batch in cached])
    assert ids.tolist() == reader.index["id"].tolist()
    for one, other in zip(cached, live, strict=True):
        np.testing.assert_allclose(one["image_features"], encode(other["image"]), atol=1e-3)
    rows = np.array([4, 1, 3])
    some = list(photos.photo_dataset(reader, batch_size=2, features=cache, rows=rows))
    assert [one for batch in some for one in batch["id"].numpy()] == ids[rows].tolist()
    with pytest.raises(ValueError, match="give features, or image_size"):
        photos.photo_dataset(reader, batch_size=2)
