r"""Measures the memory and the files of a long training: flat, or growing with the steps?

    python -m experiments.soak --run_dir=/tmp/soak/run -- \
        python -m experiments.train_classic --run_dir=/tmp/soak/run --max_steps=20000 ...

Runs the command and samples the resident memory of its processes, with the step that its progress
lines name. Prints a table over the steps, and the growth in kB a thousand steps by a line fitted
through all samples between the first fifth and the last step, where a run evaluates. With
--most_growth the exit code is 1 where it is more.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
_STEP = re.compile(rb"step (\d+)/\d+ ")
_WARM_UP = 0.2  # share of the steps that is left out of the fit
_ROWS = 10


@dataclasses.dataclass(frozen=True)
class Soak:
    """What was measured.

    Attributes:
        steps: [N] the step of each sample.
        memory: [N] kB of resident memory.
        files: [N] kB of the run directory's TensorBoard files and logs.
    """

    steps: np.ndarray
    memory: np.ndarray
    files: np.ndarray

    @property
    def growth(self) -> float:
        """KB of memory a thousand steps, after the warm-up and before the evaluation at the end.

        Raises:
            RuntimeError: if too few samples lie between.
        """
        last = self.steps.max()
        late = (self.steps >= _WARM_UP * last) & (self.steps < last)
        if len(np.unique(self.steps[late])) < 2:
            raise RuntimeError(f"too few samples before step {last}: train longer")
        return float(1000 * np.polyfit(self.steps[late], self.memory[late], 1)[0])

    def table(self) -> str:
        """A line for every tenth of the steps: largest memory and size of the files in it."""
        lines = ["    steps  memory MB  files kB"]
        ends = np.linspace(0, self.steps.max(), _ROWS + 1)
        for start, end in zip(ends[:-1], ends[1:], strict=True):
            chosen = (self.steps > start) & (self.steps <= end)
            if chosen.any():
                memory, files = self.memory[chosen].max() / 1024, self.files[chosen].max()
                lines.append(f"{int(end):9d}  {memory:9.1f}  {files:8.0f}")
        return "\n".join(lines)


def run(command: Sequence[str], run_dir: str, *, seconds: float = 0.5) -> Soak:
    """Runs a training and measures it.

    Args:
        command: its words; the training logs its progress to standard error.
        run_dir: the run directory of the command.
        seconds: between two samples.

    Raises:
        RuntimeError: if the command fails, or logs no progress.
    """
    words = [sys.executable if word == "python" else word for word in command]
    folder = pathlib.Path(run_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    samples: list[tuple[int, int, int]] = []
    with open(log, "wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                time.sleep(seconds)
                step = _last_step(log)
                memory = _resident(process.pid)
                if step and memory:
                    samples.append((step, memory, _size(folder)))
        finally:
            process.kill()
    if process.returncode or not samples:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        raise RuntimeError("\n".join([f"exit code {process.returncode}, no measurement:", *tail]))
    return Soak(*np.array(samples).T)


def _last_step(log: pathlib.Path) -> int:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        steps = _STEP.findall(file.read())
    return int(steps[-1]) if steps else 0


def _resident(pid: int) -> int:
    """KB of a process and those that it started; 0 if it is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = re.search(r"VmRSS:\s+(\d+) kB", status)
    return (int(own[1]) if own else 0) + sum(_resident(int(child)) for child in children)


def _size(folder: pathlib.Path) -> int:
    paths = [*folder.glob("log.txt*"), *folder.rglob("tensorboard/**/*")]
    return sum(path.stat().st_size for path in paths if path.is_file()) // 1024


def main(argv: list[str]) -> None:
    """Measures the command behind `--`."""
    if len(argv) < 2:
        raise app.UsageError("give the training's command behind --")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        soak = run(argv[1:], FLAGS.run_dir)
    except KeyboardInterrupt:
        sys.exit("stopped, and the command with it")
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    print(soak.table())
    print(f"growth of memory: {soak.growth:+.0f} kB a thousand steps")
    if FLAGS.most_growth and soak.growth > FLAGS.most_growth:
        sys.exit(f"more than --most_growth={FLAGS.most_growth}")


if __name__ == "__main__":
    flags.DEFINE_string("run_dir", None, "The run directory of the command.", required=True)
    flags.DEFINE_float("most_growth", 0, "kB a thousand steps that are allowed; 0: any.")
    app.run(main)
