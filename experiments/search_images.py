r"""Searches one's own photos by an image, by words, or by an image with words added and taken away.

    python -m experiments.search_images --run_dir=runs/joint --index=photos.index --images=photos
    python -m experiments.search_images --index=photos.index --image=a.jpg --text="+horse -beach"

The first command embeds the photos of a folder once; the same command again adds what is new. The
second prints name and score of the nearest photos and draws them. Weights are written "+2*horse".

Reference: Gordo2017, Section 6.2 and Figures 4 and 5.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
from absl import flags, logging
from tqdm import tqdm

from experiments import common_flags, settings_flags
from experiments.retrieval_search import Searcher
from imgtext_tf import figures, filesystem, image_index, retrieval_figures, runs, untrusted
from imgtext_tf.data import images
from imgtext_tf.data.pairs import printable

# Counted up when the same photos and weights give other vectors than before.
_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    index: str
    run_dir: str = ""
    images: str = ""
    image: str = ""
    text: str = ""
    top: int = 20
    sheet: str = ""
    output: str = ""
    max_bad_photos: float = 0.5


def run(settings: Settings) -> list[tuple[str, float]]:
    """Brings the index up to date, if photos are given, and answers the query, if there is one.

    Returns:
        (name, score) of the photos found, best first.

    Raises:
        ValueError: if there is neither photos nor a query, or a word is unknown.
        ImageIndexError: if the index does not fit the run or the photos.
    """
    filesystem.must_be_local(settings.sheet, "figures are drawn here")
    if not (settings.images or settings.image or settings.text):
        raise ValueError("give --images to index photos, or --image or --text to search them")
    run_dir = settings.run_dir
    if settings.images:
        if not run_dir:
            run_dir = _run_of(image_index.load(settings.index)[1], settings.index)
        searcher = Searcher(run_dir)
        index = image_index.update(
            settings.index,
            settings.images,
            searcher.embed_files,
            made_by=_made_by(run_dir),
            most_bad=settings.max_bad_photos,
            progress=lambda parts: tqdm(parts, desc="index", unit="part of 512"),
        )
        logging.info("%s: %d photos of %s", settings.index, len(index.names), index.root)
        if not (settings.image or settings.text):
            return []
    else:
        index, made_by = image_index.load(settings.index)
        run_dir = run_dir or _run_of(made_by, settings.index)
        now = _made_by(run_dir)
        if any(made_by.get(name) != now[name] for name in ("model", "format")):
            raise image_index.ImageIndexError(
                f"{settings.index}: was made by another model than {run_dir} has now, or by an "
                "older version; index the photos again in another folder"
            )
        searcher = Searcher(run_dir)
    query = searcher.query(settings.image or None, settings.text)
    found = index.best(query, settings.top, leave_out=_name_of(settings.image, index.root))
    if settings.sheet:
        figures.save(_sheet(settings, index, found), settings.sheet)
        logging.info("contact sheet in %s", settings.sheet)
    if settings.output:
        with runs.atomic_path(settings.output) as temporary:
            temporary.write_text(
                "".join(json.dumps({"name": n, "score": s}) + "\n" for n, s in found)
            )
    return found


def _run_of(made_by: dict, index: str) -> str:
    """The run that an index was made with."""
    untrusted.need(made_by, {"run_dir": str}, f"{index}/index.json")
    return made_by["run_dir"]


def _made_by(run_dir: str) -> dict[str, str | int]:
    """What an index depends on: the run, the digest of its weights, how photos are read."""
    path = runs.RunDirectory(run_dir).model_file("best")
    if not path.exists():
        raise runs.RunError(f"{path} is missing: has this run been trained?")
    digest = filesystem.sha256_of(path)
    is_remote = filesystem.is_remote(run_dir)
    where = run_dir if is_remote else str(pathlib.Path(run_dir).resolve())
    return {"run_dir": where, "model": digest, "format": _FORMAT}


def _name_of(image: str, root: pathlib.Path) -> str | None:
    """The index's name of a query image, if it is one of the photos."""
    path = pathlib.Path(image).resolve()
    return path.relative_to(root).as_posix() if image and path.is_relative_to(root) else None


def _sheet(settings: Settings, index: image_index.ImageIndex, found: list[tuple[str, float]]):
    def picture(path: pathlib.Path) -> np.ndarray:
        data = images.read_file(path)
        return figures.thinned(images.upright(images.checked_pixels(data), data))

    row = retrieval_figures.Ranking(
        title=settings.text or "query",
        query=picture(pathlib.Path(settings.image)) if settings.image else None,
        images=[picture(index.root / name) for name, _ in found],
        captions=[f"{score:.3f} {printable(name)}" for name, score in found],
    )
    asked = " ".join(filter(None, (pathlib.Path(settings.image).name, settings.text)))
    title = f"{asked}: the nearest of {len(index.names)} photos, with score (at most 1) and name"
    return retrieval_figures.ranking_sheet([row], columns=7, title=title)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    for name, score in run(settings_flags.read(Settings)):
        print(f"{score:.4f}\t{printable(name)}")


if __name__ == "__main__":
    flags.DEFINE_string("index", None, "Folder of the index.", required=True)
    flags.DEFINE_string("images", "", "Folder of photos to index, or to bring up to date.")
    flags.DEFINE_string("image", "", "Image file to search by.")
    flags.DEFINE_string("text", "", 'Words to add and to take away: "+horse -beach", "+2*dog".')
    flags.DEFINE_integer("top", Settings.top, "Photos to return.", lower_bound=1)
    flags.DEFINE_float(
        "max_bad_photos",
        Settings.max_bad_photos,
        "Share of photos that may be no images, or unreadable: they are counted and left out.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_string("sheet", "", "Picture to draw the photos into, such as found.png.")
    flags.FLAGS.set_default("run_dir", "")
    common_flags.run_main(main)
