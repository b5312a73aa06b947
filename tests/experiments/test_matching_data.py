import argparse
import dataclasses
import json

import keras
import numpy as np
import pytest

from experiments import import_vsepp, matching_data, matching_features, matching_report
from experiments.matching_data import Data, Part
from experiments.matching_flags import Settings
from imgtext_tf import branches, encoders, training
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


def test_precomputed_train_captions_that_stand_in_val_or_test_are_left_out(folder, caplog):
    caplog.set_level("INFO", logger="absl")
    before = matching_data.open_data(settings_of(folder))
    assert "0 of 3 train captions stand in val or test" in caplog.text
    write_split(folder, "train", ["a dog", "A bird!", "a  House", "a boat"])
    data = matching_data.open_data(settings_of(folder))
    assert "2 of 4 train captions stand in val or test" in caplog.text
    train = data.parts["train"].captions
    assert train.texts == ("a dog", "a boat") and train.image_of.tolist() == [0, 3]
    assert not data.keeps_shared
    keeps = matching_data.open_data(settings_of(folder, drop_shared_captions=False))
    assert len(keeps.parts["train"].captions.texts) == 4 and keeps.keeps_shared
    assert len({one.digest for one in (before, data, keeps)}) == 3
    # A refit treats val as train was treated.
    for one, count in ((data, 2 + 1), (keeps, 4 + 2)):
        assert len(one.joined(("train", "val")).captions.texts) == count


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
    whole = matching_features.open_features(settings, [train, test], encoder)
    again = matching_features.open_features(settings, [test], encoder)
    assert len(again) == len(whole) == 5
    with pytest.raises(features.FeatureError, match="central_fraction"):
        other = dataclasses.replace(settings, central_fraction=0.5)
        matching_features.open_features(other, [test], encoder)


def test_a_cache_beside_the_shards_serves_an_evaluation(tmp_path):
    infos = {
        split: write_shards(tmp_path, split, 2, first=2 * number)
        for number, split in enumerate(("train", "val", "test"))
    }
    shards.write_manifest(
        tmp_path, name="made", record_kind="image_captions", kind="synthetic", build={},
        splits=infos,
    )  # fmt: skip
    readers = [shards.ShardReader(tmp_path, split) for split in infos]
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32)
    settings = Settings(run_dir="", data_dir=str(tmp_path), backbone="small_cnn", image_size=32)
    whole = matching_features.open_features(settings, readers, encoder)
    assert len(matching_features.open_features(settings, readers[2:], encoder)) == len(whole) == 6
    assert len(list(tmp_path.glob("features-*"))) == 1


def test_testall_can_be_the_test_split(folder):
    write_split(folder, "testall", ["a man sits", "a house", "a tree", "a car"])
    one = matching_data.open_data(settings_of(folder))
    all_ = matching_data.open_data(settings_of(folder, precomputed_test="testall"))
    assert [len(data.parts["test"].captions.texts) for data in (one, all_)] == [3, 4]
    assert one.digest == all_.digest  # what is trained on
    assert one.description() != all_.description()


def test_an_evaluation_names_its_split_as_the_training_did(folder):
    trained = matching_data.open_data(settings_of(folder))
    evaluated = matching_data.open_data(settings_of(folder, eval_only=True))
    assert trained.description() == evaluated.description()
    on_val = matching_data.open_data(settings_of(folder, eval_only=True, eval_split="val"))
    before = {
        "dataset": evaluated.description(),
        "metrics": {"test/rsum": 1.0, "test_1k/rsum": 2.0, "val/rsum": 3.0},
    }
    kept = matching_report._kept(before, on_val)
    assert kept == {"test/rsum": 1.0, "test_1k/rsum": 2.0}
    assert matching_report._kept(before, evaluated) == before["metrics"]
    elsewhere = before | {"dataset": before["dataset"] | {"name": "other"}}
    assert matching_report._kept(elsewhere, on_val) == {}


