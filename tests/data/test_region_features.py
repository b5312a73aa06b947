"""The cache of region vectors: any shape of image, resumable, of one backbone."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf.data import examples, features, images, region_features, shape_batches, shards

SHAPES = ((20, 40), (40, 20), (30, 30), (20, 40), (10, 30))


def encode(batch):
    """Means of the left and right half, and for tall images of a third region, all zeros."""
    width = batch.shape[2] // 2
    parts = [
        tf.reduce_mean(half, axis=(1, 2)) for half in (batch[:, :, :width], batch[:, :, width:])
    ]
    if batch.shape[1] > batch.shape[2]:
        parts.append(parts[0] + 1)
    return tf.stack(parts, axis=1)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    records = []
    for number, (height, width) in enumerate(SHAPES):
        pixels = np.random.default_rng(number).integers(0, 255, [height, width, 3], np.uint8)
        data = tf.io.encode_png(pixels).numpy()
        records.append(
            {
                "id": str(number), "image": data, "height": height, "width": width,
                "image_id": hashlib.sha256(data).hexdigest()[:16], "sentences": ["a"],
                "sentence_ids": ["0"], "source": "test", "group": str(number),
            }
        )  # fmt: skip
    info = shards.write_shard(
        shards.shard_path(folder, "x", "train", 0, 1), "image_captions", records
    )
    shards.write_manifest(
        folder, name="x", record_kind="image_captions", kind="synthetic", build={},
        splits={"train": [info]},
    )  # fmt: skip
    return shards.ShardReader(folder, "train")


def write(folder, reader, encode_batch=encode, **changes):
    settings = {"longest_side": 20, "fingerprint": {"weights": "ab"}, "images_per_shard": 2}
    region_features.write_region_cache(folder, [reader], encode_batch, **settings | changes)
    return region_features.read_regions(folder, reader.index["image_id"])


def test_the_longest_side_is_scaled_and_the_aspect_kept():
    assert shape_batches.scaled_shape(480, 640, 576) == (432, 576)
    assert shape_batches.scaled_shape(640, 480, 576) == (576, 432)
    assert shape_batches.scaled_shape(100, 100, 576) == (576, 576)
    assert shape_batches.scaled_shape(1, 900, 576) == (1, 576)
    assert shape_batches.scaled_shape(3, 4, 0) == (3, 4)


def test_vectors_are_those_of_each_image_by_itself(reader, tmp_path):
    shapes = []

    def encode_and_note(batch):
        shapes.append(tuple(batch.shape))
        return encode(batch)

    found = write(tmp_path, reader, encode_and_note)
    assert found.shape == (5, 3, 3) and found.dtype == np.float16
    for row, shape in enumerate(SHAPES):
        data = reader.read(np.array([row]))[0]
        record = examples.from_bytes("image_captions", data)
        scaled = shape_batches.scaled_shape(*shape, 20)
        pixels = images.resize(images.decode_pixels(tf.constant(record["image"])), scaled)
        expected = encode(pixels[None])[0]
        np.testing.assert_allclose(found[row, : len(expected)], expected, atol=1e-3)
        assert not found[row, len(expected) :].any()
    assert all(max(shape[1:3]) == 20 for shape in shapes)


def test_a_stopped_job_goes_on_and_another_backbone_is_refused(reader, tmp_path):
    calls = []

    def failing(batch):
        calls.append(len(batch))
        if len(calls) > 3:
            raise RuntimeError("stopped")
        return encode(batch)

    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path, reader, failing)
    done = len(list(tmp_path.glob("*.tfrecord")))
    assert 0 < done < 3
    calls.clear()
    whole = write(tmp_path, reader, lambda batch: calls.append(len(batch)) or encode(batch))
    assert sum(calls) < 5
    np.testing.assert_array_equal(whole, write(tmp_path / "new", reader))
    with pytest.raises(features.FeatureError, match="weights = 'ab', not 'cd'"):
        write(tmp_path, reader, fingerprint={"weights": "cd"})


def test_wrong_vectors_and_unknown_images_are_named(reader, tmp_path):
    with pytest.raises(features.FeatureError, match="not finite"):
        write(tmp_path / "a", reader, lambda batch: encode(batch) * 1e6)
    with pytest.raises(features.FeatureError, match=r"not \[B, R, C\]"):
        write(tmp_path / "b", reader, lambda batch: batch)
    write(tmp_path / "c", reader)
    with pytest.raises(features.FeatureError, match="lacks 1 images"):
        region_features.read_regions(tmp_path / "c", ["unknown"])


def test_maps_of_another_cache_are_pooled(reader, tmp_path):
    def backbone(batch):
        return tf.image.resize(batch, (2, 3))

    maps = features.write_feature_cache(
        tmp_path / "maps", [reader], backbone, image_size=20, central_fraction=1.0,
        fingerprint={"weights": "ab"}, dtype="float32",
    )  # fmt: skip
    ids = [one.decode() for one in reader.index["image_id"].tolist()]

    def pool(batch):
        return np.stack([batch[:, :, :2].max(axis=(1, 2)), batch.min(axis=(1, 2))], axis=1)

    region_features.pool_feature_cache(
        tmp_path / "pooled", maps, [*ids, ids[0]], pool, fingerprint={}, kind="synthetic"
    )
    found = region_features.read_regions(tmp_path / "pooled", ids)
    np.testing.assert_allclose(found, pool(maps.read(maps.lookup(ids))), atol=1e-3)
