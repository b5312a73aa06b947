"""Visual Genome: images with region descriptions and, where given, objects with WordNet synsets.

    image_data.json           [{"image_id", "url", "width", "height", ...}, ...]
    region_descriptions.json  [{"id" or "image_id", "regions": [{"region_id", "phrase", ...}]}, ...]
    objects.json              [{"image_id" or "id", "objects": [{"names", "synsets", ...}]}, ...]
    splits.json               {"train": [image_id, ...], "val": [...], "test": [...]}, optional

A file may be as the release packs it, with `.zip` (or `.gz`) behind its name. An image file is
named by the end of its url, and lies in the folder that the url names (VG_100K or VG_100K_2), in
the other one, or directly in the image folder. Objects have no synset where the annotators gave
none (most of version 1.4's images have some such objects): those are left out, as are regions
without a word.
"""

from __future__ import annotations

import ast
import collections
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imgtext_tf import filesystem, untrusted
from tfrecords_tools.readers import base
from tfrecords_tools.readers.base import BadRecord, Dropped

SOURCE = "visual_genome"
# Objects of several releases; the first that is there is read.
OBJECT_FILES = ("objects.json", "objects_v1_4.json", "objects_v1_2.json", "objects_v1.json")
REGION_FILES = ("region_descriptions.json", "region_descriptions_v1_2.json")
IMAGE_FILES = ("image_data.json", "image_data_v1_2.json")
_PACKED = ("", ".zip", ".gz")
_FOLDERS = ("VG_100K", "VG_100K_2")
_SYNSET = re.compile(r"\S+\.[a-z]\.\d+")


@dataclass(frozen=True)
class RegionImage:
    """An image with all its region descriptions.

    Attributes:
        id: the release's image id, as text.
        image_path: where its file should be.
        sentences: the phrases of its regions, in the file's order; at least one.
        sentence_ids: the regions' ids.
        objects: a WordNet synset for each object that has one.
    """

    id: str
    image_path: str
    sentences: tuple[str, ...]
    sentence_ids: tuple[str, ...]
    objects: tuple[str, ...]


def read_images(
    folder: str | os.PathLike,
    images_dir: str | os.PathLike,
    *,
    dropped: collections.Counter | None = None,
) -> Iterator[RegionImage | BadRecord | Dropped]:
    """Yields every image that has a region description, in the order of that file.

    Args:
        folder: of the annotation files.
        images_dir: of the images, with or without the folders VG_100K and VG_100K_2.
        dropped: counts regions and objects that are left out.

    Raises:
        base.ReaderError: if a file is missing or no list of records.
    """
    dropped = collections.Counter() if dropped is None else dropped
    paths, bad = _image_paths(_first(folder, IMAGE_FILES, required=True), images_dir)
    yield from bad
    path = _first(folder, REGION_FILES, required=True)
    objects, bad = _objects(folder, dropped)
    yield from bad
    seen: set[str] = set()
    for place, record in _records(path):
        item = base.attempt(f"{path}[{place}]", _image, record, paths, objects, dropped)
        if isinstance(item, RegionImage):
            if item.id in seen:
                item = BadRecord(f"{path}[{place}]", f"image {item.id} stands twice")
            else:
                seen.add(item.id)
        yield item
    for image_id in paths:
        if image_id not in seen:
            yield Dropped(image_id, "image without a region description")


def read_splits(path: str | os.PathLike) -> dict[str, str]:
    """Reads `splits.json`: image id -> split.

    Raises:
        base.ReaderError: if it is no such file, or an image stands in two splits.
    """
    data = base.read_object(path)
    if set(data) - set(base.SPLITS) or not all(isinstance(ids, list) for ids in data.values()):
        raise base.ReaderError(f"{path}: expected lists of image ids under {base.SPLITS}")
    split_of: dict[str, str] = {}
    for split, ids in data.items():
        for image_id in map(str, ids):
            if split_of.setdefault(image_id, split) != split:
                raise base.ReaderError(
                    f"{path}: image {image_id:.80} stands in {split_of[image_id]} and in {split}"
                )
    return split_of


def draw_splits(
    ids: Sequence[str], sizes: Sequence[int], *, seed: int, study: Sequence[str] = ()
) -> dict[str, str]:
    """Draws splits of the paper's sizes: image id -> split; further images are in none.

    An image's place in the draw depends on seed and id only, not on the others.

    Args:
        ids: of all images.
        sizes: of train, val and test.
        seed: of the draw.
        study: images of a user study; they go to test, so that no model is trained on them.

    Raises:
        base.ReaderError: if there are too few images, or the study has more than test.

    Reference: Gordo2017, Section 3 (80,000, 10,000 and 10,000 images).
    """
    if len(sizes) != len(base.SPLITS) or min(sizes) < 0:
        raise base.ReaderError(f"split sizes {tuple(sizes)}: give those of train, val and test")
    if sum(sizes) > len(ids):
        raise base.ReaderError(
            f"splits of {', '.join(map(str, sizes))} images need {sum(sizes)}, and there are "
            f"{len(ids)}: give smaller --split_sizes or a file of --splits"
        )
    first = set(study) & set(ids)
    if len(first) > sizes[-1]:
        raise base.ReaderError(
            f"the user study has {len(first)} images and test only {sizes[-1]}: some would be "
            "trained on; give a larger last number of --split_sizes"
        )
    order = sorted(
        ids, key=lambda one: (one not in first, base.generator(seed, "split", one).random(), one)
    )
    split_of, start = {}, 0
    for split, size in reversed(list(zip(base.SPLITS, sizes, strict=True))):
        split_of |= dict.fromkeys(order[start : start + size], split)
        start += size
    return split_of


