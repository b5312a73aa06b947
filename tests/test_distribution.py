"""Real clusters of two processes on this machine: they train as one process does.

The models are those of `cluster_models`; nine rows a batch, which two replicas cannot share evenly.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import cluster_models

TESTS = pathlib.Path(__file__).parent
PATIENCE = 600  # seconds; a machine with other work is slow


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(command, folder, workers=2):
    """Starts a command as so many workers; each logs to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    processes = []
    for number in range(workers):
        task = {"type": "worker", "index": number}
        environ = os.environ | {
            "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
            "PYTHONPATH": str(TESTS.parent),
        }
        with open(folder / f"log{number}.txt", "wb") as log:
            processes.append(
                subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=TESTS.parent)
            )
    return processes


def wait(processes, folder):
    """Their exit codes; none is left running."""
    try:
        deadline = time.monotonic() + PATIENCE
        return [process.wait(deadline - time.monotonic()) for process in processes]
    except subprocess.TimeoutExpired:
        pytest.fail("a worker hangs:\n" + logs(folder))
    finally:
        for process in processes:
            process.kill()


def logs(folder):
    return "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("log*.txt")))


def train_both(names, folder, strategy="multi_worker"):
    """Trains models in this process and by a strategy in others."""
    script = [sys.executable, "-m", "tests.cluster_models", ",".join(names)]
    workers = 2 if strategy == "multi_worker" else 1
    processes = start([*script, strategy, str(folder / "several")], folder, workers)
    for name in names:
        cluster_models.train(name, folder / "one" / name)
    assert wait(processes, folder) == [0] * workers, logs(folder)


def saw(path):
    with np.load(path) as file:
        return dict(file)


def assert_same_training(name, folder, workers=2):
    one = saw(folder / "one" / name / "0.npz")
    several = [saw(folder / "several" / name / f"{number}.npz") for number in range(workers)]
    assert one["logs"].shape == (cluster_models.STEPS, one["logs"].shape[1])
    # It learns, or the rest would say nothing.
    assert len(np.unique(one["logs"][:, -1])) > 1
    for arrays in several:
        np.testing.assert_allclose(arrays["logs"], one["logs"], rtol=1e-4, atol=1e-5)
        for key, value in one.items():
            np.testing.assert_allclose(arrays[key], value, rtol=2e-3, atol=1e-4, err_msg=key)
            np.testing.assert_array_equal(arrays[key], several[0][key], err_msg=key)


def test_two_workers_train_as_one(tmp_path):
    """Fails where a new Keras no longer works with what `replicated_step` replaces."""
    names = ("normalised", "phrases")
    train_both(names, tmp_path)
    for name in names:
        assert_same_training(name, tmp_path)
    # Only the chief writes weights; a script gives the others a temporary folder for the rest.
    run = tmp_path / "several" / "phrases"
    assert (run / "run0" / "model_last.keras").exists()
    assert not list((run / "run1").glob("*.keras")) and not (run / "run1" / "checkpoint").exists()


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["relations", "matching", "texts", "retrieval"])
def test_two_workers_train_each_model_as_one(name, tmp_path):
    train_both([name], tmp_path)
    assert_same_training(name, tmp_path)


@pytest.mark.heavy
def test_two_devices_of_a_machine_train_as_one(tmp_path):
    names = sorted(cluster_models.MODELS)
    train_both(names, tmp_path, "mirrored")
    for name in names:
        assert_same_training(name, tmp_path, workers=1)


# A whole script: a worker is killed, the cluster is started again.


def write_texts(path):
    rows = [f"photo{number}\tword{number} a{number % 7} b{number % 5}" for number in range(90)]
    rows += [f"photo{number}\ta{number % 7} c{number} b{number % 5}" for number in range(90)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def command(folder, run_dir, strategy, steps=100):
    return [
        sys.executable, "-m", "experiments.train_query_encoder", f"--texts={folder / 'texts.tsv'}",
        f"--run_dir={run_dir}", "--buckets=300", "--dim=8", "--gram_dim=8", "--held_out=0.1",
        "--attention_units=4", "--batch_size=15", f"--max_steps={steps}", "--checkpoint_every=20",
        "--eval_every=50", f"--strategy={strategy}",
    ]  # fmt: skip


def weights_of(run_dir):
    files = sorted((run_dir / "checkpoint").glob("step-*.npz"))
    arrays = saw(files[-1])
    return {name: value for name, value in arrays.items() if name != "state"}


@pytest.mark.heavy
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_ends_the_others_and_the_cluster_resumes(victim, tmp_path):
    write_texts(tmp_path / "texts.tsv")
    alone, together = tmp_path / "alone", tmp_path / "together"
    subprocess.run(command(tmp_path, alone, "single"), check=True, cwd=TESTS.parent)
    processes = start(command(tmp_path, together, "multi_worker"), tmp_path / "first")
    deadline = time.monotonic() + PATIENCE
    while not list((together / "checkpoint").glob("step-*.npz")):
        assert time.monotonic() < deadline, logs(tmp_path / "first")
        assert all(process.poll() is None for process in processes), logs(tmp_path / "first")
        time.sleep(0.02)
    processes[victim].send_signal(signal.SIGKILL)
    codes = wait(processes, tmp_path / "first")
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 3
    assert "another worker is gone" in (tmp_path / "first" / f"log{1 - victim}.txt").read_text()
    assert not (together / "result.json").exists()
    processes = start(command(tmp_path, together, "multi_worker"), tmp_path / "second")
    assert wait(processes, tmp_path / "second") == [0, 0], logs(tmp_path / "second")
    log = (tmp_path / "second" / "log0.txt").read_text()
    assert re.search(r"resumed at step (20|40|50|60|80|100) of 100", log)
    assert json.loads((together / "result.json").read_text())["steps"] == 100
    expected = weights_of(alone)
    for name, value in weights_of(together).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-2, atol=1e-3, err_msg=name)


@pytest.mark.heavy
def test_a_signal_to_one_worker_stops_all_with_a_checkpoint(tmp_path):
    write_texts(tmp_path / "texts.tsv")
    run_dir = tmp_path / "run"
    processes = start(command(tmp_path, run_dir, "multi_worker", steps=100_000), tmp_path / "log")
    deadline = time.monotonic() + PATIENCE
    while not list((run_dir / "checkpoint").glob("step-*.npz")):
        assert time.monotonic() < deadline, logs(tmp_path / "log")
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)
    stopped = 128 + signal.SIGTERM
    assert wait(processes, tmp_path / "log") == [stopped, stopped], logs(tmp_path / "log")
    assert "state saved" in (tmp_path / "log" / "log0.txt").read_text()
