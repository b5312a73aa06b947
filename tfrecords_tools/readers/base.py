"""What every reader yields; files are opened by `raw_files`, whose names stand here, too.

A reader is a generator function over one raw source. For each record of its annotation files it
yields a `Pair`, a `BadRecord` (damaged: counted against `--max_bad_records`) or a `Dropped` (left
out by a rule of the paper or of the flags: counted, never an error). No reader opens an image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgtext_tf import relations, untrusted
from imgtext_tf.data.examples import MAX_ID_BYTES
from imgtext_tf.data.pairs import IMAGE_SUFFIXES, clean_sentences
from imgtext_tf.data.shards import BadRecord
from imgtext_tf.data.text import as_text
from tfrecords_tools.readers.raw_files import (
    ReaderError,
    damaged,
    decode,
    read_bytes,
    read_json,
    read_json_lines,
    read_lines,
    read_object,
    read_packed,
    read_table,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "BadRecord",
    "Dropped",
    "Item",
    "Pair",
    "ReaderError",
    "clean_sentences",
    "damaged",
    "decode",
    "read_bytes",
    "read_json",
    "read_json_lines",
    "read_lines",
    "read_object",
    "read_packed",
    "read_table",
]

SPLITS = ("train", "val", "test")


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
            checked_name(getattr(self, name), name)

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

# What a record of wrong types or values makes the code that reads it raise.
MALFORMED = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)


def checked_name(value: object, what: str = "id") -> str:
    """A name that shards can hold: a string or number as a printable string.

    Raises:
        ValueError: if it is none, or longer than `MAX_ID_BYTES`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if (
        not isinstance(value, str)
        or not value.strip()
        or not value.isprintable()
        or len(value.encode()) > MAX_ID_BYTES
    ):
        raise ValueError(
            f"{what} {value!r:.80} is empty, unprintable, no text or over {MAX_ID_BYTES} bytes"
        )
    return value


def attempt(record_id: str, make: Callable[..., Pair], *args: Any, **kwargs: Any) -> Item:
    """Calls `make`, and turns what a malformed record raises into a `BadRecord`."""
    try:
        return make(*args, **kwargs)
    except MALFORMED as error:
        return BadRecord(record_id, fault(error))


def fault(error: Exception) -> str:
    """What a malformed record raised, in words."""
    if isinstance(error, KeyError):
        return f"lacks the field {error!s:.80}"
    return f"{error!s:.300}"


def checked_text(value: object) -> str:
    """A text as a file gives it, which may be empty.

    Raises:
        TypeError: if it is no string.
        ValueError: if it holds lone surrogates.
    """
    if not isinstance(value, str):
        raise TypeError(f"the text must be a string, not {value!r:.80}")
    return as_text(value)


def metrics_of(relation: str) -> dict[str, Any]:
    """The `cmi`, `sc` and `stat` of a class, as keyword arguments of `Pair`.

    Raises:
        ValueError: if the class is unknown.
    """
    if relation not in relations.METRICS_OF_RELATION:
        raise ValueError(
            f"unknown class {relation!r:.80}: use one of {', '.join(relations.RELATIONS)}, or map "
            "it"
        )
    return dict(zip(relations.METRIC_VALUES, relations.METRICS_OF_RELATION[relation], strict=True))


def inside(root: str | os.PathLike, relative: str) -> str:
    r"""Joins an image root and a path that came from a file of annotations.

    Raises:
        ValueError: if the path is empty, absolute, or leaves the root ("../").
    """
    return untrusted.below(root, relative)


def generator(seed: int, *key: Any) -> np.random.Generator:
    """A random generator that depends on the seed and a key only, not on the order of calls."""
    text = "\0".join(map(str, (seed, *key)))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
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