def _image_paths(
    path: str, images_dir: str | os.PathLike
) -> tuple[dict[str, str], list[BadRecord]]:
    """Image id -> path of its file."""
    paths: dict[str, str] = {}
    bad = []
    for place, record in _records(path):
        name = f"{path}[{place}]"
        try:
            image_id = _id_of(record)
            *above, file = record["url"].split("?")[0].rsplit("/", 2)
            folders = dict.fromkeys((*above[-1:], *_FOLDERS))
            places = [f"{folder}/{file}" for folder in folders] + [file]
            places = [base.inside(images_dir, place) for place in places]
        except base.MALFORMED as error:
            bad.append(BadRecord(name, base.fault(error)))
            continue
        if image_id in paths:
            bad.append(BadRecord(name, f"image {image_id} stands twice"))
        else:
            paths[image_id] = next(filter(filesystem.exists, places), places[-1])
    return paths, bad


def _image(
    record: dict,
    paths: Mapping[str, str],
    objects: Mapping[str, tuple[str, ...]],
    dropped: collections.Counter,
) -> RegionImage | Dropped:
    image_id = _id_of(record)
    if image_id not in paths:
        raise ValueError(f"image {image_id} does not stand in image_data.json")
    sentences, sentence_ids = [], []
    for region in record["regions"]:
        if str(region.get("image_id", image_id)) != image_id:
            raise ValueError(f"a region of image {region['image_id']} stands under {image_id}")
        phrase = " ".join(region["phrase"].split())
        if not any(map(str.isalnum, phrase)):
            dropped["region without a word"] += 1
            continue
        phrase.encode("utf-8")  # lone surrogates: UnicodeEncodeError is a ValueError
        sentences.append(phrase)
        number = region.get("region_id", region.get("id"))
        own = f"{image_id}.{len(sentence_ids)}" if number is None else number
        sentence_ids.append(base.checked_name(own))
    if not sentences:
        return Dropped(image_id, "image without a region description")
    return RegionImage(
        id=image_id,
        image_path=paths[image_id],
        sentences=tuple(sentences),
        sentence_ids=tuple(sentence_ids),
        objects=objects.get(image_id, ()),
    )


def _objects(
    folder: str | os.PathLike, dropped: collections.Counter
) -> tuple[dict[str, tuple[str, ...]], list[BadRecord]]:
    """Image id -> synsets of its objects; nothing where the release's file is not there."""
    path = _first(folder, OBJECT_FILES, required=False)
    found: dict[str, tuple[str, ...]] = {}
    bad = []
    for place, record in _records(path) if path else ():
        synsets = []
        try:
            image_id = _id_of(record)
            if image_id in found:
                raise ValueError(f"image {image_id} stands twice")
            for one in record.get("objects") or []:
                named = _synsets(one.get("synsets"))
                if not named:
                    dropped["object without a synset"] += 1
                synsets += [base.checked_name(name) for name in named[:1]]
        except base.MALFORMED as error:
            bad.append(BadRecord(f"{path}[{place}]", base.fault(error)))
            continue
        found[image_id] = tuple(synsets)
    return found, bad


def _synsets(value: object) -> list[str]:
    """The synsets of an object: a list, its printed form, one name, or nothing; some have quotes.

    What is no name of a synset (an empty one, a bare word) is left out.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except SyntaxError:
            raise ValueError(f"synsets {value!r:.80} are no list") from None
    names = [value] if isinstance(value, str) else value or []
    return [name.strip() for name in names if name and _SYNSET.fullmatch(name.strip())]


def _id_of(record: dict) -> str:
    """The image id, which stands under "id" in some releases and under "image_id" in others."""
    return base.checked_name(record["image_id"] if "image_id" in record else record["id"])


def _first(folder: str | os.PathLike, names: Sequence[str], *, required: bool) -> str | None:
    for name in (name + packed for name in names for packed in _PACKED):
        if filesystem.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    if required:
        raise base.ReaderError(
            f"{folder}: has none of {', '.join(names)}, nor one with .zip or .gz; see docs/data.md"
        )
    return None


def _records(path: str) -> Iterator[tuple[int, dict]]:
    """(place, record) of a JSON list, one after the other: the files have up to 700 MB.

    Raises:
        base.ReaderError: if the file is missing, damaged, or no list of objects.
    """
    text = base.decode(path, base.read_packed(path))
    space = re.compile(r"[\s,]*")
    position = space.match(text).end()
    if text[position : position + 1] != "[":
        raise base.ReaderError(f"{path}: no list of records; see docs/data.md")
    position, place = space.match(text, position + 1).end(), 0
    while text[position : position + 1] != "]":
        try:
            record, position = untrusted.parse_one(text, position)
        except untrusted.DamagedError as error:
            raise base.ReaderError(base.damaged(path, error)) from None
        if not isinstance(record, dict):
            raise base.ReaderError(f"{path}: record {place} is no object ({{...}})")
        yield place, record
        position, place = space.match(text, position).end(), place + 1
    if text[position + 1 :].strip():
        raise base.ReaderError(f"{path}: goes on behind its list of records; fetch it again")
