r"""Prints the phrases that a trained generator has for images.

    python -m experiments.generate_phrases --run_dir=runs/phrases photo.jpg another.png

One line a phrase: image, cosine, phrase. `train_phrases` makes the run. A file that is no image is
named and left out; the others have their phrases, and the script ends as failed.

Reference: Shah2019, Eq. 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from absl import app, logging

from experiments import settings_flags
from experiments.phrase_generation import PhraseGenerator
from imgtext_tf.data import images

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


def run(settings: Settings, paths: Sequence[str]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yields the phrases of each image, with their cosines; a file that is none is left out.

    Raises:
        RunError: if the run is not finished.
    """
    generator = PhraseGenerator(
        settings.run_dir, which=settings.which, output_space=settings.output_space
    )
    for start in range(0, len(paths), _BATCH):
        opened = {}
        for path in paths[start : start + _BATCH]:
            try:
                opened[path] = generator.read(path)
            except (OSError, images.ImageError) as error:
                logging.error("left out: %s", error)
        if opened:
            embeddings = generator.embed_pixels(list(opened.values()))
            phrases = generator.phrases(embeddings, k=settings.top, exclude=set(settings.exclude))
            yield from zip(opened, phrases, strict=True)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and prints the phrases."""
    paths = list(dict.fromkeys(argv[1:]))
    if not paths:
        raise app.UsageError("name one image file or more")
    images_read = 0
    for path, phrases in run(settings_flags.read(Settings), paths):
        images_read += 1
        for phrase, score in phrases:
            print(f"{path}\t{score:.3f}\t{phrase}", flush=True)
    if images_read < len(paths):
        left = len(paths) - images_read
        raise images.ImageError(f"{left} of {len(paths)} files cannot be read as images")


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES)
