r"""Prints the phrases that a trained generator has for images.

    python -m experiments.generate_phrases --run_dir=runs/phrases photo.jpg another.png

One line a phrase: image, cosine, phrase. `train_phrases` makes the run.

Reference: Shah2019, Eq. 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from absl import app

from experiments import settings_flags
from experiments.phrase_generation import PhraseGenerator

_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; `HELP` says what each means."""

    run_dir: str
    top: int = 3
    exclude: tuple[str, ...] = ()
    which: str = "best"
    output_space: str = "large"


HELP = {
    "top": "Phrases an image.",
    "exclude": "Phrases that must not come back (comma-separated).",
    "which": "The run's best or last weights.",
    "output_space": "large: all prototypes (Eq. 3); small: the queries of the softmax (Eq. 1).",
}
CHOICES = {"which": ("best", "last"), "output_space": ("large", "small")}


def run(settings: Settings, paths: Sequence[str]) -> list[tuple[str, list[tuple[str, float]]]]:
    """The phrases of each image, with their cosines.

    Raises:
        RunError: if the run is not finished.
        ImageError: naming the file that is no image.
    """
    generator = PhraseGenerator(
        settings.run_dir, which=settings.which, output_space=settings.output_space
    )
    found = []
    for start in range(0, len(paths), _BATCH):
        batch = list(paths[start : start + _BATCH])
        phrases = generator.phrases(batch, k=settings.top, exclude=set(settings.exclude))
        found += zip(batch, phrases, strict=True)
    return found


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and prints the phrases."""
    if len(argv) < 2:
        raise app.UsageError("name one image file or more")
    for path, phrases in run(settings_flags.read(Settings), argv[1:]):
        for phrase, score in phrases:
            print(f"{path}\t{score:.3f}\t{phrase}")


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES)
