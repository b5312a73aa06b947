"""How builders run as commands: signals, and errors without a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tensorflow as tf
from absl import app

from tfrecords_tools import build_settings

Result = TypeVar("Result")


def result_of(argv: Sequence[str], run: Callable[[], Result]) -> Result:
    """Runs a build, or ends the command with what is wrong and how to mend it.

    Args:
        argv: of the command, without its flags.
        run: reads the flags and builds.
    """
    if len(argv) > 1:
        raise app.UsageError(f"flags only, not {argv[1:]}")
    # A terminated build leaves no process and no temporary file behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tf.config.set_visible_devices([], "GPU")
    try:
        return run()
    except build_settings.MISTAKES as error:
        sys.exit(f"error: {error}")
