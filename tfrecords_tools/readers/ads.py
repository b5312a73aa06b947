"""Pitt Image Ads (Hussain et al. 2017): slogans.

Layout: `image/Slogans.json` {"<subfolder>/<file>": ["slogan", ...]}, beside it, if there,
`Topics.json` with `Topics_List.txt` (UTF-16), `Symbols.json` and `QA_Action.json`.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator

from imgtext_tf import filesystem
from tfrecords_tools.readers import base
from tfrecords_tools.readers.karpathy import content_stems

# The verbs of "I should buy this car because ...", which name no product.
ACTION_WORDS = (
    "should must buy use drink eat go visit drive wear watch try get want need like be have make "
    "do take see support stop help choose shop purchase order join call not because ad product "
    "brand"
)


def interdependent(
    ads_dir: str | os.PathLike,
    images_dir: str | os.PathLike,
    *,
    accept: str | os.PathLike | None = None,
    products: str | os.PathLike | None = None,
) -> Iterator[base.Item]:
    """Yields Interdependent pairs: an ad with a slogan that does not name the product.

    What the ad sells is guessed from the files at hand: the names of its topics, its symbols,
    what the answers say one should buy or do (QA_Action, before "because"), and `products`. A
    slogan that shares a word stem with them is dropped. The paper's authors chose by hand: an
    accept list does that.

    Args:
        ads_dir: the folder that holds `image/Slogans.json`, or `Slogans.json` itself.
        images_dir: the folder the keys of `Slogans.json` are relative to.
        accept: a text file of accepted keys (or "key<TAB>slogan"), one a line; then nothing else
            is taken and no filter is applied.
        products: a TSV of "key<TAB>name"; the key is an image's or its folder's.

    Raises:
        base.ReaderError: if a file is missing or cannot be read.

    Reference: Otto2020, Section 4.1.
    """
    folder = os.path.join(ads_dir, "image")
    folder = folder if filesystem.isdir(folder) else os.fspath(ads_dir)
    path = os.path.join(folder, "Slogans.json")
    slogans = base.read_object(path)
    accepted = _accepted(accept) if accept else None
    names = _product_words(folder, products) if accepted is None else {}
    for image, texts in slogans.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            yield base.BadRecord(f"{path} {image}", "expected a list of slogans")
            continue
        words = names.get(image, frozenset()) | names.get(os.path.dirname(image), frozenset())
        for number, text in enumerate(dict.fromkeys(texts)):
            key = f"ads/{image}/{number}"
            if accepted is not None and not {image, f"{image}\t{text}"} & accepted:
                yield base.Dropped(key, "slogan not in the accept list")
            elif words & content_stems(text):
                yield base.Dropped(key, "slogan names the product")
            else:
                yield base.attempt(f"{path} {image}", _pair, key, image, images_dir, text)


def _pair(key: str, image: str, images_dir: str, text: str) -> base.Pair:
    return base.Pair(
        id=key,
        image_path=base.inside(images_dir, image),
        sentences=base.clean_sentences(text),
        source="ads",
        group=f"ads/{image}",
        **base.metrics_of("Interdependent"),
    )


def _accepted(path: str | os.PathLike) -> set[str]:
    lines = set()
    for _, line in base.read_lines(path):
        if isinstance(line, base.BadRecord):
            raise base.ReaderError(line.reason)
        lines.add(line.strip())
    return lines


def _product_words(folder: str, products: str | os.PathLike | None) -> dict[str, frozenset[str]]:
    """Stems of the words that name what an image sells or shows, by image (or by its folder)."""
    words: dict[str, set[str]] = defaultdict(set)
    topics = _topic_names(os.path.join(folder, "Topics_List.txt"))
    for image, values in _optional(os.path.join(folder, "Topics.json")):
        for value in values:
            words[image] |= content_stems(topics.get(str(value), str(value)))
    for image, values in _optional(os.path.join(folder, "Symbols.json")):
        for value in values:
            named = value[-1] if value and isinstance(value, list) else ""
            words[image] |= content_stems(str(named))
    action_stems = content_stems(ACTION_WORDS)
    for image, values in _optional(os.path.join(folder, "QA_Action.json")):
        for value in values:
            answer = re.split(r"\bbecause\b", str(value), flags=re.IGNORECASE)[0]
            words[image] |= content_stems(answer) - action_stems
    if products:
        for name, line in base.read_lines(products):
            if isinstance(line, base.BadRecord) or "\t" not in line:
                raise base.ReaderError(f"{name}: expected 'image or folder<TAB>product' in UTF-8")
            image, product = line.split("\t", 1)
            words[image] |= content_stems(product)
    return {image: frozenset(stems) for image, stems in words.items()}


def _optional(path: str) -> list[tuple[str, list]]:
    if not filesystem.exists(path):
        return []
    data = base.read_object(path)
    return [(image, values) for image, values in data.items() if isinstance(values, list)]


def _topic_names(path: str) -> dict[str, str]:
    """Parses lines such as `1. "Restaurants, cafe, fast food" (ABBREVIATION: "restaurant")`."""
    if not filesystem.exists(path):
        return {}
    data = base.read_bytes(path)
    # The official file is UTF-16LE, in some copies without its byte order mark.
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:200]
    if utf16:
        text = data.decode("utf-16" if data[:1] in b"\xff\xfe" else "utf-16-le", "replace")
    else:
        text = data.decode("utf-8", "replace")
    found = re.findall(r"(\d+)\s*\.?\s*\"([^\"]*)\"", text)
    return {number: name for number, name in found}
