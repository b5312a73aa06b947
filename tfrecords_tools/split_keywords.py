"""Divides a list of keywords into two that share no keyword and no opposite.

    python -m tfrecords_tools.split_keywords --first=train.tsv --second=unseen.tsv --fraction=0.5
    python -m tfrecords_tools.build --antonyms=train.tsv ...
    python -m experiments.evaluate_negatives --keywords=unseen.tsv ...

A classifier trained on swaps of the first list and tested on those of the second one cannot know by
heart which words give a swapped text away. Keywords that hang together ("young man", "man") stay
together; phrases that hide a keyword ("hot dog") stand in both lists.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from absl import app, flags

from imgtext_tf.data.antonyms import AntonymList, load_antonyms
from imgtext_tf.data.files import ShardError, write_file
from tfrecords_tools import settings_flags


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    first: str
    second: str
    antonyms: str | None = None
    fraction: float = 0.5
    seed: int = 0


def run(settings: Settings) -> tuple[int, int]:
    """Writes both lists.

    Returns:
        The number of keywords in each.

    Raises:
        ValueError: if the list is malformed, or the fraction lies outside of [0, 1].
        FileNotFoundError: if the list is missing.
        ShardError: if a file cannot be written.
    """
    parts = load_antonyms(settings.antonyms).split(settings.fraction, settings.seed)
    for path, part in zip((settings.first, settings.second), parts, strict=True):
        write_file(path, table(part).encode("utf-8"))
    return len(parts[0]), len(parts[1])


def table(antonyms: AntonymList) -> str:
    """A list as `load_antonyms` reads it."""
    lines = ["keyword\topposites\tkind\tsource"]
    for entry in antonyms.entries:
        lines.append(
            "\t".join((entry.keyword, "|".join(entry.opposites), entry.kind, entry.source))
        )
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str]) -> None:
    """Fills the settings from the flags and divides the list."""
    if len(argv) > 1:
        raise app.UsageError(f"flags only, not {argv[1:]}")
    settings = settings_flags.read(Settings)
    try:
        first, second = run(settings)
    except (ValueError, OSError, ShardError) as error:
        sys.exit(f"error: {error}")
    print(f"{first} keywords in {settings.first}, {second} in {settings.second}")


if __name__ == "__main__":
    flags.DEFINE_string("first", None, "TSV to write: keywords to build with.", required=True)
    flags.DEFINE_string("second", None, "TSV to write: keywords to test with.", required=True)
    flags.DEFINE_string("antonyms", None, "The list to divide; default the project's own.")
    flags.DEFINE_float("fraction", Settings.fraction, "Share of keywords in the first list.")
    flags.DEFINE_integer("seed", Settings.seed, "Seed of the division.")
    app.run(main)
