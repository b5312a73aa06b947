"""A real full disk: clear errors, what was there stays, and the same command goes on."""

import dataclasses
import pathlib
import re
import subprocess

import keras
import numpy as np
import pytest

from imgtext_tf import image_index, output_comparison, runs, search, training
from imgtext_tf.data import shards
from tests.test_training import At, batches, compile_classifier, evaluate
from tests.tfrecords_tools import conftest as raw_sources
from tfrecords_tools import build_captions, caption_plan

FULL = "No space left.*free space"


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MB, its own file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here (it takes root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: pathlib.Path, leave: int = 0) -> pathlib.Path:
    """Takes all space but so many bytes; delete the file to have it back."""
    path = folder.parent / "disk" / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - leave) // 4096 * 4096)
    return path


def build():
    """150 kB of weights, twice as much with Adam's slots."""
    training.set_seed(0)
    inputs = keras.Input((4, 3), name="x")
    x = keras.layers.Dense(3000, "relu")(keras.layers.Flatten()(inputs))
    x = keras.layers.Dropout(0.3)(x)
    model = keras.Model({"x": inputs}, {"logits": keras.layers.Dense(3, name="logits")(x)})
    compile_classifier(model, keras.optimizers.Adam(0.01))
    return model


def fit(run, *callbacks):
    return training.fit(
        build(), batches, run=run, max_steps=12, checkpoint_every=4, seed=0, callbacks=callbacks,
        evaluate=evaluate, eval_every=6, log_every=3,
    )  # fmt: skip


@pytest.mark.parametrize("leave", [0, 100_000])
def test_a_checkpoint(disk, tmp_path, leave):
    run = runs.RunDirectory(disk / "run")
    with pytest.raises(OSError, match=FULL):
        fit(run, At(5, lambda: fill(disk, leave)))
    assert run.newest_checkpoint().name == "step-000000004.npz"
    state, _ = run.load_checkpoint()
    assert state["step"] == 4 and not list(run.path.rglob(".tmp-*"))
    (disk / "filler").unlink()
    assert fit(run)["status"] == "finished"
    fit(runs.RunDirectory(tmp_path / "whole"))
    found = output_comparison.differences(run.path, tmp_path / "whole")
    # Keras numbers the layers of one process on.
    assert [line for line in found if "config.json" not in line] == []


@pytest.fixture
def captions(tmp_path):
    images = []
    for number in range(40):
        name = f"{number}.jpg"
        raw_sources.write_jpeg(tmp_path / "images" / name, number, size=(260, 260))
        split = ("train", "train", "val", "test")[number % 4]
        texts = [{"raw": f"caption {i} of {number}", "sentid": 5 * number + i} for i in range(5)]
        images.append({"filename": name, "split": split, "sentences": texts})
    raw_sources.write_json(tmp_path / "captions.json", {"dataset": "tiny", "images": images})
    return caption_plan.Settings(
        output_dir=str(tmp_path / "whole"),
        karpathy_json=str(tmp_path / "captions.json"),
        karpathy_images=str(tmp_path / "images"),
        shard_mb=1,
    )


def test_shards(captions, disk):
    build_captions.run(captions)
    whole = pathlib.Path(captions.output_dir)
    sizes = sorted(path.stat().st_size for path in whole.glob("*.tfrecord"))
    filler = fill(disk, leave=sizes[-1] + sizes[0] // 2)  # the first fits, the second does not
    on_disk = dataclasses.replace(captions, output_dir=str(disk / "out"))
    with pytest.raises(shards.ShardError, match=FULL):
        build_captions.run(on_disk)
    (one,) = (disk / "out").glob("*.tfrecord")
    before = one.stat().st_mtime_ns
    filler.unlink()
    build_captions.run(on_disk)
    assert output_comparison.differences(whole, disk / "out") == []
    assert one.stat().st_mtime_ns == before


def test_an_index(disk):
    rng = np.random.default_rng(0)
    first = search.build("ivf", [f"a{n}" for n in range(500)], rng.normal(size=(500, 64)))
    first.save(disk / "index")
    second = search.build("ivf", [f"b{n}" for n in range(900)], rng.normal(size=(900, 64)))
    filler = fill(disk, leave=100_000)
    with pytest.raises(search.SearchError, match=re.escape(str(disk / "index")) + ".*free space"):
        second.save(disk / "index")
    assert search.load(disk / "index").ids == first.ids
    filler.unlink()
    second.save(disk / "index")
    assert search.load(disk / "index").ids == second.ids
    assert not list((disk / "index").glob(".saving-*"))


def test_an_index_of_photos(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(image_index, "_PART", 100)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(300):
        (photos / f"{number}.jpg").write_text("x")

    def update(folder, then=lambda: None):
        def embed(paths):
            then()
            rows = [np.full(500, float(path.stem) + 1, np.float32) for path in paths]
            return list(range(len(paths))), np.stack(rows)

        return image_index.update(folder, photos, embed, made_by={"model": "m"})

    calls = []

    def fill_at_the_second():
        calls.append(1)
        if len(calls) == 2:
            fill(disk, leave=50_000)

    with pytest.raises(shards.ShardError, match=FULL):
        update(disk / "index", fill_at_the_second)
    assert [path.name for path in (disk / "index").glob("part-*")] == ["part-000000.npz"]
    (disk / "filler").unlink()
    update(disk / "index")
    update(tmp_path / "whole")
    assert output_comparison.differences(disk / "index", tmp_path / "whole") == []
