import dataclasses
import json
import logging
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from imgtext_tf import run_log, runs

MODULE = "layers_of_a_test_run"
SOURCE = """
import keras

@keras.saving.register_keras_serializable(package="of_a_test_run")
class Double(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    run_dir: pathlib.Path
    units: tuple[int, ...] = (3, 2)
    max_steps: int = 10


@pytest.fixture
def run(tmp_path):
    return runs.RunDirectory(tmp_path / "run")


def begin(run, **changes):
    settings = dataclasses.replace(Settings(run.path), **changes)
    run.begin(settings, script="experiments.train_classic", module=MODULE)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_atomic_path_replaces_only_on_success(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with runs.atomic_path(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.parent == path.parent
    with pytest.raises(RuntimeError), runs.atomic_path(path) as temporary:
        temporary.write_text("tw")
        raise RuntimeError
    assert path.read_text() == "one" and names(path.parent) == ["a.txt"]


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.json"
    runs.write_json(path, {"step": np.int64(3), "share": np.float32(0.5), "path": path})
    assert json.loads(path.read_text()) == {"step": 3, "share": 0.5, "path": str(path)}
    with pytest.raises(OSError, match="No space"), runs.atomic_path(path) as temporary:
        temporary.touch()
        pathlib.Path("/dev/full").write_text("x" * 10_000)
    assert json.loads(path.read_text())["step"] == 3 and names(tmp_path) == ["a.json"]


def test_begin_writes_settings_and_environment(run):
    begin(run)
    written = runs.read_json(run.settings_file)
    assert written["script"] == "experiments.train_classic" and written["module"] == MODULE
    assert written["settings"]["units"] == [3, 2] and written["settings"]["max_steps"] == 10
    environment = runs.read_json(run.environment_file)
    assert environment["versions"]["keras"] == keras.__version__
    assert environment["device"] and environment["cpu_cores"] == os.cpu_count()


def test_a_resumed_run_may_train_longer_but_not_change(run):
    begin(run)
    begin(run, max_steps=20)
    assert runs.read_json(run.settings_file)["settings"]["max_steps"] == 20
    with pytest.raises(runs.RunError, match=r"units: \[3, 2\] before, \[4\] now"):
        begin(run, units=(4,))
    assert runs.read_json(run.settings_file)["settings"]["units"] == [3, 2]


def test_a_changed_version_is_told(run, caplog):
    begin(run)
    environment = runs.read_json(run.environment_file)
    environment["versions"]["keras"] = "2.0"
    runs.write_json(run.environment_file, environment)
    begin(run)
    assert "other versions" in caplog.text


def test_a_second_process_is_kept_out_until_the_first_is_dead(run):
    run.path.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, os, sys\n"
         "file = open(sys.argv[1], 'w')\n"
         "fcntl.flock(file, fcntl.LOCK_EX)\n"
         "print(os.getpid(), file=file, flush=True)\n"
         "print('held', flush=True)\n"
         "sys.stdin.read()", str(run.path / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        holder.stdout.readline()
        with pytest.raises(runs.RunError, match=f"in use by process {holder.pid}"), run.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    # The file of the dead process is still there.
    assert (run.path / "lock").read_text() == f"{holder.pid}\n"
    with run.locked(), run.locked():
        assert (run.path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(runs.RunError), runs.RunDirectory(run.path).locked():
            pass
    with runs.RunDirectory(run.path).locked():
        pass


@pytest.mark.parametrize("name", ["lock", "log.txt"])
def test_a_link_out_of_the_directory_is_not_written_through(run, tmp_path, name):
    outside = tmp_path / "outside"
    outside.write_text("kept")
    run.path.mkdir()
    (run.path / name).symlink_to(outside)
    with pytest.raises(runs.RunError, match=f"{name}: is a symbolic link"), run.locked():
        pass
    assert outside.read_text() == "kept"


def test_load_gives_the_model_back_without_its_script(run, tmp_path, monkeypatch):
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(MODULE)
    inputs = keras.Input([3])
    model = keras.Model(inputs, keras.layers.Dense(2)(module.Double()(inputs)))
    begin(run)
    vocabulary = ["dog", "\u2028", "naïve", "x\u0085y"]
    run.describe_model(labels=["a", "b"], vocabulary=vocabulary, preprocessing={"image_size": 299})
    run.save_model(model, "best")
    # As in a process that never imported the module.
    monkeypatch.delitem(sys.modules, MODULE)
    keras.saving.get_custom_objects().pop("of_a_test_run>Double")
    with pytest.raises(runs.RunError, match="none of the package's: import it before"):
        runs.load(run.path)  # a file alone does not choose what code is run
    assert MODULE not in sys.modules
    __import__(MODULE)
    loaded = runs.load(run.path)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(loaded.model.predict_on_batch(x), model.predict_on_batch(x))
    assert loaded.vocabulary == tuple(vocabulary)
    assert loaded.labels == ("a", "b")
    assert loaded.settings["units"] == [3, 2]
    assert loaded.preprocessing == {"image_size": 299}
    with pytest.raises(runs.RunError, match="model_last.keras is missing"):
        runs.load(run.path, "last")


def test_load_of_no_run_raises(tmp_path):
    with pytest.raises(runs.RunError, match="settings.json is missing"):
        runs.load(tmp_path)


def test_a_word_with_a_line_break_is_refused(run):
    with pytest.raises(ValueError, match="line break"):
        run.describe_model(labels=[], vocabulary=["a\nb"], preprocessing={})


def test_result_holds_settings_environment_and_outcome(run):
    begin(run)
    run.write_result(
        metrics={"accuracy": 0.5},
        seed=7,
        dataset={"name": "scenes", "digest": "abc", "kind": "synthetic"},
        steps=10,
        seconds=1.25,
        parameters=123,
        command="python -m experiments.train_classic",
        best_step=8,
    )
    result = runs.read_json(run.result_file)
    assert result["settings"]["units"] == [3, 2] and result["seed"] == 7
    assert result["metrics"] == {"accuracy": 0.5} and result["dataset"]["kind"] == "synthetic"
    assert result["parameters"] == 123 and result["best_step"] == 8 and result["steps"] == 10
    assert "tensorflow" in result["environment"]["versions"]


@pytest.mark.parametrize(
    "content",
    [b"loss\n1\n", b"step,x\n1,0.1x\n", b"step,x\n1,2,3\n", b"step\n\xff\n", b"step\nx\n"],
)
def test_a_damaged_history_is_named(run, content):
    run.path.mkdir(parents=True)
    run.history_file.write_bytes(content)
    with pytest.raises(runs.RunError, match="history.csv is damaged"):
        run.read_history()


def test_history_takes_new_columns(run):
    assert run.read_history() == []
    run.write_history([{"val/loss": 0.1, "step": 5}, {"step": 10, "val/accuracy": 1 / 3}])
    assert run.history_file.read_text().splitlines()[0] == "step,val/loss,val/accuracy"
    assert run.read_history() == [
        {"step": "5", "val/loss": "0.1", "val/accuracy": ""},
        {"step": "10", "val/loss": "", "val/accuracy": repr(1 / 3)},
    ]


def test_checkpoints_come_back_and_old_ones_go(run):
    assert run.load_checkpoint() is None and run.newest_checkpoint() is None
    for step in (9, 10, 100):
        run.save_checkpoint({"w": np.full(2, step, np.float32)}, {"step": step, "best": None})
    assert names(run.checkpoints) == ["step-000000010.npz", "step-000000100.npz"]
    state, arrays = run.load_checkpoint()
    assert state == {"step": 100, "best": None}
    assert arrays.keys() == {"w"} and arrays["w"].dtype == np.float32
    np.testing.assert_array_equal(arrays["w"], [100, 100])


def test_a_failed_checkpoint_leaves_the_old_one(run, monkeypatch):
    run.save_checkpoint({"w": np.ones(2)}, {"step": 1})

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match="No space"):
            run.save_checkpoint({"w": np.zeros(2)}, {"step": 2})
    assert names(run.checkpoints) == ["step-000000001.npz"]
    run.save_checkpoint({"w": np.zeros(2)}, {"step": 3})
    assert names(run.checkpoints) == ["step-000000001.npz", "step-000000003.npz"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(run, damage, caplog):
    for step in (1, 2):
        newest = run.save_checkpoint({"w": np.full(1000, step, float)}, {"step": step})
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    newest.write_bytes({"cut": data[:-100], "flip": data, "empty": b""}[damage])
    state, arrays = run.load_checkpoint()
    assert state["step"] == 1 and arrays["w"][0] == 1
    assert newest.name in caplog.text
    (run.checkpoints / "step-000000001.npz").write_bytes(b"")
    with pytest.raises(runs.RunError, match="no checkpoint .* is readable"):
        run.load_checkpoint()


def test_what_is_logged_stands_in_a_file_that_rotates(tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "_BYTES", 2000)
    run = runs.RunDirectory(tmp_path / "run")
    with run.locked(), runs.RunDirectory(tmp_path / "run" / "stage").locked():
        for number in range(200):
            logging.getLogger("imgtext_tf.x").warning("line %d", number)
    logging.getLogger("imgtext_tf.x").warning("afterwards")
    files = sorted(run.path.glob("log.txt*"))
    assert [path.name for path in files] == ["log.txt", "log.txt.1", "log.txt.2", "log.txt.3"]
    assert all(path.stat().st_size <= 2000 for path in files)
    assert files[0].read_text().splitlines()[-1].endswith("WARNING imgtext_tf.x: line 199")
    assert not list(tmp_path.glob("run/stage/log*"))


def test_what_a_killed_process_left_is_removed(tmp_path):
    run = runs.RunDirectory(tmp_path)
    for name in ("a", "checkpoint", "stages/one/checkpoint"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ".tmp-1-x.npz").write_bytes(b"half")
    (tmp_path / ".tmp-1-export" / "variables").mkdir(parents=True)
    with run.locked():
        assert not list(tmp_path.rglob(".tmp-*"))
