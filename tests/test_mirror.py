"""A remote run directory is worked on in a copy, and sent whenever a state is complete."""

import os
import pathlib

import keras
import numpy as np
import pytest

from imgtext_tf import filesystem, mirror, runs


@pytest.fixture
def remote(monkeypatch):
    monkeypatch.setattr(mirror, "_MIRRORS", {})
    folder = f"ram://runs-{os.getpid()}"
    yield folder
    filesystem.remove_tree(folder)


def another_machine():
    """As if this process had not opened a run yet."""
    mirror._MIRRORS.clear()


def test_what_a_run_leaves_is_there_and_another_machine_goes_on(remote):
    run = runs.RunDirectory(f"{remote}/a")
    assert isinstance(run.path, pathlib.Path) and run.path.name == "a"
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
    with run.locked():
        run.begin({"x": 1}, script="s", module="m")
        run.describe_model(labels=["l"], vocabulary=["w"], preprocessing={})
        run.save_model(model, "best")
        for step in (1, 2, 3):
            run.save_checkpoint({"v": np.full([3], step)}, {"step": step}, keep=2)
            assert filesystem.exists(f"{remote}/a/checkpoint/step-{step:09d}.npz")
        assert not filesystem.exists(f"{remote}/a/checkpoint/step-000000001.npz")
        (run.path / "figures").mkdir()
        (run.path / "figures" / "f.png").write_bytes(b"png")
    assert filesystem.read_bytes(f"{remote}/a/figures/f.png") == b"png"
    assert "lock" not in filesystem.listdir(f"{remote}/a")
    another_machine()
    again = runs.RunDirectory(f"{remote}/a")
    assert again.path != run.path and again.model_file("best").exists()
    assert again.newest_checkpoint() is None  # not before somebody trains
    with pytest.raises(runs.RunError, match="other settings"):
        again.begin({"x": 2}, script="s", module="m")
    with again.locked():
        state, arrays = again.load_checkpoint()
        assert state == {"step": 3} and arrays["v"].tolist() == [3, 3, 3]
    weights = keras.saving.load_model(again.model_file("best")).get_weights()
    np.testing.assert_array_equal(weights[0], model.get_weights()[0])


def test_a_folder_in_a_run_is_in_the_same_copy(remote):
    run = runs.RunDirectory(remote + "/a")
    below = runs.RunDirectory(remote + "/a/cases/one")
    assert below.path == run.path / "cases" / "one"
    with below.locked():
        runs.write_json(below.path / "x.json", [1])
    assert filesystem.exists(f"{remote}/a/cases/one/x.json")


def test_what_fails_is_told_and_kept(remote, monkeypatch, caplog):
    run = runs.RunDirectory(f"{remote}/a")
    runs.write_json(run.path / "x.json", [1])

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr(filesystem, "upload", full)
    with pytest.raises(OSError, match="no space"):
        mirror.push(run.path)
    mirror._MIRRORS[f"{remote}/a"].close()
    assert "no space" in caplog.text and (run.path / "x.json").exists()


def test_json_and_atomic_files_may_be_remote(remote):
    runs.write_json(f"{remote}/x.json", {"a": 1})
    assert runs.read_json(f"{remote}/x.json") == {"a": 1}
    with pytest.raises(runs.RunError, match="is missing"):
        runs.read_json(f"{remote}/y.json")
