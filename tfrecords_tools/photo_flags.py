"""The flags and the start that the builders of photos share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from tfrecords_tools import build_command, build_settings, settings_flags


def define_flags(settings: Any) -> None:
    """Defines the flags of every builder of photos; `settings` is the class with the defaults."""
    flags.DEFINE_integer("shard_mb", settings.shard_mb, "Size of a shard in MiB, about.")
    flags.DEFINE_float(
        "max_bad_records", settings.max_bad_records, "Share of bad records that fails the build."
    )
    flags.DEFINE_enum("kind", settings.kind, ["real", "synthetic"], "Stands in the manifest.")
    build_settings.define_runner_flags()
    flags.DEFINE_integer("seed", settings.seed, "Seed of the photos' order.")
    flags.mark_flags_as_required(["output_dir", "images_dir"])


def run_build(argv: Sequence[str], settings: Any, run: Callable[[Any], Mapping[str, Any]]) -> None:
    """Fills a builder's settings from the flags, runs it and prints its report.

    Args:
        argv: of the command, without its flags.
        settings: the dataclass, one field for each flag.
        run: the build.
    """
    report = build_command.result_of(argv, lambda: run(settings_flags.read(settings)))
    for name, value in report.items():
        print(f"{name}: {value}")
