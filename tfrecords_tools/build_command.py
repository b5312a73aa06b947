"""How builders are commands: settings from the flags, signals, errors without a traceback."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf
from absl import app, flags

from tfrecords_tools import build_settings

Settings = TypeVar("Settings")
Result = TypeVar("Result")


def settings_from_flags(settings: type[Settings]) -> Settings:
    """The settings that the command line gives, one flag for each field.

    Raises:
        ValueError: if a list holds something else than numbers.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = flags.FLAGS[field.name].value
        if isinstance(value, list):
            value = tuple(map(int if "int" in field.type else str, value))
        values[field.name] = value
    return settings(**values)


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
