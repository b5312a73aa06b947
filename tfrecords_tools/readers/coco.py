"""MSCOCO captions and instances, 2014 or 2017.

Layout: `annotations/captions_<name>.json`, `annotations/instances_<name>.json`, `<name>/*.jpg`
with names such as train2017 and val2017.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator

from imgtext_tf import filesystem
from tfrecords_tools.readers import base


def uncorrelated(
    coco_dir: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    per_caption: int = 1,
    split_fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> Iterator[base.Item]:
    """Yields Uncorrelated pairs: a caption of image A with an image B of other supercategories.

    A and B are of one split and their instances have disjoint sets of supercategories; images
    without instances are left out, for nothing is known of them. MSCOCO has no public test
    captions, so where there is no captions_test* the val images are halved into val and test, and
    where there is only train its images are dealt out by `split_fractions`, by image.

    Args:
        coco_dir: the folder that holds `annotations`.
        images_dir: the folder of the image folders; default `coco_dir`.
        per_caption: images B of each caption.
        split_fractions: shares of train, val and test.
        seed: decides the splits and the images B.

    Raises:
        base.ReaderError: if a file is missing or cannot be read.

    Reference: Otto2020, Section 4.1.
    """
    folder = os.path.join(coco_dir, "annotations")
    names = filesystem.listdir(folder) if filesystem.isdir(folder) else []
    paths = [os.path.join(folder, n) for n in fnmatch.filter(names, "captions_*.json")]
    if not paths:
        raise base.ReaderError(f"{coco_dir}: no annotations/captions_*.json")
    names = [os.path.basename(path)[len("captions_") : -len(".json")] for path in paths]
    given = {split for split in base.SPLITS for name in names if name.startswith(split)}
    members: dict[str, list[dict]] = defaultdict(list)
    for path, name in zip(paths, names, strict=True):
        for item in _read(path, name, os.path.join(images_dir or coco_dir, name)):
            if not isinstance(item, dict):
                yield item
                continue
            members[_split_of(name, item["key"], given, split_fractions, seed)].append(item)
    for split in base.SPLITS:
        yield from _draw(members[split], split, per_caption, seed)


def _draw(images: list[dict], split: str, per_caption: int, seed: int) -> Iterator[base.Item]:
    kinds = [image["supercategories"] for image in images]
    for image in images:
        own = image["supercategories"]
        for caption_id, text in image["captions"]:
            key = f"coco/{caption_id}"
            chosen = base.draw_unrelated(own, kinds, per_caption, base.generator(seed, key))
            if not chosen:
                yield base.Dropped(key, "caption without an unrelated image")
            for other in chosen:
                yield base.attempt(key, _pair, key, text, images[other], split)


def _pair(key: str, text: str, image: dict, split: str) -> base.Pair:
    return base.Pair(
        id=f"{key}@{image['key']}",
        image_path=image["image_path"],
        sentences=base.clean_sentences(text),
        source="coco",
        group=f"coco/{image['key']}",
        split=split,
        **base.metrics_of("Uncorrelated"),
    )


def _read(path: str, name: str, images_dir: str) -> Iterator[dict | base.BadRecord | base.Dropped]:
    """Yields a dict an image: `key`, `image_path`, `captions`, `supercategories`."""
    captions = base.read_json(path)
    instances_path = os.path.join(os.path.dirname(path), f"instances_{name}.json")
    instances = base.read_json(instances_path)
    try:
        kind_of = {c["id"]: c["supercategory"] for c in instances["categories"]}
        kinds = defaultdict(set)
        for annotation in instances["annotations"]:
            kinds[annotation["image_id"]].add(kind_of[annotation["category_id"]])
        texts = defaultdict(list)
        for annotation in captions["annotations"]:
            texts[annotation["image_id"]].append((annotation["id"], annotation["caption"]))
        images = captions["images"]
        if not isinstance(images, list):
            raise TypeError("a list of images")
    except (KeyError, TypeError) as error:
        raise base.ReaderError(
            f"{path} or {instances_path}: no field {error}; expected MSCOCO's layout"
        ) from None
    for position, image in enumerate(images):
        try:
            key = f"{name}/{base.checked_name(image['id'])}"
            if not kinds.get(image["id"]):
                yield base.Dropped(key, "image without instances")
                continue
            yield {
                "key": key,
                "image_path": base.inside(images_dir, image["file_name"]),
                "captions": texts[image["id"]],
                "supercategories": frozenset(kinds[image["id"]]),
            }
        except base.MALFORMED as error:
            yield base.BadRecord(f"{path} images[{position}]", base.fault(error))


def _split_of(
    name: str, key: str, given: set[str], fractions: tuple[float, float, float], seed: int
) -> str:
    digest = hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if given == {"train"}:
        train, val, _ = fractions
        return "train" if share < train else "val" if share < train + val else "test"
    if name.startswith("val") and "test" not in given:
        return "val" if share < 0.5 else "test"
    return next((split for split in base.SPLITS if name.startswith(split)), "train")
