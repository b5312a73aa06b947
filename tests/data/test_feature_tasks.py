"""Feature caches by whoever computes them, wherever they lie: the same bytes."""

import hashlib
import os

import keras
import numpy as np
import pytest

from imgtext_tf import encoders, filesystem
from imgtext_tf.data import features, region_features, runners, shards
from imgtext_tf.data.feature_tasks import Encoder

HOW = {"image_size": 32, "fingerprint": {"backbone": "b"}, "shards": 3, "batch_size": 4}


def digests(folder):
    return {
        name: hashlib.sha256(filesystem.read_bytes(os.path.join(folder, name))).hexdigest()
        for name in filesystem.listdir(folder)
    }


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return encoders.image_encoder("small_cnn", weights=None, image_size=32)


@pytest.fixture(scope="module")
def reader(dataset):
    return shards.ShardReader(dataset, "train")


@pytest.fixture
def remote():
    folder = f"ram://caches-{os.getpid()}"
    yield folder
    filesystem.remove_tree(folder)


def test_a_remote_cache_of_remote_shards_has_the_local_bytes(
    encoder, reader, tmp_path, remote, dataset
):
    features.write_feature_cache(tmp_path, [reader], encoder.predict_on_batch, **HOW)
    filesystem.upload_tree(dataset, f"{remote}/data")
    there = shards.ShardReader(f"{remote}/data", "train")
    cache = features.write_feature_cache(f"{remote}/cache", [there], Encoder(encoder), **HOW)
    assert digests(f"{remote}/cache") == digests(tmp_path)
    rows = cache.lookup(reader.index["image_id"][:5])
    here = features.FeatureCache(tmp_path).read(rows)
    np.testing.assert_array_equal(cache.read(rows), here)


def test_other_processes_need_more_than_a_function(reader, tmp_path):
    with pytest.raises(ValueError, match="give an `Encoder`"):
        features.write_feature_cache(
            tmp_path, [reader], np.asarray, **HOW, runner=runners.Runner(processes=2)
        )


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["processes", "beam"])
def test_processes_and_beam_leave_the_local_bytes(kind, encoder, reader, tmp_path):
    runner = runners.Runner(processes=2)
    if kind == "beam":
        pytest.importorskip("apache_beam", reason="Apache Beam is not installed: .[beam] brings it")
        options = ("direct_running_mode=multi_processing", "direct_num_workers=2")
        runner = runners.Runner("beam", beam_options=options)
    for name, by in (("here", runners.LOCAL), ("there", runner)):
        features.write_feature_cache(
            tmp_path / f"{name}-maps", [reader], Encoder(encoder), **HOW, runner=by
        )
    assert digests(tmp_path / "there-maps") == digests(tmp_path / "here-maps")
    regions = keras.Model(encoder.input, keras.layers.Reshape((4, 256))(encoder.output))
    for name, by in (("here", runners.LOCAL), ("there", runner)):
        region_features.write_region_cache(
            tmp_path / f"{name}-regions",
            [reader],
            Encoder(regions),
            longest_side=32,
            fingerprint={},
            images_per_shard=3,
            runner=by,
        )
    assert digests(tmp_path / "there-regions") == digests(tmp_path / "here-regions")
