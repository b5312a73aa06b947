"""The measurement of a long training, on programs that grow and that do not."""

import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import soak

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Logs its steps as a training does, and keeps what its first argument says a step, in kB.
PROGRAM = """
import os, sys, time
kept = []
os.makedirs(os.path.join(sys.argv[2], "tensorboard"))
for step in range(1, 41):
    kept.append(b"x" * (1024 * int(sys.argv[1])))
    print(f"step {100 * step}/4000  9 steps/s", file=sys.stderr, flush=True)
    time.sleep(0.02)
with open(os.path.join(sys.argv[2], "tensorboard", "events"), "wb") as file:
    file.write(bytes(5000))
time.sleep(0.1)
"""


def measure(tmp_path, kilobytes):
    words = ("python", "-c", PROGRAM, str(kilobytes), str(tmp_path / "run"))
    return soak.run(words, str(tmp_path / "run"), seconds=0.01)


def test_memory_that_grows_is_told_by_the_thousand_steps(tmp_path):
    found = measure(tmp_path, 200)
    # 200 kB in each line of 100 steps.
    assert found.growth == pytest.approx(2000, rel=0.3)
    assert found.steps[-1] == 4000 and found.files[-1] == 4
    table = found.table().splitlines()
    assert len(table) == 11 and table[-1].split()[::2] == ["4000", "4"]


def test_memory_that_stays_does_not_grow(tmp_path):
    assert abs(measure(tmp_path, 0).growth) < 200


def test_an_evaluation_at_the_end_is_no_growth():
    steps = np.array([100, 200, 300, 400, 500, 500, 500])
    memory = np.array([898, 900, 902, 904, 906, 5000, 9000])
    assert soak.Soak(steps, memory, memory).growth == pytest.approx(20)
    with pytest.raises(RuntimeError, match="too few samples before step 500"):
        print(soak.Soak(steps[4:], memory[4:], memory[4:]).growth)


def test_a_stopped_measurement_leaves_nothing_running(tmp_path):
    pid = tmp_path / "pid"
    note = f"pathlib.Path({str(pid)!r}).write_text(f'{{os.getpid()}}.')"
    words = ("-m", "experiments.soak", f"--run_dir={tmp_path}/run", "--", "python", "-c")
    process = subprocess.Popen(
        [sys.executable, *words, f"import os, pathlib, time; {note}; time.sleep(60)"],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (pid.exists() and pid.read_text().endswith(".")):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, printed = process.communicate(timeout=30)
    assert process.returncode == 1 and printed.endswith("stopped, and the command with it\n")
    state = pathlib.Path("/proc", pid.read_text()[:-1], "stat")
    # What nobody waited for yet is there as a zombie.
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_training_that_fails_is_no_measurement(tmp_path):
    with pytest.raises(RuntimeError, match="exit code 3.*\n.*no data"):
        soak.run(
            (sys.executable, "-c", "print('no data'); raise SystemExit(3)"), str(tmp_path / "run")
        )
