"""How fast a training is, and how long it still takes."""

from __future__ import annotations

import bisect
import contextlib
import datetime
import logging
import time
from collections.abc import Iterator, Mapping

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Speed and time left; logs a line now and then, readable on a terminal and in a file."""

    def __init__(self, max_steps: int, eval_steps: list[int]):
        """Starts the clock.

        Args:
            max_steps: the last step.
            eval_steps: the steps to evaluate at, rising.
        """
        self._max_steps = max_steps
        self._eval_steps = eval_steps
        self._eval_seconds = 0.0
        self._begin = time.monotonic()
        # Where the stretch of the next line begins: time, step, and pauses since then.
        self._since: tuple[float, int] | None = None
        self._paused = 0.0

    def seconds(self) -> float:
        """Seconds since the training of this process began, evaluations included."""
        return time.monotonic() - self._begin

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Takes the time of a block out of the speed."""
        start = time.monotonic()
        yield
        self._paused += time.monotonic() - start

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """Takes the time of an evaluation out of the speed, and notes it for the time left."""
        start = time.monotonic()
        with self.pause():
            yield
        self._eval_seconds = time.monotonic() - start

    def advance(self, step: int, logs: Mapping[str, float]) -> None:
        """Notes that a step is done, and logs a line if it is time for one."""
        now = time.monotonic()
        if self._since is None:
            # The first step builds the graph and is no measure of speed.
            self._since, self._paused = (now, step), 0.0
            return
        seconds = now - self._since[0]
        if seconds < _SECONDS_BETWEEN_LINES and step < self._max_steps:
            return
        rate = (step - self._since[1]) / max(seconds - self._paused, 1e-9)
        evaluations = len(self._eval_steps) - bisect.bisect_left(self._eval_steps, step)
        left = (self._max_steps - step) / rate + evaluations * self._eval_seconds
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        logger.info(
            "step %d/%d  %.3g steps/s  %s  %s left",
            step, self._max_steps, rate, numbers, datetime.timedelta(seconds=round(left)),
        )  # fmt: skip
        self._since, self._paused = (now, step), 0.0
