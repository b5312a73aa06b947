"""Every training, builder and indexer: killed, started again, equal to one never killed."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from experiments import kill_watch, survive_kills
from imgtext_tf import output_comparison
from tests.experiments import killed_commands

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Writes twelve files; those that are there it takes as they are.
PROGRAM = """
import os, sys, time
for number in range(12):
    path = os.path.join(sys.argv[1], f"{number}.txt")
    if not os.path.exists(path):
        time.sleep(0.02)
        with open(path + ".tmp", "w") as file:
            file.write("a" * number)
            file.flush()
            time.sleep(0.01)
            file.write("b")
        os.replace(path + ".tmp", path)
"""
# Forgets to write beside its place: a kill leaves half a file, which is then taken for whole.
CARELESS = PROGRAM.replace('+ ".tmp", "w"', ', "w"').replace('os.replace(path + ".tmp", path)', "")


def survive(tmp_path, *words, **options):
    return survive_kills.run(
        survive_kills.Settings((sys.executable, *words), str(tmp_path / "work"), **options)
    )


def test_a_command_that_survives(tmp_path, capsys):
    outcome = survive(tmp_path, "-c", PROGRAM, "{}", kills=6)
    assert outcome.kills == 6 and outcome.files == 12 and not outcome.differences
    printed = capsys.readouterr().out
    assert "12 temporary files" in printed and re.search(r"ms into \d+\.txt\.tmp", printed)
    assert sorted(path.name for path in (tmp_path / "work").iterdir() if path.is_dir()) == []


def test_a_command_that_does_not(tmp_path):
    outcome = survive(tmp_path, "-c", CARELESS, "{}", kills=12, seed=1)
    assert any(re.search(r"\d+\.txt: other bytes", line) for line in outcome.differences)


def test_a_command_that_fails_is_no_success(tmp_path):
    with pytest.raises(survive_kills.CommandFailed, match="exit code 3.*\n.*no luck"):
        survive(tmp_path, "-c", "print('no luck'); raise SystemExit(3)", "{}")
    with pytest.raises(ValueError, match="names no output folder"):
        survive(tmp_path, "-c", "pass")


def test_a_stopped_command_leaves_nothing_running(tmp_path):
    """The command writes its number, starts a process of its own, and both wait."""
    program = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).with_name("pids").write_text(f"{os.getpid()} {child.pid} all")
time.sleep(60)
"""
    words = ("-m", "experiments.survive_kills", f"--work_dir={tmp_path}", "--", "python", "-c")
    process = subprocess.Popen(
        [sys.executable, *words, program, "{}"],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pids = tmp_path / "pids"
    while not (pids.exists() and pids.read_text().endswith("all")):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, printed = process.communicate(timeout=30)
    assert process.returncode == 1 and printed.endswith("stopped, and the command with it\n")
    for pid in pids.read_text().split()[:2]:
        state = pathlib.Path("/proc", pid, "stat")
        # What nobody waited for yet is there as a zombie.
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_temporary_files_are_seen_in_new_folders_too(tmp_path):
    watch = kill_watch.Watch(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "whole.txt").touch()
    (tmp_path / "a" / ".tmp-1-x").touch()
    assert watch.wait_for(1, seconds=5)
    assert not watch.wait_for(2, seconds=0.05)
    watch.close()
    assert watch.names == [".tmp-1-x"]


def test_outputs_are_equal_but_for_clocks_and_their_own_name(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name / "run"
        (folder / "checkpoint").mkdir(parents=True)
        state = json.dumps({"step": 5, "seconds": hash(name)})
        np.savez(folder / "checkpoint" / "step-000000005.npz", state=state, a=np.ones(3))
        result = {"metrics": {"x": float("nan")}, "seconds": hash(name), "file": str(folder)}
        result["model_sha256"] = f"{hash(name):x}"
        (folder / "result.json").write_text(json.dumps(result))
        (folder / "log.txt").write_text(name)
        np.savez(folder / "predictions.npz", logits=np.ones(2), seconds=hash(name))
    (tmp_path / "one" / "run" / "checkpoint" / "step-000000003.npz").write_bytes(b"older")
    one, two = tmp_path / "one", tmp_path / "two"
    for name, first, second in (("one", 140, 150), ("two", 88, 7)):
        with zipfile.ZipFile(tmp_path / name / "run" / "model_best.keras", "w") as file:
            shared = '[{"shared_object_id": %d}, {"shared_object_id": %d}]'
            file.writestr("config.json", shared % (first, second))
            file.writestr("metadata.json", name)
    assert output_comparison.differences(one, two) == []
    with zipfile.ZipFile(two / "run" / "model_best.keras", "w") as file:
        file.writestr("config.json", shared % (88, 88))
    (found,) = output_comparison.differences(one, two)
    assert found.startswith("run/model_best.keras: config.json is")
    shutil.copyfile(one / "run" / "model_best.keras", two / "run" / "model_best.keras")
    a = np.array([1, 1, np.nextafter(np.float64(1), 2)])
    np.savez(two / "run" / "checkpoint" / "step-000000005.npz", state=state, a=a)
    (two / "run" / "result.json").write_text('{"metrics": {"x": 1.0}, "file": "?"}')
    np.savez(two / "run" / "predictions.npz", logits=np.zeros(2), seconds=0)
    (two / "run" / "more").touch()
    found = output_comparison.differences(one, two)
    assert [line.split(" ")[0:2] for line in found] == [
        ["run/checkpoint/newest:", "a"],
        ["run/more:", "only"],
        ["run/predictions.npz:", "logits"],
        ["run/result.json:", "/file"],
        ["run/result.json:", "/metrics/x"],
    ]


def test_every_training_script_is_covered():
    scripts = {path.stem for path in (REPOSITORY / "experiments").glob("train_*.py")}
    assert scripts == {f"train_{name}" for name in killed_commands.TRAININGS if name != "zero_shot"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.mark.heavy
@pytest.mark.parametrize("name", [*killed_commands.TRAININGS, *killed_commands.BUILDERS])
def test_a_killed_command_ends_like_one_never_killed(name, root, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *sys.path]))
    words = killed_commands.command(name, root)
    settings = survive_kills.Settings(words, str(tmp_path), kills=1, seed=len(name))
    outcome = survive_kills.run(settings)
    assert outcome.kills == 1 and outcome.files > 3
    assert not outcome.differences
