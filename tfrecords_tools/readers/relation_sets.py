"""Public data sets that label image-text relations otherwise, as records of the project's JSONL.

Their categories are not Otto2020's: every mapping here is approximate, says what it was made from
(`original`), and is listed with its reasons in docs/data.md. A combination that fits none of the
eight classes is dropped and counted.

Each reader yields `Record`s; none opens an image.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import html
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imgtext_tf import relations
from tfrecords_tools.readers import base
from tfrecords_tools.readers.base import BadRecord, Dropped

# (contextual, semiotic) of Kruk et al. -> class; None: a leaf that Otto2020 discards.
KRUK = {
    ("minimal", "parallel"): "Interdependent",
    ("minimal", "additive"): "Interdependent",
    ("minimal", "divergent"): None,
    ("close", "parallel"): "Anchorage",
    ("close", "additive"): "Complementary",
    ("close", "divergent"): "Contrasting",
    ("transcendent", "parallel"): "Complementary",
    ("transcendent", "additive"): "Complementary",
    ("transcendent", "divergent"): "Contrasting",
}
# (text is represented, image adds) of Vempala and Preotiuc-Pietro -> class.
VEMPALA = {
    ("1", "1"): "Complementary",
    ("1", "0"): "Illustration",
    ("0", "1"): "Interdependent",
    ("0", "0"): "Uncorrelated",
}
_VEMPALA_CLASSES = (
    "image_adds_text_repr",
    "image_adds_text_notrepr",
    "image_notadds_text_repr",
    "image_notadds_text_notrepr",
)
_CITE_QUESTIONS = ("q2_resp", "q3_resp", "q5_resp")
_CLUE_LABELS = ("Visible", "Subjective", "Action", "Story", "Meta", "Irrelevant", "Other")


@dataclasses.dataclass(frozen=True)
class Record:
    """A pair of the project's JSONL.

    Attributes:
        id: unique in its source.
        image: path below the image folder.
        text: the text.
        label: the class it was mapped to.
        group: what must stay in one split.
        original: the labels it was mapped from.
        split: the official one; "" where there is none.
        url: where the image was, "" where that is not told.
    """

    id: str
    image: str
    text: str
    label: str
    group: str
    original: Mapping[str, Any]
    split: str = ""
    url: str = ""

    def as_json(self, source: str) -> dict[str, Any]:
        """The record as one object of a JSONL file."""
        fields = {
            "id": self.id,
            "image": self.image,
            "text": self.text,
            "label": self.label,
            "source": source,
            "group": self.group,
            "original": dict(self.original),
            "approximate": True,
        }
        return fields | ({"split": self.split} if self.split else {})


Item = Record | BadRecord | Dropped


def kruk(path: str | os.PathLike) -> Iterator[Item]:
    """Instagram posts: `{train,val}_split_<n>.json` of either release (`splits`, `splits_new`).

    Images are named `<id>.jpg`. The official val part, on which results are reported, becomes test;
    a tenth of train, chosen by id, becomes val. Posts of other files have no split.
    """
    posts = base.read_json(path)
    if not isinstance(posts, list):
        raise base.ReaderError(f"{path}: expected a list of posts, as in train_split_0.json")
    part = os.path.basename(path).split("_")[0]
    for number, post in enumerate(posts):
        yield _attempt(f"{path} post {number}", _kruk_post, post, part)


def _kruk_post(name: str, post: dict[str, Any], part: str) -> Item:
    post_id = str(post["id"] if "id" in post else post["filename"])
    contextual = post["contextual"] if "contextual" in post else post["imgTxt"]
    original = {"contextual": contextual, "semiotic": post["semiotic"]}
    label = _mapped(KRUK, tuple(original.values()), original)
    if label is None:
        return Dropped(name, "minimal and divergent: CMI 0 with SC -1 is no class")
    image = post_id if post_id.lower().endswith(base.IMAGE_SUFFIXES) else f"{post_id}.jpg"
    split = {"train": "train", "val": "test"}.get(part, "")
    if split == "train" and int(hashlib.sha256(post_id.encode()).hexdigest(), 16) % 10 == 0:
        split = "val"
    return Record(
        id=post_id,
        image=image,
        text=_text(post.get("orig_caption") or post["caption"]),
        label=label,
        group=post_id,
        original=original | {"intent": post.get("intent")},
        split=split,
        url=post.get("url") or "",
    )


def vempala(path: str | os.PathLike, texts: str | os.PathLike) -> Iterator[Item]:
    """Tweets: `textimage.csv`, which holds ids and labels only.

    Args:
        path: the CSV.
        texts: TSV of tweet id and text, without a header: the authors give the tweets on request.
    """
    text_of: dict[str, str] = {}
    for name, line in base.read_lines(texts):
        if isinstance(line, BadRecord):
            yield line
            continue
        tweet, tab, text = line.partition("\t")
        if not tab:
            yield BadRecord(name, "expected tweet id<TAB>text")
        else:
            text_of[tweet.strip()] = text
    for name, row in _rows(path, delimiter=","):
        yield row if isinstance(row, BadRecord) else _attempt(name, _vempala_row, row, text_of)


def _vempala_row(name: str, row: dict[str, str], text_of: dict[str, str]) -> Item:
    tweet = row["tweet_id"].strip()
    if not tweet.isdigit():
        # A spreadsheet wrote it as 6.92E+17: the tweet cannot be told any more.
        return BadRecord(name, f"tweet id {tweet!r} is no whole number: its digits are lost")
    original = {key: row[key].strip() for key in ("text_is_represented", "image_adds")}
    label = _mapped(VEMPALA, tuple(original.values()), original)
    flags = "".join(row[key].strip() for key in _VEMPALA_CLASSES)
    represented, adds = original.values()
    expected = ["0"] * 4
    expected[2 * (adds == "0") + (represented == "0")] = "1"
    if flags != "".join(expected):
        return BadRecord(name, f"the columns contradict each other: {flags} with {original}")
    if tweet not in text_of:
        return Dropped(name, "tweet without a text")
    return Record(tweet, f"{tweet}.jpg", _text(text_of[tweet]), label, tweet, original)


def cite(path: str | os.PathLike) -> Iterator[Item]:
    """Steps of recipes with a picture: `data.csv`, whose columns are separated by `|`."""
    for name, row in _rows(path, delimiter="|"):
        yield row if isinstance(row, BadRecord) else _attempt(name, _cite_row, row)


def _cite_row(name: str, row: dict[str, str]) -> Item:
    original = {key: row[key].strip() for key in _CITE_QUESTIONS}
    if wrong := {key: v for key, v in original.items() if v not in ("True", "False")}:
        return BadRecord(name, f"answers must be True or False: {wrong}")
    if original["q2_resp"] == "False":
        label = "Uncorrelated"
    elif "True" in (original["q3_resp"], original["q5_resp"]):
        label = "Complementary"
    else:
        label = "Illustration"
    image = row["qimg"].strip()
    # "ultimate-pbj_5_0.jpg": picture 0 of step 5 of a recipe.
    recipe = re.sub(r"_\d+_\d+\.\w+\Z", "", image)
    record_id = row["Index"].strip() or row["stim_id"].strip()
    return Record(record_id, image, _text(row["stim_txt"]), label, recipe, original)


def clue(path: str | os.PathLike) -> Iterator[Item]:
    """Captions with URLs of images: either of the two `*-cleaned.tsv`.

    An image is looked for under the first 16 hex digits of the SHA-256 of its URL, with `.jpg`.
    """
    for name, row in _rows(path, delimiter="\t"):
        yield row if isinstance(row, BadRecord) else _attempt(name, _clue_row, row)


def _clue_row(name: str, row: dict[str, str]) -> Item:
    given = {key: row[key].strip() for key in _CLUE_LABELS}
    if wrong := {key: value for key, value in given.items() if value not in ("0", "1")}:
        return BadRecord(name, f"labels must be 0 or 1: {wrong}")
    original = [key for key, value in given.items() if value == "1"]
    label = clue_label(original)
    if label is None:
        reason = "Irrelevant beside another relation" if "Irrelevant" in original else "no relation"
        return Dropped(name, reason)
    url = row["url"].strip()
    image = hashlib.sha256(url.encode()).hexdigest()[:16]
    text = _text(row["caption"])
    return Record(
        id=f"{image}-{hashlib.sha256(text.encode()).hexdigest()[:8]}",
        image=f"{image}.jpg",
        text=text,
        label=label,
        group=image,
        original={"labels": original},
        url=url,
    )


def clue_label(labels: list[str]) -> str | None:
    """The class of Clue's labels; None where they contradict each other or name no relation."""
    related = set(labels) - {"Irrelevant", "Other"}
    if "Irrelevant" in labels:
        return None if related else "Uncorrelated"
    if related & {"Story", "Subjective"}:
        return "Complementary"
    return "Anchorage" if related else None


