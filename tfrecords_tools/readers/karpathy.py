"""Caption files in Karpathy's layout (`dataset_flickr8k.json`, `dataset_coco.json`, ...).

They can stand for MSCOCO where a user has captions but no instances: two images are unrelated if
no content word of any caption of one stands in any caption of the other.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator

from nltk.stem.snowball import SnowballStemmer
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from tfrecords_tools.readers import base

# "restval" is the part of MSCOCO's val2014 that everybody trains on.
SPLIT_OF = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_STEM = functools.cache(SnowballStemmer("english").stem)


def content_stems(text: str) -> frozenset[str]:
    """The stems (Snowball, English) of the words of a text that are no stop words."""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    return frozenset(_STEM(word) for word in words if word not in ENGLISH_STOP_WORDS)


def read_images(
    path: str | os.PathLike, images_dir: str | os.PathLike, *, restval: bool = True
) -> tuple[str, list, list]:
    """Reads a caption file.

    Args:
        path: of the file.
        images_dir: folder of its images.
        restval: whether images of split "restval" are train images; else they are left out.

    Returns:
        The data set's name; a list of dicts `image_path`, `name`, `split` and `captions`, a list
        of (sentence id, text); and a list of `BadRecord`.

    Raises:
        base.ReaderError: if the file cannot be read or has no list "images".
    """
    data = base.read_object(path)
    if not isinstance(data.get("images"), list):
        raise base.ReaderError(f'{path}: no list "images"; expected Karpathy\'s dataset_*.json')
    name = str(data.get("dataset") or os.path.basename(path).removesuffix(".json"))
    images, bad = [], []
    for position, image in enumerate(data["images"]):
        if not restval and isinstance(image, dict) and image.get("split") == "restval":
            continue
        try:
            relative = os.path.join(image.get("filepath", ""), image["filename"])
            base.checked_name(relative, "file name")
            images.append(
                {
                    "image_path": base.inside(images_dir, relative),
                    "name": relative,
                    "split": SPLIT_OF[image["split"]],
                    "captions": [
                        (
                            base.checked_name(sentence.get("sentid", f"{position}.{number}")),
                            base.checked_text(sentence["raw"]),
                        )
                        for number, sentence in enumerate(image["sentences"])
                    ],
                }
            )
        except base.MALFORMED as error:
            bad.append(base.BadRecord(f"{path} images[{position}]", base.fault(error)))
    return name, images, bad


def uncorrelated(
    path: str | os.PathLike,
    images_dir: str | os.PathLike,
    *,
    per_caption: int = 1,
    seed: int = 0,
) -> Iterator[base.Item]:
    """Yields Uncorrelated pairs: each caption of image A with `per_caption` unrelated images B.

    A and B are of one split, and no content word of all captions of A stands in a caption of B.

    Raises:
        base.ReaderError: if the file cannot be read.

    Reference: Otto2020, Section 4.1 (there by MSCOCO's hierarchy).
    """
    name, images, bad = read_images(path, images_dir)
    yield from bad
    for split in base.SPLITS:
        members = [image for image in images if image["split"] == split]
        stems = [content_stems(" ".join(text for _, text in m["captions"])) for m in members]
        for image, own in zip(members, stems, strict=True):
            for sentence_id, text in image["captions"]:
                key = f"{name}/{sentence_id}"
                chosen = base.draw_unrelated(own, stems, per_caption, base.generator(seed, key))
                if not chosen:
                    yield base.Dropped(key, "caption without an unrelated image")
                for other in chosen:
                    yield base.attempt(key, _pair, name, key, text, members[other])


def _pair(name: str, key: str, text: str, image: dict) -> base.Pair:
    return base.Pair(
        id=f"{key}@{image['name']}",
        image_path=image["image_path"],
        sentences=base.clean_sentences(text),
        source=name,
        group=f"{name}/{image['name']}",
        split=image["split"],
        **base.metrics_of("Uncorrelated"),
    )
