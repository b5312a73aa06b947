import dataclasses

import keras
import numpy as np
import pytest

from experiments import import_vsepp, matching_data
from experiments.matching_data import Data, Part
from experiments.matching_flags import Settings
from imgtext_tf import encoders, training, vsepp
from imgtext_tf.data import features, shards
from imgtext_tf.data.caption_batches import Features
from imgtext_tf.data.captions import Captions
from tests.data.test_captions import write_split as write_shards


def write_split(folder, split, texts):
    np.save(folder / f"{split}_ims.npy", np.eye(len(texts), 5, dtype=np.float32))
    (folder / f"{split}_caps.txt").write_text("\n".join(texts) + "\n")


@pytest.fixture
def folder(tmp_path):
    write_split(tmp_path, "train", ["a dog", "a cat", "a boat"])
    write_split(tmp_path, "dev", ["A man,  sits!", "a bird"])
    write_split(tmp_path, "test", ["a man sits", "a house", "a tree"])
    return tmp_path


def settings_of(folder, **values):
    return Settings(run_dir="", precomputed=str(folder), **values)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_refit_leaves_out_val_captions_that_stand_in_test(keeps):
    def part(*texts):
        captions = Captions(texts, np.arange(len(texts), dtype=np.int32), texts)
        return Part(captions, Features((1,), lambda places: np.ones([len(places), 1])))

    parts = {"train": part("a dog"), "val": part("A man,  sits!", "a bird")}
    parts["test"] = part("a man sits")
    data = Data(Settings(run_dir=""), parts, "made up", "real", "", None, keeps)
    whole = data.joined(("train", "val"))
    expected = ("a dog", "A man,  sits!", "a bird") if keeps else ("a dog", "a bird")
    assert whole.captions.texts == expected
    assert whole.captions.image_of.tolist() == ([0, 1, 2] if keeps else [0, 2])
    assert len(whole.captions.image_ids) == 3


@pytest.mark.parametrize("eval_only", [False, True])
def test_val_says_nothing_of_a_refitted_run(folder, eval_only):
    refit = settings_of(folder, refit=True, eval_only=eval_only)
    assert matching_data.open_data(refit).parts["test"]
    with pytest.raises(ValueError, match="use --eval_split=test"):
        matching_data.open_data(settings_of(folder, refit=True, eval_only=eval_only,
                                            eval_split="val"))  # fmt: skip


def test_what_would_fail_after_hours_fails_at_once(folder):
    with pytest.raises(ValueError, match="3 images of test make no equal parts"):
        matching_data.open_data(settings_of(folder, folds=2))
    with pytest.raises(ValueError, match="trains the CNN, which needs --live_images"):
        matching_data.open_data(settings_of(folder, stages="S1:steps=1;S4T:steps=1"))


def test_a_cache_is_computed_in_32_bits():
    training.set_precision(True, scaled=False)
    try:
        given = {"backbone": "small_cnn", "backbone_weights": "none", "image_size": 32}
        cached = matching_data.open_encoder(Settings(run_dir="", **given))
        live = matching_data.open_encoder(Settings(run_dir="", live_images=True, **given))
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        training.set_precision(False)
    assert {layer.compute_dtype for layer in cached._flatten_layers()} == {"float32"}
    assert "bfloat16" in {layer.compute_dtype for layer in live._flatten_layers()}


def test_a_finished_cache_serves_some_of_its_splits(tmp_path):
    infos = {
        "train": write_shards(tmp_path, "train", 3),
        "test": write_shards(tmp_path, "test", 2, first=3),
    }
    shards.write_manifest(
        tmp_path, name="made", record_kind="image_captions", kind="synthetic", build={},
        splits=infos,
    )  # fmt: skip
    train, test = (shards.ShardReader(tmp_path, split) for split in infos)
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32)
    settings = Settings(
        run_dir="", cache_features=str(tmp_path / "cache"), backbone="small_cnn", image_size=32
    )
    whole = matching_data.open_features(settings, [train, test], encoder)
    again = matching_data.open_features(settings, [test], encoder)
    assert len(again) == len(whole) == 5
    with pytest.raises(features.FeatureError, match="central_fraction"):
        other = dataclasses.replace(settings, central_fraction=0.5)
        matching_data.open_features(other, [test], encoder)


def test_a_caption_may_hold_a_line_separator(folder):
    write_split(folder, "test", ["a\u2028house", "a tree"])
    assert matching_data.open_data(settings_of(folder)).parts["test"].captions.texts[1] == "a tree"


def test_a_checkpoint_without_unit_length_is_refused(monkeypatch):
    monkeypatch.setattr(import_vsepp, "read_checkpoint", lambda _: ({}, {}, {"no_imgnorm": True}))
    with pytest.raises(vsepp.CheckpointError, match="no_imgnorm"):
        import_vsepp.run("model_best.pth.tar", "vocab.json", "run")
