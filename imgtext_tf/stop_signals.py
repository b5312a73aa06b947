"""Signals that end a training after the step at hand."""

from __future__ import annotations

import signal
import threading


class EvaluationStopped(BaseException):
    """A stop signal came during an evaluation. No Exception, so that nothing swallows it."""


class StopSignals:
    """While entered, notes SIGINT and SIGTERM instead of ending the process at once."""

    def __init__(self):
        """Has received nothing yet."""
        self.received = False
        self.in_evaluation = False
        self._previous = {}

    def __enter__(self) -> StopSignals:
        """Takes both signals, in the main thread only."""
        # Python allows no handlers in other threads; there signals keep their effect.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Gives both signals back to their handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, *_: object) -> None:
        if self.received:
            raise KeyboardInterrupt("second stop signal: aborted")
        self.received = True
        if self.in_evaluation:
            # An evaluation may take minutes, and the resumed run does it again.
            self.in_evaluation = False
            raise EvaluationStopped
