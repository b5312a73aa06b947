"""The feature cache: one row an image, resumable, equal to live features, of one backbone."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf.data import examples, features, images, shards

KERNEL = tf.constant(np.random.default_rng(1).normal(size=[3, 5]), tf.float32)


def backbone(batch):
    return tf.image.resize(batch, (2, 3)) @ KERNEL


@pytest.fixture(scope="module")
def reader(dataset):
    return shards.ShardReader(dataset, "train")


def write(folder, readers, encode_batch=backbone, **changes):
    settings = {
        "image_size": 16,
        "fingerprint": {"backbone": "linear", "weights": "ab12"},
        "batch_size": 4,
        "shards": 3,
        "dtype": "float32",
    }
    return features.write_feature_cache(folder, readers, encode_batch, **settings | changes)


@pytest.fixture(scope="module")
def cache(reader, tmp_path_factory):
    return write(tmp_path_factory.mktemp("cache"), [reader])


def cache_folder(cache):
    return pathlib.Path(cache._reader.directory)


def test_each_distinct_image_has_one_row(cache, reader):
    assert len(reader) == 90 and len(cache) == 7
    assert cache.shape == (2, 3, 5)
    rows = cache.lookup(reader.index["image_id"])
    assert len(np.unique(rows)) == 7


def test_rows_equal_live_features(cache, reader):
    numbers = np.array([4, 0, 55])
    live = []
    for data in reader.read(numbers):
        pixels = images.decode_pixels(tf.constant(examples.from_bytes("relation", data)["image"]))
        live.append(backbone(images.eval_crop(pixels, 16)[tf.newaxis])[0])
    cached = cache.read(cache.lookup(reader.index["image_id"][numbers]))
    assert cached.dtype == np.float32
    np.testing.assert_allclose(cached, np.stack(live), atol=1e-6)


def test_lookup_takes_text_and_bytes_and_names_what_is_missing(cache, reader):
    ids = reader.index["image_id"][:5]
    np.testing.assert_array_equal(cache.lookup(ids), cache.lookup([one.decode() for one in ids]))
    with pytest.raises(KeyError, match="lacks 1 images .no-such-image"):
        cache.lookup([ids[0].decode(), "no-such-image"])


def test_half_precision_rounds_and_refuses_what_does_not_fit(reader, tmp_path):
    small = write(tmp_path / "half", [reader], dtype="float16")
    rows = small.lookup(reader.index["image_id"][:9])
    full = write(tmp_path / "full", [reader]).read(rows)
    np.testing.assert_array_equal(small.read(rows), full.astype(np.float16))
    with pytest.raises(features.FeatureError, match="not finite as float16.*float32"):
        write(tmp_path / "big", [reader], lambda b: backbone(b) * 1e6, dtype="float16")


def test_same_input_gives_the_same_bytes(cache, reader, tmp_path):
    write(tmp_path / "again", [reader])
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (cache_folder(cache) / path.name).read_bytes()


def test_a_finished_cache_is_not_computed_again(cache, reader):
    def fail(batch):
        raise AssertionError("computed again")

    assert len(write(cache_folder(cache), [reader], fail)) == 7


def test_a_stopped_job_goes_on_at_the_first_missing_shard(reader, tmp_path):
    calls = []

    def stopping(batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return backbone(batch)

    # 7 images make shards of 3, 2 and 2.
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, [reader], stopping)
    calls = [None] * 5
    assert len(write(tmp_path, [reader], stopping)) == 7
    assert calls[5:] == [2, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": {"backbone": "other", "weights": "ab12"}},
        {"fingerprint": {"backbone": "linear", "weights": "ffff"}},
        {"image_size": 20},
        {"dtype": "float16"},
    ],
)
def test_a_cache_of_something_else_is_refused(cache, reader, changes):
    with pytest.raises(features.FeatureError, match="were computed with .* use another folder"):
        write(cache_folder(cache), [reader], **changes)


def test_an_unfinished_cache_of_another_backbone_is_refused(cache, reader, tmp_path):
    folder = shutil.copytree(cache_folder(cache), tmp_path / "copy")
    (folder / "manifest.json").unlink()
    with pytest.raises(features.FeatureError, match="backbone = 'linear', not 'other'"):
        write(folder, [reader], fingerprint={"backbone": "other"})


def test_opening_compares_what_it_is_told(cache):
    folder = cache_folder(cache)
    assert features.FeatureCache(folder, {"weights": "ab12"}).shape == (2, 3, 5)
    with pytest.raises(features.FeatureError, match="weights = 'ab12', not 'ff'"):
        features.FeatureCache(folder, {"weights": "ff"})


def test_a_damaged_cache_is_named(cache, tmp_path):
    folder = shutil.copytree(cache_folder(cache), tmp_path / "copy")
    (folder / "features-images-00001-of-00003.tfrecord").unlink()
    with pytest.raises(shards.ShardError, match="features-images-00001-of-00003.tfrecord: missing"):
        features.FeatureCache(folder)


def test_a_backbone_without_a_map_is_refused(reader, tmp_path):
    with pytest.raises(features.FeatureError, match=r"not \[B, h, w, C\]"):
        write(tmp_path, [reader], lambda batch: tf.zeros([len(batch), 5]))
