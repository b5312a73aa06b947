r"""Kills a command again and again, and compares what it leaves with an uninterrupted run.

    python -m experiments.survive_kills --kills=20 --work_dir=/tmp/kills -- \
        python -m experiments.train_classic --deterministic --run_dir={} --data_dir=...
    python -m experiments.survive_kills --kills=20 --work_dir=/tmp/kills -- \
        python -m tfrecords_tools.build --output_dir={} --coco_dir=...

`{}` stands for the output folder. The command runs once to its end; then it is started, killed with
SIGKILL and started again until it ends, as often as it takes. Half of the kills come at a random
moment, half when it has just begun a random one of its temporary files, so that checkpoints, shards
and indexes are hit while they are written. Weights, optimisers, results and all other files must
then be equal bit by bit; what differs is printed, and the exit code is 1.

Training must be given `--deterministic`, and everything one process or a fixed number of them.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from experiments import kill_watch
from imgtext_tf import output_comparison

FLAGS = flags.FLAGS
_PLACEHOLDER = "{}"
_LONGEST_PAUSE = 0.02  # seconds between the start of a temporary file and the kill


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    command: tuple[str, ...]
    work_dir: str
    kills: int = 20
    seed: int = 0
    keep: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a command that was killed.

    Attributes:
        kills: how often it was killed, over all rounds.
        rounds: how often it then came to its end.
        files: that were compared in each round.
        differences: one line each; none where all rounds equal the uninterrupted run.
    """

    kills: int
    rounds: int
    files: int
    differences: tuple[str, ...]


class CommandFailed(RuntimeError):
    """The command ended with an error instead of by a kill."""


def run(settings: Settings) -> Outcome:
    """Runs the command uninterrupted, then under kills, and compares.

    A round begins with an empty folder and ends with the command. Rounds are repeated until there
    were as many kills as asked for; the last one then runs to its end.

    Raises:
        ValueError: if no word of the command holds the place of the output folder.
        CommandFailed: if the command ends with an error, its last lines in the message.
    """
    if not any(_PLACEHOLDER in word for word in settings.command):
        raise ValueError(f"the command names no output folder: write {_PLACEHOLDER} in its place")
    root = pathlib.Path(settings.work_dir)
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(settings.seed)
    whole = _emptied(root / "whole")
    with _Attempt(settings.command, whole) as attempt:
        attempt.wait()
    print(f"uninterrupted: {attempt.seconds:.1f} s, {attempt.writes} temporary files", flush=True)
    files = output_comparison.files_of(whole)
    differences: list[str] = []
    kills = rounds = 0
    while kills < settings.kills:
        rounds += 1
        folder = _emptied(root / f"killed-{rounds}")
        of_round = _survive(
            settings.command, folder, rng, usual=attempt, most=settings.kills - kills
        )
        kills += of_round
        found = output_comparison.differences(whole, folder)
        differences += [f"round {rounds}: {line}" for line in found]
        verdict = f"{len(found)} differences" if found else f"all {len(files)} files equal"
        print(f"round {rounds}: {of_round} kills, {verdict}", flush=True)
        if not (found or settings.keep):
            shutil.rmtree(folder)
    if not (differences or settings.keep):
        shutil.rmtree(whole)
    return Outcome(kills, rounds, len(files), tuple(differences))


def _survive(
    command: tuple[str, ...],
    folder: pathlib.Path,
    rng: np.random.Generator,
    *,
    usual: _Attempt,
    most: int,
) -> int:
    """Kills and starts the command until it ends: the number of kills, at most so many."""
    kills = 0
    while True:
        with _Attempt(command, folder) as attempt:
            if kills == most:
                attempt.wait()
                return kills
            # The process alone dies, or all that it started as well.
            alone = rng.random() < 0.5
            if usual.writes and rng.random() < 0.5:
                write = int(rng.integers(usual.writes)) + 1
                killed = attempt.kill_at_write(write, rng.uniform(0, _LONGEST_PAUSE), alone=alone)
            else:
                killed = attempt.kill_after(rng.uniform(0, usual.seconds), alone=alone)
        if not killed:
            return kills
        kills += 1
        print(f"  kill {kills}: {attempt.story}", flush=True)


class _Attempt:
    """One start of the command, which does not outlive its block.

    Attributes:
        seconds: from its start to its end.
        writes: temporary files that it began.
        story: when it was killed.
    """

    def __init__(self, command: tuple[str, ...], folder: pathlib.Path):
        self._watch = kill_watch.Watch(folder)
        words = [word.replace(_PLACEHOLDER, str(folder)) for word in command]
        if words[0] == "python":
            words[0] = sys.executable
        self._words = words
        self._log = folder.with_name(f"{folder.name}.log")
        self._begin = time.monotonic()
        with open(self._log, "wb") as log:
            # A group of its own, so that it can be killed with all that it starts.
            self._process = subprocess.Popen(
                words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.seconds, self.story = 0.0, ""

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:  # the block was interrupted
            self._kill(alone=False)

    @property
    def writes(self) -> int:
        return len(self._watch.names)

    def wait(self) -> None:
        """Lets it run to its end."""
        self._end(self._process.wait())

    def kill_after(self, seconds: float, *, alone: bool) -> bool:
        """Kills it after some time; False if it ended before."""
        try:
            self._end(self._process.wait(seconds))
            return False
        except subprocess.TimeoutExpired:
            self._kill(alone)
            self.story = f"after {seconds:.1f} s"
            return True

    def kill_at_write(self, number: int, pause: float, *, alone: bool) -> bool:
        """Kills it shortly after it began its n-th temporary file; False if it ended before."""
        while not self._watch.wait_for(number, seconds=0.5):
            if self._process.poll() is not None:
                self._end(self._process.returncode)
                return False
        time.sleep(pause)
        if self._process.poll() is not None:
            self._end(self._process.returncode)
            return False
        self._kill(alone)
        self.story = f"{1000 * pause:.0f} ms into {self._watch.names[number - 1]}"
        return True

    def _kill(self, alone: bool) -> None:
        if alone:
            self._process.kill()
        else:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._watch.close()

    def _end(self, code: int) -> None:
        self.seconds = time.monotonic() - self._begin
        self._watch.close()
        if code:
            tail = self._log.read_text(errors="replace").splitlines()[-15:]
            raise CommandFailed("\n".join([f"{shlex.join(self._words)}: exit code {code}", *tail]))


def _emptied(folder: pathlib.Path) -> pathlib.Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    settings = Settings(tuple(argv[1:]), FLAGS.work_dir, FLAGS.kills, FLAGS.seed, FLAGS.keep)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        outcome = run(settings)
    except KeyboardInterrupt:
        sys.exit("stopped, and the command with it")
    except (CommandFailed, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for line in outcome.differences:
        print(line)
    if outcome.differences:
        sys.exit(f"{outcome.kills} kills: the folders in {settings.work_dir} differ")
    print(f"{outcome.kills} kills in {outcome.rounds} rounds: {outcome.files} files equal")


if __name__ == "__main__":
    flags.DEFINE_string("work_dir", None, "Folder for the outputs to compare.", required=True)
    flags.DEFINE_integer("kills", 20, "Kills in all.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the moments.")
    flags.DEFINE_bool("keep", False, "Keep the folders where they are equal, too.")
    app.run(main)
