"""The labels of a classifier and the words of their terms, which phrases may give away."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from nltk.stem.snowball import SnowballStemmer

from imgtext_tf import runs, untrusted

_SNOWBALL = SnowballStemmer("english").stem
_IRREGULAR = {"people": "person", "children": "child", "feet": "foot", "teeth": "tooth"}
_LEAST = 3  # letters that stay of a word


@dataclasses.dataclass(frozen=True)
class Labels:
    """The taxonomy.

    Attributes:
        ids: of the labels, in label order.
        terms: the terms of each.
        trainable: whether the label counts in means over "trainable classes".
    """

    ids: tuple[str, ...]
    terms: tuple[tuple[str, ...], ...]
    trainable: np.ndarray


def read_labels(data_dir: str) -> Labels:
    """The taxonomy that `tfrecords_tools.build_labels` wrote.

    Raises:
        RunError: if the file is missing or damaged.
    """
    path = os.path.join(data_dir, "labels.json")
    found = runs.read_field(path, "labels")
    try:
        for label in found:
            untrusted.need(label, {"id": str, "terms": list}, path)
        return Labels(
            tuple(label["id"] for label in found),
            tuple(tuple(label["terms"]) for label in found),
            np.array([label.get("trainable", True) for label in found], bool),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise runs.RunError(f"{path}: is no list of labels ({error})") from error


def stems_of(text: str) -> set[str]:
    """The stems of a text's words, cut so far that surf, surfing and surfer have one."""
    return {_stem(word) for word in re.findall(r"[^\W\d_]+", text.casefold())}


@functools.cache
def _stem(word: str) -> str:
    """Snowball's English stem without what it leaves: irregular plurals, -er, -or, -ist, -e.

    It may join words that have nothing in common (flower and flow): too many phrases are left out
    then, where too few would show the classifier its label.
    """
    word = _IRREGULAR.get(word, re.sub("men$", "man", word))
    stem = _SNOWBALL(word)
    for ending in ("er", "or", "ist", "e"):
        if stem.endswith(ending) and len(stem) - len(ending) >= _LEAST:
            stem = stem.removesuffix(ending)
            break
    doubled = len(stem) > _LEAST and stem[-1] == stem[-2] and stem[-1] not in "aeiou"
    return stem[:-1] if doubled else stem


def label_stems(terms: Collection[Collection[str]]) -> set[str]:
    """The stems of all words of all terms of all labels."""
    return {stem for names in terms for name in names for stem in stems_of(name)}


def stems_in(data_dirs: Iterable[str]) -> frozenset[str]:
    """The stems of all words of the labels of some data sets.

    Raises:
        RunError: if one has no list of labels.
    """
    return frozenset(stem for path in data_dirs for stem in label_stems(read_labels(path).terms))


def without(phrases: Sequence[Sequence[str]], stems: Collection[str]) -> list[list[str]]:
    """The phrases of each photo that hold no word of these stems."""
    if not stems:
        return [list(own) for own in phrases]
    kept = {
        name: stems_of(name).isdisjoint(stems) for name in {name for own in phrases for name in own}
    }
    return [[name for name in own if kept[name]] for own in phrases]
