r"""Query-image pairs to shards of photos with all their queries (Shah2019, Section 3.2).

    python -m tfrecords_tools.build_queries --output_dir=datasets/queries \
        --pairs_dir=query_image_pairs --images_dir=flickr8k/Flicker8k_Dataset \
        --captions_json=flickr8k/dataset_flickr8k.json

`--pairs_dir` holds train.tsv, validation.tsv and test.tsv of query<TAB>image. With captions, the
n-grams that captions of several train images share name further queries: the phrase generator is
not trained on them, but they can have prototypes. Photos of val and test keep those of all these
phrases that stand in their own captions: they are right there, though nobody asked for them.

WebVision's images were found by queries, too: `--webvision_dir=webvision/info` takes those in place
of `--pairs_dir`, and the images' titles and tags, where their files are there, as further queries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags

from tfrecords_tools import photo_flags, photo_shards
from tfrecords_tools.build_settings import BuildError, runner_of
from tfrecords_tools.readers import base, query_pairs


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    output_dir: str
    pairs_dir: str | None
    images_dir: str
    webvision_dir: str | None = None
    val_share: float = 0.01
    captions_json: str | None = None
    most_words: int = 3
    least_images: int = 2
    shard_mb: int = 128
    max_bad_records: float = 0.01
    kind: str = "real"
    processes: int = 1
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    seed: int = 0


def run(settings: Settings) -> dict[str, Any]:
    """Builds the data set, or finishes one that was stopped; returns a report.

    Raises:
        BuildError: if the folder holds another build.
        base.ReaderError: if a source cannot be read.
        shards.ShardError: if a shard cannot be written.
    """
    if bool(settings.pairs_dir) == bool(settings.webvision_dir):
        raise BuildError("give --pairs_dir or --webvision_dir")
    more: dict[str, list[str]] = {}
    if settings.webvision_dir:
        pairs = query_pairs.webvision_pairs(
            settings.webvision_dir, settings.images_dir, val_share=settings.val_share
        )
        more = query_pairs.webvision_texts(settings.webvision_dir)
    else:
        pairs = query_pairs.read_pairs(settings.pairs_dir)
    queries_of, bad = query_pairs.group_by_image(pairs)
    known = {q for split, own in queries_of.values() if split == "train" for q in own}
    if settings.captions_json:
        more = query_pairs.caption_ngrams(
            settings.captions_json,
            most_words=settings.most_words,
            least_images=settings.least_images,
            known=known,
        )
    further = _further(queries_of, more, known)
    photos = []
    for image, (split, own) in queries_of.items():
        try:
            path = base.inside(settings.images_dir, image)
        except ValueError as error:
            bad.append(base.BadRecord(image, str(error)))
            continue
        fields = {"queries": own, "more_queries": further[image]}
        photos.append(photo_shards.Photo(image, path, split, fields))
    names = ("most_words", "least_images", "val_share", "shard_mb", "seed")
    build = {name: getattr(settings, name) for name in names}
    how = photo_shards.How(
        settings.output_dir,
        name="queries",
        record_kind="image_query",
        source="query pairs",
        build=build | {"captions": bool(settings.captions_json)},
        kind=settings.kind,
        shard_mb=settings.shard_mb,
        max_bad_records=settings.max_bad_records,
        seed=settings.seed,
        runner=runner_of(settings),
    )
    report = photo_shards.write(photos, bad, how)
    return report | {
        "queries": len(known),
        "further queries": len({q for own in further.values() for q in own} - known),
    }


def _further(
    queries_of: Mapping[str, tuple[str, list[str]]], more: Mapping[str, list[str]], known: set[str]
) -> dict[str, list[str]]:
    """Image -> its further queries. Only train images may name some; others have some of them."""
    train = [image for image, (split, _) in queries_of.items() if split == "train"]
    named = known.union(*(more.get(image, ()) for image in train))
    return {
        image: [
            text
            for text in more.get(image, ())
            if (text not in known if split == "train" else text in named and text not in own)
        ]
        for image, (split, own) in queries_of.items()
    }


def define_flags() -> None:
    """Defines a flag for each setting."""
    flags.DEFINE_string("output_dir", None, "Folder of the shards; made where missing.")
    flags.DEFINE_string("pairs_dir", None, "Folder of train.tsv, ... of query<TAB>image.")
    flags.DEFINE_string("webvision_dir", None, "WebVision's folder info, in place of --pairs_dir.")
    flags.DEFINE_float("val_share", Settings.val_share, "Share of WebVision that is val.")
    flags.DEFINE_string("images_dir", None, "Folder that the images' names are relative to.")
    flags.DEFINE_string("captions_json", None, "Captions in Karpathy's layout: further queries.")
    flags.DEFINE_integer("most_words", Settings.most_words, "Words of a query from captions.")
    flags.DEFINE_integer(
        "least_images", Settings.least_images, "Fewest train images of a query from captions."
    )
    photo_flags.define_flags(Settings)


def main(argv: Sequence[str]) -> None:
    """Fills the settings from the flags and runs the build."""
    photo_flags.run_build(argv, Settings, run)


if __name__ == "__main__":
    define_flags()
    app.run(main)
