"""VIST (visual storytelling): stories in sequence and descriptions in isolation.

Layout: `sis/{train,val,test}.story-in-sequence.json`,
`dii/{train,val,test}.description-in-isolation.json`, images `<split>/<photo_flickr_id>.jpg` or
`<photo_flickr_id>.jpg` (also .png and .gif).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator

from imgtext_tf import filesystem
from tfrecords_tools.readers import base

STORY_SENTENCES = 5


def complementary(
    vist_dir: str | os.PathLike,
    images_dir: str | os.PathLike,
    *,
    images_per_story: int = 1,
    text_field: str = "original_text",
    seed: int = 0,
) -> Iterator[base.Item]:
    """Yields Complementary pairs: the five sentences of a story with a random photo of it.

    The sentences are sorted by `worker_arranged_photo_order`. Many of VIST's photos are dead, so
    the photo is drawn from those of the story that are on disk; a story without any is bad.

    Args:
        vist_dir: the folder that holds `sis`.
        images_dir: the folder of the photos.
        images_per_story: distinct photos drawn in split train; the paper has 1, and so have val
            and test.
        text_field: "original_text", or "text" (tokenised, lower case, names masked).
        seed: decides the photos.

    Raises:
        base.ReaderError: if a file is missing or cannot be read.

    Reference: Otto2020, Section 4.1.
    """
    for split, path in _files(vist_dir, "sis", "story-in-sequence"):
        photos = _photos(images_dir, split)
        stories: dict[str, list[dict]] = defaultdict(list)
        for name, annotation in _annotations(path):
            if isinstance(annotation, base.BadRecord):
                yield annotation
            elif "story_id" not in annotation:
                yield base.BadRecord(name, "lacks the field 'story_id'")
            else:
                stories[f"{annotation['story_id']!s:.80}"].append(annotation)
        for story_id, story in stories.items():
            key = f"vist-sis/{story_id}"
            try:
                story.sort(key=lambda a: int(a["worker_arranged_photo_order"]))
                count = images_per_story if split == "train" else 1
                chosen = _choose(story, photos, count, base.generator(seed, key))
            except base.MALFORMED as error:
                yield base.BadRecord(key, f"{path}: {base.fault(error)}")
                continue
            for photo in chosen:
                yield base.attempt(
                    key, _story_pair, key, story, photo, images_dir, photos, text_field, split
                )


def anchorage(
    vist_dir: str | os.PathLike,
    images_dir: str | os.PathLike,
    *,
    text_field: str = "original_text",
) -> Iterator[base.Item]:
    """Yields Anchorage pairs: a description in isolation with its photo.

    Args and raises: see `complementary`.

    Reference: Otto2020, Section 4.1.
    """
    for split, path in _files(vist_dir, "dii", "description-in-isolation"):
        photos = _photos(images_dir, split)
        for number, (name, annotation) in enumerate(_annotations(path)):
            if isinstance(annotation, base.BadRecord):
                yield annotation
                continue
            key = f"vist-dii/{split}/{number}"
            yield base.attempt(
                name, _description_pair, key, annotation, images_dir, photos, text_field, split
            )


def _story_pair(
    key: str,
    story: list[dict],
    photo: str,
    images_dir: str | os.PathLike,
    photos: dict[str, str],
    text_field: str,
    split: str,
) -> base.Pair:
    orders = [int(annotation["worker_arranged_photo_order"]) for annotation in story]
    if orders != list(range(STORY_SENTENCES)):
        raise ValueError(f"the story has the sentences {orders}, not 0 to {STORY_SENTENCES - 1}")
    sentences = [s for a in story for s in base.clean_sentences(a[text_field])]
    return base.Pair(
        id=f"{key}/{photo}",
        image_path=_path(images_dir, photos, photo),
        sentences=tuple(sentences),
        source="vist-sis",
        group=f"vist/{story[0]['album_id']}",
        split=split,
        **base.metrics_of("Complementary"),
    )


def _description_pair(
    key: str, annotation: dict, images_dir: str, photos: dict, text_field: str, split: str
) -> base.Pair:
    photo = base.checked_name(annotation["photo_flickr_id"])
    return base.Pair(
        id=f"{key}/{photo}",
        image_path=_path(images_dir, photos, photo),
        sentences=base.clean_sentences(annotation[text_field]),
        source="vist-dii",
        group=f"vist/{annotation['album_id']}",
        split=split,
        **base.metrics_of("Anchorage"),
    )


def _choose(story: list[dict], photos: dict, count: int, rng) -> list[str]:
    """Draws photos of the story, those on disk first; one story may name a photo twice."""
    ids = [base.checked_name(annotation["photo_flickr_id"]) for annotation in story]
    ids = list(dict.fromkeys(ids))
    present = [photo for photo in ids if photo in photos]
    chosen = [(present or ids)[i] for i in rng.permutation(len(present or ids))]
    return chosen[: count if present else 1]


def _files(vist_dir: str | os.PathLike, folder: str, tier: str) -> list[tuple[str, str]]:
    """(split, path) of the files of a tier that are there; VIST's two tiers come apart.

    Raises:
        base.ReaderError: if there is none of either tier.
    """
    if not filesystem.isdir(os.path.join(vist_dir, folder)) and any(
        filesystem.isdir(os.path.join(vist_dir, other)) for other in ("sis", "dii")
    ):
        return []
    paths = {s: os.path.join(vist_dir, folder, f"{s}.{tier}.json") for s in base.SPLITS}
    found = [(split, path) for split, path in paths.items() if filesystem.exists(path)]
    if not found:
        raise base.ReaderError(
            f"{paths['train']}: No such file, nor of another split; docs/data.md shows the layout "
            "expected"
        )
    return found


def _annotations(path: str) -> Iterator[tuple[str, dict | base.BadRecord]]:
    """Yields (record name, annotation); VIST keeps each in a list of one."""
    data = base.read_object(path)
    if not isinstance(data.get("annotations"), list):
        raise base.ReaderError(f'{path}: no list "annotations"; expected VIST\'s layout')
    for position, annotation in enumerate(data["annotations"]):
        name = f"{path} annotations[{position}]"
        if isinstance(annotation, list) and len(annotation) == 1:
            annotation = annotation[0]
        if isinstance(annotation, dict):
            yield name, annotation
        else:
            yield name, base.BadRecord(name, "expected a list of one object")


def _photos(images_dir: str | os.PathLike, split: str) -> dict[str, str]:
    """Maps the photo ids on disk to their paths."""
    found = {}
    for folder in (os.fspath(images_dir), os.path.join(images_dir, split)):
        try:
            names = filesystem.listdir(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise base.ReaderError(f"{folder}: {error.strerror}; mend --vist_images") from None
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in base.IMAGE_SUFFIXES:
                found.setdefault(stem, os.path.join(folder, name))
    return found


def _path(images_dir: str | os.PathLike, photos: dict[str, str], photo: str) -> str:
    return photos.get(photo) or base.inside(images_dir, f"{photo}.jpg")
