"""Keywords and their opposites: the list, and where it finds them in a text.

The paper's list of about 530 keywords was never published; `antonyms.tsv` is this package's own,
and says at its head where it comes from. `keyword_swaps` makes negatives with it.

Reference: Otto2020, Section 4.1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from imgtext_tf import filesystem

DEFAULT_PATH = Path(__file__).with_name("antonyms.tsv")

# A phrase of this kind has no opposite: it hides a keyword that means something else in it
# ("hot dog", "hard hat", "under construction").
KEPT = "kept"
# Pronouns go along with the nouns they stand for, but make no negative by themselves: nobody sees
# whether "a dog and his ball" is wrong.
PRONOUN = "pronoun"

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Antonym:
    """One keyword.

    Attributes:
        keyword: lower-case word or phrase.
        opposites: lower-case words or phrases, one of which replaces it; empty for kind `KEPT`.
        kind: adjective, direction, colour or gender; or `PRONOUN` or `KEPT`.
        source: where the pair comes from.
    """

    keyword: str
    opposites: tuple[str, ...]
    kind: str
    source: str


@dataclass(frozen=True)
class AntonymList:
    """Keywords with their opposites, and kept phrases, in the order of the file."""

    entries: tuple[Antonym, ...]

    def __len__(self) -> int:
        """The number of keywords that have opposites."""
        return len(self.keywords)

    @cached_property
    def keywords(self) -> tuple[str, ...]:
        """The keywords that have opposites, without the kept phrases."""
        return tuple(entry.keyword for entry in self.entries if entry.opposites)

    @cached_property
    def _by_first_word(self) -> dict[str, list[tuple[re.Pattern, Antonym]]]:
        """First word -> patterns of the keywords that start with it, longest first."""
        table: dict[str, list[tuple[re.Pattern, Antonym]]] = {}
        for entry in sorted(self.entries, key=lambda entry: -len(entry.keyword)):
            parts = [re.escape(part) for part in entry.keyword.split()]
            end = r"(?!\w)" if entry.keyword[-1].isalnum() else ""
            # "dark haired" also finds "dark-haired".
            pattern = re.compile(r"(?:\s+|-)".join(parts) + end, re.IGNORECASE)
            table.setdefault(_WORD.match(entry.keyword).group(), []).append((pattern, entry))
        return table

    def find(self, sentence: str) -> list[tuple[int, str, Antonym]]:
        """The keywords of a sentence from left to right, the longest one at each place.

        Returns:
            (start, the text there, its keyword) of each hit; hits do not overlap.
        """
        hits = []
        end = 0
        for word in _WORD.finditer(sentence):
            if word.start() < end:
                continue
            for pattern, entry in self._by_first_word.get(word.group().lower(), ()):
                match = pattern.match(sentence, word.start())
                if match:
                    end = match.end()
                    if entry.kind != KEPT:
                        hits.append((match.start(), match.group(), entry))
                    break
        return hits

    def split(self, fraction: float, seed: int) -> tuple[AntonymList, AntonymList]:
        """Two lists that share no keyword and no opposite, for tests on swaps never trained on.

        Keywords that are linked stay together: a keyword and its opposites, and a phrase and the
        keywords in it ("young man", "man"). Kept phrases are in both lists.

        Args:
            fraction: share of the keywords in the first list, in [0, 1]; reached from below.
            seed: seed of the division.

        Raises:
            ValueError: if the fraction lies outside of [0, 1].
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction is {fraction}, must lie in [0, 1]")
        groups = self._linked_groups()
        first: set[str] = set()
        for index in np.random.default_rng(seed).permutation(len(groups)):
            if len(first) + len(groups[index]) <= fraction * len(self) + 1e-9:
                first |= groups[index]

        def part(inside: bool) -> AntonymList:
            return AntonymList(
                tuple(e for e in self.entries if e.kind == KEPT or (e.keyword in first) == inside)
            )

        return part(True), part(False)

    def _linked_groups(self) -> list[set[str]]:
        parent: dict[str, str] = {}

        def root(text: str) -> str:
            parent.setdefault(text, text)
            while parent[text] != text:
                text = parent[text]
            return text

        for entry in self.entries:
            if entry.kind == KEPT:
                continue
            for text in (entry.keyword, *entry.opposites):
                parent[root(text)] = root(entry.keyword)
                for inner in self.keywords:
                    if f" {inner} " in f" {text} ":
                        parent[root(inner)] = root(entry.keyword)
        groups: dict[str, set[str]] = {}
        for keyword in self.keywords:
            groups.setdefault(root(keyword), set()).add(keyword)
        return list(groups.values())


def load_antonyms(path: str | os.PathLike | None = None) -> AntonymList:
    """Reads a list of keywords and checks it.

    Args:
        path: a TSV with the columns keyword, opposites (separated by `|`), kind, source; lines that
            start with `#` are comments, and the first other line is the header. None: the
            package's own list.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming file and line, if a line has not four columns, a keyword comes twice or
            is not lower-case, a keyword is its own opposite, or opposites are missing or repeated.
    """
    path = Path(filesystem.local_copy(path or DEFAULT_PATH))
    entries: dict[str, Antonym] = {}
    header = True
    for number, line in enumerate(path.read_bytes().decode("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        columns = line.split("\t")
        if header:
            header = False
            if columns != ["keyword", "opposites", "kind", "source"]:
                raise ValueError(
                    f"{path}, line {number}: the header must be keyword, opposites, kind, source"
                )
            continue
        try:
            entry = _parse_entry(columns)
            if entry.keyword in entries:
                raise ValueError(f"the keyword {entry.keyword!r} comes twice; join the lines")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        entries[entry.keyword] = entry
    return AntonymList(tuple(entries.values()))


def _parse_entry(columns: Sequence[str]) -> Antonym:
    if len(columns) != 4:
        raise ValueError(f"expected four columns separated by tabs, found {len(columns)}")
    keyword, joined, kind, source = columns
    opposites = tuple(joined.split("|")) if joined else ()
    if (kind == KEPT) != (not opposites):
        raise ValueError(f"{keyword!r} needs opposites, or the kind {KEPT!r} and none")
    for text in (keyword, *opposites):
        if " ".join(text.lower().split()) != text or not _WORD.match(text):
            raise ValueError(f"{text!r} must be lower-case words separated by single blanks")
    if keyword in opposites or len(set(opposites)) < len(opposites):
        raise ValueError(f"{keyword!r} has itself, or one opposite twice, among its opposites")
    return Antonym(keyword, opposites, kind, source)
