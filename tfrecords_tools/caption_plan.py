"""From a caption file to a plan: the images of each split with their captions, in order.

The plan is a pure function of the raw data and the flags. Images are identified by content
(SHA-256), and none stands in two splits.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence

from imgtext_tf import filesystem
from imgtext_tf.data import files
from tfrecords_tools import plan as planning
from tfrecords_tools import splits
from tfrecords_tools.readers import base, karpathy

BAD_RECORDS = "bad_records.tsv"
_PRECEDENCE = ("test", "val", "train")


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    output_dir: str
    karpathy_json: str
    karpathy_images: str
    restval: bool = True
    drop_shared_captions: bool = True
    captions_per_image: int = 0
    limit: float = 1.0
    max_bad_records: float = 0.01
    resize: int | None = None
    shard_mb: int = 128
    kind: str = "real"
    processes: int = 1
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Image:
    """An image and its captions, as planned."""

    id: str
    path: str
    image_id: str
    source: str
    split: str
    captions: tuple[tuple[str, str], ...]  # (sentence id, text)


def make_plan(
    settings: Settings,
) -> tuple[str, list[Image], dict[str, int], list[base.BadRecord], collections.Counter]:
    """What is to be written, in order.

    Returns:
        The data set's name, its images, path -> bytes, bad records, and counts of drops.

    Raises:
        planning.PlanError: if too many records are bad, or no image is left.
        base.ReaderError: if the source cannot be read.
    """
    name, read, bad = karpathy.read_images(
        settings.karpathy_json, settings.karpathy_images, restval=settings.restval
    )
    if settings.limit < 1:
        read = [one for one in read if _drawn(settings, one["name"])]
        bad = [record for record in bad if _drawn(settings, record.id.rpartition(" ")[2])]
    total, dropped = len(read) + len(bad), collections.Counter()
    present = [one for one in read if filesystem.isfile(one["image_path"])]
    absent = [one for one in read if not filesystem.isfile(one["image_path"])]
    bad += [base.BadRecord(one["name"], f"image {one['name']}: no such file") for one in absent]
    ids, sizes, broken = planning.hash_images(one["image_path"] for one in present)
    images = []
    for one in present:
        if one["image_path"] in broken:
            bad.append(base.BadRecord(one["name"], broken[one["image_path"]]))
            continue
        made = _image(settings, name, one, ids[one["image_path"]], dropped)
        (images if isinstance(made, Image) else bad).append(made)
    check_bad(settings, bad, total)
    images = _without_leaks(images, settings.drop_shared_captions, dropped)
    if not images:
        raise planning.PlanError(f"{settings.karpathy_json}: no image with a caption is left")
    return _safe(name), images, sizes, bad, dropped


def _image(
    settings: Settings, name: str, one: Mapping, image_id: str, dropped: collections.Counter
) -> Image | base.BadRecord:
    try:
        captions = []
        for sentence_id, text in one["captions"]:
            text = " ".join(str(text).split())
            if any(map(str.isalnum, text)):
                text.encode("utf-8")
                captions.append((sentence_id, text))
            else:
                dropped["caption without a letter or digit"] += 1
        if not captions:
            raise ValueError("the image has no caption")
    except ValueError as error:
        return base.BadRecord(one["name"], str(error))
    kept = captions[: settings.captions_per_image or None]
    dropped["caption above --captions_per_image"] += len(captions) - len(kept)
    key = f"{name}/{one['name']}"
    return Image(key, one["image_path"], image_id, name, one["split"], tuple(kept))


def _without_leaks(
    images: Sequence[Image], captions_too: bool, dropped: collections.Counter
) -> list[Image]:
    """No picture stands twice or in two splits, and no train caption in val or test."""
    first: dict[str, Image] = {}
    for image in sorted(images, key=lambda one: _PRECEDENCE.index(one.split)):
        first.setdefault(image.image_id, image)
    kept = [image for image in images if first[image.image_id] is image]
    dropped["image that stands twice, or in another split"] += len(images) - len(kept)
    if not captions_too:
        return kept
    held_out = {
        splits.normal_text((text,))
        for image in kept
        for _, text in image.captions
        if image.split != "train"
    }
    result = []
    for image in kept:
        captions = image.captions
        if image.split == "train":
            captions = tuple(
                one for one in captions if splits.normal_text((one[1],)) not in held_out
            )
            dropped["train caption that stands in val or test"] += len(image.captions) - len(
                captions
            )
        if captions:
            result.append(dataclasses.replace(image, captions=captions))
        else:
            dropped["train image without a caption of its own"] += 1
    return result


def _drawn(settings: Settings, name: str) -> bool:
    return base.generator(settings.seed, "limit", name).random() < settings.limit


def _safe(name: str) -> str:
    """A name for files: letters and digits."""
    return "".join(letter if letter.isalnum() else "_" for letter in name) or "captions"


def check_bad(settings: Settings, bad: Sequence[base.BadRecord], read: int) -> None:
    """Writes the list of bad records, and raises if there are too many.

    Raises:
        planning.BadRecordsError: with examples and the mend.
    """
    lines = [f"{record.id}\t{' '.join(record.reason.split())}\n" for record in bad]
    data = "".join(sorted(lines)).encode("utf-8", "backslashreplace")
    files.write_file(os.path.join(settings.output_dir, BAD_RECORDS), data)
    planning.check_bad(bad, read, settings.max_bad_records)
