"""What every reader yields, and how every reader opens a file.

A reader is a generator function over one raw source. For each record of its annotation files it
yields a `Pair`, a `BadRecord` (damaged: counted against `--max_bad_records`) or a `Dropped` (left
out by a rule of the paper or of the flags: counted, never an error). No reader opens an image.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgtext_tf import filesystem, relations
from imgtext_tf.data.examples import MAX_ID_BYTES
from imgtext_tf.data.pairs import IMAGE_SUFFIXES, clean_sentences
from imgtext_tf.data.shards import BadRecord

__all__ = [
    "IMAGE_SUFFIXES",
    "BadRecord",
    "Dropped",
    "Item",
    "Pair",
    "ReaderError",
    "clean_sentences",
]

SPLITS = ("train", "val", "test")


class ReaderError(Exception):
    """A raw source that cannot be read at all; the message names the file and the mend."""


@dataclass(frozen=True)
class Pair:
    """An image (by path) and a text with their three metric values.

    Attributes:
        id: unique over all sources; names the record in every error.
        image_path: path of the image file; may not exist.
        sentences: the text, at least one non-empty sentence.
        cmi: 0 or 1; None of a class of the user's own, which has no metrics.
        sc: -1, 0 or 1, or None.
        stat: "T", "0" or "I", or None.
        source: name of the raw source.
        group: what a split must not cut: album, image or concept.
        split: "train", "val", "test", or "" where the source has no official split.
        swaps: (sentence, start, old, new) of each swapped keyword.
        label: the class of the user's own; "" where the metrics say the class.
    """

    id: str
    image_path: str
    sentences: tuple[str, ...]
    cmi: int | None
    sc: int | None
    stat: str | None
    source: str
    group: str
    split: str = ""
    swaps: tuple[tuple[int, int, str, str], ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        """Checks what the shards could not hold.

        Raises:
            ValueError: if the id, source or group is empty or unprintable.
        """
        for name in ("id", "source", "group"):
            value = getattr(self, name)
            if not value or not value.isprintable() or len(value.encode()) > MAX_ID_BYTES:
                raise ValueError(
                    f"{name} {value!r:.80} is empty, unprintable or over {MAX_ID_BYTES} bytes"
                )

    @property
    def relation(self) -> str:
        """The user's own class, or that of the three metric values."""
        return self.label or relations.relation_of(self.cmi, self.sc, self.stat)


@dataclass(frozen=True)
class Dropped:
    """A record left out by a rule; `reason` is a fixed phrase, for reasons are counted."""

    id: str
    reason: str


Item = Pair | BadRecord | Dropped


def attempt(record_id: str, make: Callable[..., Pair], *args: Any, **kwargs: Any) -> Item:
    """Calls `make`, and turns what a malformed record raises into a `BadRecord`."""
    try:
        return make(*args, **kwargs)
    except KeyError as error:
        return BadRecord(record_id, f"lacks the field {error}")
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        return BadRecord(record_id, str(error))


def metrics_of(relation: str) -> dict[str, Any]:
    """The `cmi`, `sc` and `stat` of a class, as keyword arguments of `Pair`.

    Raises:
        ValueError: if the class is unknown.
    """
    if relation not in relations.METRICS_OF_RELATION:
        raise ValueError(
            f"unknown class {relation!r}: use one of {', '.join(relations.RELATIONS)}, or map it"
        )
    return dict(zip(relations.METRIC_VALUES, relations.METRICS_OF_RELATION[relation], strict=True))


def inside(root: str | os.PathLike, relative: str) -> str:
    r"""Joins an image root and a path that came from a file of annotations.

    Raises:
        ValueError: if the path is empty, absolute, or leaves the root ("../").
    """
    if not isinstance(relative, str) or not relative.strip() or "\0" in relative:
        raise ValueError(f"image path {relative!r} is empty or no string")
    parts = pathlib.PurePosixPath(relative.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", relative):
        raise ValueError(f"image path {relative!r} is absolute or leaves the image folder")
    return os.path.join(root, *parts.parts)


def generator(seed: int, *key: Any) -> np.random.Generator:
    """A random generator that depends on the seed and a key only, not on the order of calls."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *key))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def draw_unrelated(
    own: frozenset, others: Sequence[frozenset], count: int, rng: np.random.Generator
) -> list[int]:
    """Draws up to `count` distinct places of `others` whose sets share nothing with `own`.

    Each that qualifies has the same chance; fewer come back only if fewer qualify.
    """
    chosen: dict[int, None] = {}
    # Trying at random is fast while many qualify; listing them all is the way out if few do.
    for place in rng.integers(len(others), size=200 * count).tolist():
        if len(chosen) == count:
            return list(chosen)
        if not own & others[place]:
            chosen[place] = None
    places = [p for p, other in enumerate(others) if not own & other and p not in chosen]
    return [*chosen, *rng.permutation(places)[: count - len(chosen)].astype(int).tolist()]


def decode(path: str | os.PathLike, data: bytes, *, offset: int = 0) -> str:
    """Decodes strict UTF-8 (a byte order mark is skipped).

    Raises:
        ReaderError: names the file, the byte and the mend.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReaderError(
            f"{path}: byte {offset + error.start} (0x{data[error.start]:02x}) is not UTF-8; find "
            "the file's encoding and convert it, e.g. `iconv -f latin1 -t utf-8`"
        ) from None


def read_bytes(path: str | os.PathLike) -> bytes:
    """Reads a file.

    Raises:
        ReaderError: if it cannot be read.
    """
    try:
        return filesystem.read_bytes(path)
    except OSError as error:
        raise ReaderError(
            f"{path}: {error.strerror or error}; docs/data.md shows the layout expected"
        ) from None


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        ReaderError: if it is missing, not UTF-8, or no JSON.
    """
    try:
        return json.loads(decode(path, read_bytes(path)))
    except json.JSONDecodeError as error:
        raise ReaderError(
            f"{path}: line {error.lineno}, column {error.colno}: {error.msg}; the file is "
            "damaged or cut short: fetch it again"
        ) from None


def read_lines(path: str | os.PathLike) -> Iterator[tuple[str, str | BadRecord]]:
    """Yields (record name, line) of a UTF-8 text file, empty lines left out.

    A line that is not UTF-8 comes as a `BadRecord`, for the other lines are still good.

    Raises:
        ReaderError: if the file cannot be read.
    """
    offset = 0
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        name = f"{path}:{number}"
        try:
            text = decode(path, line, offset=offset).rstrip("\r")
            if text.strip():
                yield name, text
        except ReaderError as error:
            yield name, BadRecord(name, str(error))
        offset += len(line) + 1


def read_json_lines(path: str | os.PathLike) -> Iterator[tuple[str, dict | BadRecord]]:
    """Yields (record name, object) of a JSONL file; a bad line comes as a `BadRecord`.

    Raises:
        ReaderError: if the file cannot be read.
    """
    for name, line in read_lines(path):
        if isinstance(line, BadRecord):
            yield name, line
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            yield name, BadRecord(name, f"no JSON: column {error.colno}: {error.msg}")
            continue
        if isinstance(record, dict):
            yield name, record
        else:
            yield name, BadRecord(name, "no JSON object ({...})")
