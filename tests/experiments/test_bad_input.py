"""What train_classic says and leaves when its input is bad: a message, no traceback."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from experiments import common_flags, relation_data, relation_flags, train_classic
from imgtext_tf import runs, stop_signals, training
from imgtext_tf.data import pipeline, shards
from tests.tiny_runs import command
from tfrecords_tools import build, build_settings


@pytest.fixture
def train(tmp_path):
    """The command with a run directory of this test."""
    return lambda data, *arguments: command(data, tmp_path / "run", *arguments)


@pytest.fixture(scope="module")
def finished(tiny_data, tmp_path_factory):
    """A run of the same settings that came to its end."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    assert command(tiny_data, run_dir) is None
    return run_dir


@pytest.fixture
def trained(finished, tmp_path):
    """A copy of it, where `train` goes on."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def data(tiny_data, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(tiny_data, tmp_path / "data")


def weights_in(tmp_path):
    return [p.name for p in (tmp_path / "run").rglob("*") if p.suffix in (".keras", ".npz")]


def test_a_flipped_byte_is_named_before_the_training(train, data, tmp_path):
    path = shards.shard_path(data, "relations", "train", 0, 1)
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    message = train(data)
    assert message.startswith("error: ") and "train-00000-of-00001.tfrecord: damaged" in message
    assert weights_in(tmp_path) == []


def test_a_flipped_byte_of_the_feature_maps_is_named(train, tiny_data, tmp_path):
    cache = tmp_path / "cache"
    settings = relation_flags.Settings(
        data_dir=str(tiny_data),
        run_dir="",
        backbone="small_cnn",
        backbone_weights="none",
        image_size=32,
        cache_features=str(cache),
    )
    training.set_seed(settings.seed)  # the weights that the command will have, too
    encoder = relation_data.open_encoder(settings)
    relation_data.open_features(settings, relation_data.open_readers(settings), encoder)
    path = next(cache.glob("*.tfrecord"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    message = train(tiny_data, "--inputs=both", f"--cache_features={cache}")
    assert f"{path.name}: damaged" in message and "computed anew" in message


@pytest.mark.parametrize(
    ("mend", "expected"),
    [
        (lambda m: "{", "manifest.json: no manifest"),
        (lambda m: json.dumps(m | {"splits": {"train": m["splits"]["train"]}}), "no split val"),
        (lambda m: json.dumps(m).replace('"records": 96', '"records": 95'), "disagree on records"),
    ],
)
def test_a_wrong_manifest_is_named(train, data, tmp_path, mend, expected):
    manifest = data / "manifest.json"
    manifest.write_text(mend(json.loads(manifest.read_text())))
    message = train(data)
    assert expected in message
    assert weights_in(tmp_path) == []


def test_a_missing_shard_is_named(train, data):
    path = shards.shard_path(data, "relations", "val", 0, 1)
    os.remove(path)
    assert f"{os.path.basename(path)}: missing" in train(data)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--monitor=val/acuracy", "val/acuracy: use one of val/loss, val/accuracy"),
        ("--batch_size=97", "96 records make no batch of 97"),
        ("--inputs=both --backbone=resnet5", "unknown backbone 'resnet5'"),
        ("--vectors=nowhere.vec", "nowhere.vec"),
    ],
)
def test_a_wrong_flag_is_named_and_can_be_mended(train, tiny_data, tmp_path, flag, expected):
    assert expected in train(tiny_data, *flag.split())
    # Nothing stands in the way of the mended command.
    assert weights_in(tmp_path) == []
    assert "monitor" not in flag or not (tmp_path / "run" / "settings.json").exists()


@pytest.mark.heavy
def test_a_full_disk_keeps_the_last_good_state(train, trained, tiny_data, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoint").iterdir()}

    replace, refused = os.replace, []

    def no_space_for_checkpoints(source, target):
        if os.path.basename(os.path.dirname(target)) == "checkpoint":
            refused.append(target)
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no_space_for_checkpoints)
        assert "No space left on device" in train(tiny_data, "--max_steps=4")
    assert refused
    checkpoints = (tmp_path / "run" / "checkpoint").iterdir()
    assert {path: path.read_bytes() for path in checkpoints} == before
    assert not list((tmp_path / "run").rglob(".tmp-*"))
    assert train(tiny_data, "--max_steps=4") is None


@pytest.mark.heavy
def test_a_run_does_not_go_on_with_other_data(train, trained, tiny_data, data, tmp_path):
    vocabulary = (tmp_path / "run" / "vocabulary.txt").read_bytes()
    manifest = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps(manifest | {"notes": {"made": "anew"}}))
    assert "manifest_sha256" in train(data, "--max_steps=4")
    assert (tmp_path / "run" / "vocabulary.txt").read_bytes() == vocabulary
    # The same data elsewhere are the same data.
    moved = shutil.copytree(tiny_data, tmp_path / "moved")
    assert train(moved, "--max_steps=4") is None


@pytest.mark.heavy
def test_results_of_other_data_are_not_mixed(train, trained, tiny_data, data):
    def result():
        return json.loads((trained / "result.json").read_text())

    first = result()
    assert train(tiny_data, "--eval_only", "--eval_split=val") is None
    both = result()
    assert both["metrics"].keys() > first["metrics"].keys()
    assert both["command"] == first["command"] != both["evaluation_command"]
    manifest = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps(manifest | {"notes": {"made": "anew"}}))
    assert train(data, "--eval_only", "--eval_split=val") is None
    assert result() == both  # other data have a file of their own
    (path,) = trained.glob("result-*.json")
    other = json.loads(path.read_text())
    assert not any(name.startswith("test/") for name in other["metrics"])
    assert other["command"] == first["command"]


def test_a_signal_outside_of_the_training_ends_the_command_plainly(
    train, tiny_data, monkeypatch, capsys
):
    def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr(train_classic.relation_experiment.relation_data, "open_text", interrupted)
    assert train(tiny_data) == common_flags.STOPPED
    assert "run the same command" in capsys.readouterr().err


def test_a_stopped_training_is_no_success_and_goes_on(train, tiny_data, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        enter = stop_signals.StopSignals.__enter__

        def received(signals):
            signals.received = True
            return enter(signals)

        patch.setattr(stop_signals.StopSignals, "__enter__", received)
        assert train(tiny_data, "--max_steps=4") == common_flags.STOPPED
    assert not (tmp_path / "run" / "result.json").exists()
    assert train(tiny_data, "--max_steps=4") is None
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.heavy
def test_strange_but_legal_pairs_are_trained_on(train, tmp_path):
    """Images of 1 x 1 and 8000 x 8000 pixels, a text of 30,000 words, one in no Latin letter."""
    sizes, texts = {0: 1, 1: 8000}, {2: "word " * 30_000, 3: "漢字 É."}
    lines = []
    for number in range(24):
        side = sizes.get(number, 20)
        pixels = np.full([side, side, 3], 10 * number, np.uint8)
        (tmp_path / f"{number}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
        record = {"id": str(number), "image": f"{number}.jpg", "label": "Anchorage"}
        record["text"] = texts.get(number, f"Text {number}.")
        record["split"] = ("train", "train", "val", "test")[number // 6]
        lines.append(json.dumps(record) + "\n")
    (tmp_path / "own.jsonl").write_text("".join(lines))
    data = str(tmp_path / "data")
    build.run(build_settings.Settings(output_dir=data, jsonl=(str(tmp_path / "own.jsonl"),)))
    assert train(data, "--inputs=both", "--batch_size=12") is None
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["metrics"]["test/pairs"] == 6


@pytest.mark.parametrize("balance", ["0", "1"])
def test_a_loss_that_is_not_finite_names_the_pairs_of_its_step(train, tiny_data, tmp_path, balance):
    """The ids come from the plan alone; here they are compared with those of the real batch."""
    # Infinite in 32 bits.
    flags = ("--learning_rate=1e39", "--max_steps=4", "--checkpoint_every=1")
    message = train(tiny_data, *flags, f"--class_balance={balance}")
    assert message.startswith("error: ") and "not finite" in message and "step 1;" in message
    assert "last good checkpoint: none" in message and not weights_in(tmp_path)
    settings = runs.read_json(tmp_path / "run" / "settings.json")["settings"]
    reader = shards.ShardReader(tiny_data, "train")
    batch = pipeline.relation_dataset(
        reader, target="relation", batch_size=16, vocabulary=None, training=True, image_size=32,
        seed=settings["seed"], with_id=True, class_balance=float(balance), num_steps=1,
    )  # fmt: skip
    ids = [name.decode() for name in next(iter(batch))[0]["id"].numpy()]
    assert ", ".join(ids) in message
    listed = (tmp_path / "run" / "bad_batches.tsv").read_text().splitlines()
    assert listed == [f"1\t{name}" for name in ids]
