"""ImageNet folders with Wikipedia summaries.

Layout: `train/<wnid>/*.JPEG` or `<wnid>/*.JPEG`, and a JSONL of `{"wnid", "title", "summary"}`
(`python -m tfrecords_tools.prepare --fetch_summaries` makes one; a null summary means no article).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from imgtext_tf import filesystem
from tfrecords_tools.readers import base


def illustration(
    imagenet_dir: str | os.PathLike,
    summaries: str | os.PathLike,
    *,
    images_per_concept: int = 1,
    seed: int = 0,
) -> Iterator[base.Item]:
    """Yields Illustration pairs: a concept's summary with a random image of the concept.

    Args:
        imagenet_dir: the folder of the wnid folders, or the folder that holds it as `train`.
        summaries: the JSONL.
        images_per_concept: distinct images drawn; the paper has 1.
        seed: decides the images.

    Raises:
        base.ReaderError: if a file or the folder is missing or cannot be read.

    Reference: Otto2020, Section 4.1.
    """
    root = os.path.join(imagenet_dir, "train")
    root = root if filesystem.isdir(root) else os.fspath(imagenet_dir)
    if not filesystem.isdir(root):
        raise base.ReaderError(f"{imagenet_dir}: no such folder")
    for name, record in base.read_json_lines(summaries):
        if isinstance(record, base.BadRecord):
            yield record
            continue
        wnid = record.get("wnid")
        if "summary" in record and record["summary"] is None:
            yield base.Dropped(f"imagenet/{wnid}", "concept without an article")
            continue
        try:
            images = _images(base.inside(root, wnid))
        except (OSError, ValueError) as error:  # a name that is too long, say
            yield base.BadRecord(name, f"wnid: {error!s:.300}")
            continue
        if not images:
            yield base.Dropped(f"imagenet/{wnid}", "concept without an image")
        order = base.generator(seed, "imagenet", wnid).permutation(len(images))
        for index in order[:images_per_concept]:
            yield base.attempt(name, _pair, wnid, images[index], record)


def _pair(wnid: str, image_path: str, record: dict) -> base.Pair:
    return base.Pair(
        id=f"imagenet/{wnid}/{os.path.basename(image_path)}",
        image_path=image_path,
        sentences=base.clean_sentences(record["summary"]),
        source="imagenet",
        group=f"imagenet/{wnid}",
        **base.metrics_of("Illustration"),
    )


def _images(folder: str) -> list[str]:
    try:
        names = filesystem.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        os.path.join(folder, name) for name in names if name.lower().endswith(base.IMAGE_SUFFIXES)
    ]
