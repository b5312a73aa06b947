r"""Adds phrases to a trained generator, or takes some away, without training.

    python -m experiments.edit_phrases --run_dir=runs/phrases --add="our mascot" a.jpg b.jpg
    python -m experiments.edit_phrases --run_dir=runs/phrases --remove="stock photo,image"

An added phrase gets the mean embedding of its photos (Eq. 2); photos for a phrase that is there
already are averaged in.

Reference: Shah2019, Eq. 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from absl import app, logging

from experiments import phrase_report, settings_flags
from experiments.phrase_generation import PhraseGenerator, index_settings
from imgtext_tf import prototypes, runs, search
from imgtext_tf.data import queries


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; `HELP` says what each means."""

    run_dir: str
    add: str = ""
    remove: tuple[str, ...] = ()


HELP = {
    "add": "A phrase that the photos on the command line show.",
    "remove": "Phrases to take away (comma-separated).",
}


def run(settings: Settings, paths: Sequence[str] = ()) -> int:
    """Edits the run's prototypes and its index; returns the number of phrases then.

    Raises:
        ValueError: if there is nothing to do, photos without a phrase or too few of them, or an
            unknown phrase.
        RunError: if the run is not finished.
    """
    if bool(settings.add) != bool(paths) or not (settings.add or settings.remove):
        raise ValueError("give --add=<phrase> with photos, or --remove=<phrases>")
    run_dir = runs.RunDirectory(settings.run_dir)
    with run_dir.locked():
        found = prototypes.Prototypes.load(run_dir.path / phrase_report.PROTOTYPES)
        generator = PhraseGenerator(settings.run_dir)
        for phrase in settings.remove:
            if phrase not in found:
                raise ValueError(f"{phrase!r} is no phrase of {settings.run_dir}")
            found.remove(phrase)
        saved = index_settings(run_dir)
        least = saved["prototype_images"]
        if paths:
            phrase = queries.normal_query(settings.add)
            found.add(generator.embed(paths), [[phrase]] * len(paths))
            if (count := found.count(phrase)) < least:
                raise ValueError(
                    f"{phrase!r} has {count} photos, and the run's phrases have {least} or more "
                    "(--prototype_images): give more photos"
                )
        names, vectors, _ = found.vectors(min_count=least)
        index = search.build(saved["backend"], names, vectors)
        found.save(run_dir.path / phrase_report.PROTOTYPES)
        index.save(run_dir.path / phrase_report.INDEX)
    logging.info("%d phrases", len(names))
    return len(names)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and edits."""
    try:
        run(settings_flags.read(Settings), argv[1:])
    except ValueError as error:
        raise app.UsageError(str(error)) from None


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP)