def test_features_are_centred_by_the_train_images():
    rng = np.random.default_rng(0)
    maps = rng.random((7, 2, 2, 5), np.float32)
    pooled = maps.mean(axis=(1, 2))
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    part = Features((2, 2, 5), lambda places: maps[places])
    center = matching_features.mean_features(part, 7, unit=True)
    np.testing.assert_allclose(center, unit.mean(axis=0), atol=1e-6)
    branch = branches.image_branch((2, 2, 5), embed_dim=4, center=center)
    copy = keras.Model.from_config(branch.get_config())
    copy.set_weights(branch.get_weights())
    kernel, bias = branch.get_layer("image_linear").get_weights()
    expected = (unit - center) @ kernel + bias
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for model in (branch, copy):
        output = np.asarray(model({"image_features": maps}))
        np.testing.assert_allclose(output, expected, atol=1e-5)


def test_words_of_scan_want_nltks_tokens(tmp_path, caplog):
    words = ["<pad>", "<start>", "<end>", "<unk>", "dog", "."]
    content = {"word2idx": {word: number for number, word in enumerate(words)}}
    (tmp_path / "vocab.json").write_text(json.dumps(content))
    captions = Captions(("a dog.",), np.zeros(1, np.int32), ("x",))
    for tokens in ("nltk", "words"):
        settings = Settings(run_dir="", scan_vocabulary=str(tmp_path / "vocab.json"), tokens=tokens)
        vocabulary, vectors = matching_data.open_vocabulary(settings, captions)
        assert vocabulary.words == ("<start>", "<end>", "dog", ".") and vectors is None
        assert ("use --tokens=nltk" in caplog.text) == (tokens == "words")


def test_a_caption_may_hold_a_line_separator(folder):
    write_split(folder, "test", ["a\u2028house", "a tree"])
    assert matching_data.open_data(settings_of(folder)).parts["test"].captions.texts[1] == "a tree"


@pytest.mark.parametrize("two", [False, True])
def test_a_checkpoint_of_pytorch_embeds_as_there(tmp_path, two):
    """vsepp's layout, written and computed by PyTorch itself: packed GRU, linear layer."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    embed, linear = torch.nn.Embedding(7, 3), torch.nn.Linear(5, 4)
    gru = torch.nn.GRU(3, 4, batch_first=True, bidirectional=two)
    text = {f"embed.{k}": v for k, v in embed.state_dict().items()}
    text |= {f"rnn.{k}": v for k, v in gru.state_dict().items()}
    image = {f"fc.{k}": v for k, v in linear.state_dict().items()}
    options = argparse.Namespace(measure="cosine", use_abs=False, no_imgnorm=two)  # VSE0's
    torch.save({"model": [image, text], "opt": options, "epoch": 3}, tmp_path / "best.pth.tar")
    words = ["<pad>", "<start>", "<end>", "<unk>", "dog", "cat", "sits"]
    content = {"word2idx": {word: number for number, word in enumerate(words)}}
    (tmp_path / "vocab.json").write_text(json.dumps(content))
    run = [str(tmp_path / name) for name in ("best.pth.tar", "vocab.json", "run")]
    import_vsepp.run(*run)
    model = keras.saving.load_model(tmp_path / "run" / "model_best.keras", compile=False)
    features = np.random.default_rng(0).random((2, 5), np.float32)
    theirs = linear(torch.from_numpy(features)).detach()
    theirs = (theirs if two else torch.nn.functional.normalize(theirs)).numpy()
    ours = model.predict_images({"image_features": features})
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    ids = torch.tensor([[1, 4, 6, 2], [1, 3, 2, 0]])  # <start> dog sits <end>; <start> ? <end>
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        embed(ids), torch.tensor([4, 3]), batch_first=True
    )
    states = gru(packed)[1].detach()
    theirs = torch.nn.functional.normalize(states.mean(dim=0)).numpy()
    ours = model.predict_texts({"caption_ids": np.array([[2, 4, 6, 3], [2, 1, 3, 0]])})
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