READERS: dict[str, Callable[..., Iterator[Item]]] = {
    "kruk": kruk,
    "vempala": vempala,
    "cite": cite,
    "clue": clue,
}


def _attempt(name: str, make: Callable[..., Item], *args: Any) -> Item:
    """Calls `make`, and turns what a malformed record raises into a `BadRecord`."""
    try:
        item = make(name, *args)
        if isinstance(item, Record):
            assert item.label in relations.RELATIONS
            base.inside("", item.image)
            for field in ("id", "group", "image"):
                base.checked_name(getattr(item, field), field)
            if not isinstance(item.url, str) or not item.url.isprintable():
                raise ValueError(f"url {item.url!r:.80} is no address")
            # Lone surrogates could not be written.
            json.dumps(item.as_json(""), ensure_ascii=False).encode("utf-8")
        return item
    except base.MALFORMED as error:
        return BadRecord(name, base.fault(error))


def _mapped(table: Mapping[tuple, str | None], key: tuple, original: Mapping) -> str | None:
    if key not in table:
        raise ValueError(f"unknown labels {dict(original)!s:.80}: known are {sorted(table)}")
    return table[key]


def _text(text: str) -> str:
    """A text without HTML entities.

    Raises:
        ValueError: if nothing is left of it.
    """
    text = html.unescape(text).strip()
    base.clean_sentences(text)
    return text


def _rows(path: str | os.PathLike, *, delimiter: str) -> Iterator[tuple[str, dict | BadRecord]]:
    """(name, row) of a table; a row with other columns than the header comes as a `BadRecord`."""
    # Of these tables only those with commas quote; in the others a quote is a quote.
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    return base.read_table(path, delimiter=delimiter, quoting=quoting, may_end=True)
