"""Query-image pairs: `train.tsv`, `validation.tsv` (or `val.tsv`), `test.tsv` of query<TAB>image.

Any log of searches and the images that were chosen for them can be written like that. More queries
can be had from captions: the n-grams that train captions share.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Collection, Iterator, Mapping

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from imgtext_tf import filesystem
from imgtext_tf.data.queries import normal_query
from tfrecords_tools.readers import base, karpathy, webvision

FILES = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}


def read_pairs(folder: str | os.PathLike) -> Iterator[tuple[str, str, str] | base.BadRecord]:
    """Yields (split, query, image file name); damaged lines as `BadRecord`.

    Raises:
        base.ReaderError: if there is no file of pairs, or one cannot be read.
    """
    found = False
    for split, names in FILES.items():
        paths = [os.path.join(folder, f"{name}.tsv") for name in names]
        for path in filter(filesystem.exists, paths):
            found = True
            for name, line in base.read_lines(path):
                yield line if isinstance(line, base.BadRecord) else _pair(name, split, line)
    if not found:
        raise base.ReaderError(f"{folder}: no train.tsv of query<TAB>image; mend --pairs_dir")


def _pair(name: str, split: str, line: str) -> tuple[str, str, str] | base.BadRecord:
    query, tab, image = line.partition("\t")
    query = normal_query(query)
    if not tab or not image.strip() or "\t" in image:
        return base.BadRecord(name, f"expected query<TAB>image, found {line!r:.80}")
    if not query:
        return base.BadRecord(name, "the query is empty")
    return split, query, image.strip()


def caption_ngrams(
    path: str | os.PathLike,
    *,
    most_words: int = 3,
    least_images: int = 2,
    known: Collection[str] = (),
) -> dict[str, list[str]]:
    """Word n-grams of each image's captions: image -> n-grams that name it.

    An n-gram counts if it neither begins nor ends with a stop word and captions of `least_images`
    train images or more have it: captions of other images make none, they only say which of them
    are right there.

    Args:
        path: a caption file in Karpathy's layout.
        most_words: longest n-gram.
        least_images: fewest train images of an n-gram.
        known: n-grams that count however many captions have them.

    Raises:
        base.ReaderError: if the file cannot be read.
    """
    _, images, _ = karpathy.read_images(path, "")
    grams_of: dict[str, set[str]] = {}
    counts: collections.Counter[str] = collections.Counter()
    for image in images:
        texts = [normal_query(text) for _, text in image["captions"]]
        own = {gram for text in texts for gram in _ngrams(text, most_words)}
        grams_of[image["name"]] = own
        if image["split"] == "train":
            counts.update(own)
    return {
        name: sorted(gram for gram in grams if counts[gram] >= least_images or gram in known)
        for name, grams in grams_of.items()
    }


def _ngrams(text: str, most_words: int) -> Iterator[str]:
    words = ["".join(c for c in word if c.isalnum() or c in "-'") for word in text.split()]
    words = [word for word in words if word.strip("-'")]
    for length in range(1, most_words + 1):
        for start in range(len(words) - length + 1):
            gram = words[start : start + length]
            if gram[0] not in ENGLISH_STOP_WORDS and gram[-1] not in ENGLISH_STOP_WORDS:
                yield " ".join(gram)


def webvision_pairs(
    info: str | os.PathLike, images_dir: str | os.PathLike, *, val_share: float, part: str = ""
) -> Iterator[tuple[str, str, str] | base.BadRecord]:
    """Yields (split, query, image path) of WebVision's train images: what found them.

    WebVision's own val images were found by no query, so that a share of the train images, by a
    hash of their path, becomes val.

    Raises:
        base.ReaderError: if the lists lack, or name no query.
    """
    queries = webvision.read_queries(info)
    if not queries:
        raise base.ReaderError(f"{info}: no queries_google.txt or queries_flickr.txt")
    for item in webvision.read_files(info, images_dir, part=part):
        if isinstance(item, base.BadRecord):
            yield item
        elif item[0] == "train":
            query = webvision.query_of(item[1], queries)
            if query is None:
                yield base.BadRecord(item[1], "its folder is that of no query")
            else:
                share = base.generator(0, "val", item[1]).random()
                yield "val" if share < val_share else "train", normal_query(query), item[1]


def webvision_texts(info: str | os.PathLike) -> dict[str, list[str]]:
    """Image path -> its title and tags, as further queries; none without meta files."""
    return {
        path: [text for text in map(normal_query, texts) if text]
        for part in ("google", "flickr")
        for path, texts in webvision.read_meta(info, part=part)
    }


def group_by_image(
    pairs: Iterator[tuple[str, str, str] | base.BadRecord],
) -> tuple[Mapping[str, tuple[str, list[str]]], list[base.BadRecord]]:
    """Image -> (split, its distinct queries in the order of the file), and the bad records.

    An image that stands in two splits goes to the first of test, val, train.
    """
    bad: list[base.BadRecord] = []
    splits: dict[str, str] = {}
    queries: dict[str, dict[str, None]] = {}
    for item in pairs:
        if isinstance(item, base.BadRecord):
            bad.append(item)
            continue
        split, query, image = item
        queries.setdefault(image, {})[query] = None
        splits[image] = min(splits.get(image, split), split, key=("test", "val", "train").index)
    return {image: (splits[image], list(own)) for image, own in queries.items()}, bad
