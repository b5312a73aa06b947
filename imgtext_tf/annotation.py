"""What people say of pairs: the table of votes, and the kit with which they are asked.

The kit is blind: a page shows picture and text of each pair under a number, in an order of its own
for every annotator, and neither class, source nor id. The key that leads from numbers back to ids
stays with who asks.

Files, all CSV in UTF-8 with a header:

    annotations   pair, annotator, label[, automatic]   one line a vote
    votes         item, label                           what an annotator gives back
    key           annotator, item, pair, automatic      which pair each item is
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from imgtext_tf import filesystem, relations, untrusted
from imgtext_tf.data.files import write_file

UNSURE = "Unsure"
ANNOTATION_COLUMNS = ("pair", "annotator", "label", "automatic")
VOTE_COLUMNS = ("item", "label")
KEY_COLUMNS = ("annotator", "item", "pair", "automatic")
# Other names of the same columns; the first one of each is ours.
_ALIASES = {
    "pair": ("pair", "id", "unit", "item", "sample", "pair_id"),
    "annotator": ("annotator", "coder", "observer", "rater", "worker"),
    "label": ("label", "class", "vote", "value", "relation", "annotation"),
    "automatic": ("automatic", "auto", "generated"),
}
# In lower case -> ours: people's tables have any case.
_SPELLINGS = {name.lower(): name for name in (*relations.RELATIONS, UNSURE)}


class AnnotationError(untrusted.ShortError, ValueError):
    """A table of votes that cannot be used; the message names file, line and mend."""


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Votes of annotators on pairs.

    Attributes:
        pairs: N ids.
        annotators: A names.
        labels: [N][A] labels; "" where there is no vote.
        automatic: [N] labels that the pairs were generated with; "" where unknown.
    """

    pairs: tuple[str, ...]
    annotators: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    automatic: tuple[str, ...]

    def codes(self, names: Sequence[str], *, missing: int, unsure: int) -> np.ndarray:
        """The votes as numbers, [N, A] int64.

        Args:
            names: the labels in the order of their numbers.
            missing: stands for no vote.
            unsure: stands for `UNSURE`.
        """
        numbers = {name: number for number, name in enumerate(names)}
        numbers |= {"": missing, UNSURE: unsure}
        codes = [[numbers[label] for label in row] for row in self.labels]
        return np.array(codes, np.int64).reshape(len(self.pairs), len(self.annotators))

    def names(self) -> tuple[str, ...]:
        """The labels in use: Otto2020's in their order if all are of them, else sorted."""
        used = {label for row in self.labels for label in row} | set(self.automatic)
        used -= {"", UNSURE}
        if used <= set(relations.RELATIONS):
            return relations.RELATIONS
        return tuple(sorted(used))


def read_annotations(
    path: str | os.PathLike, *, missing: Collection[str] = ("NA", ".", "*")
) -> Annotations:
    """Reads votes as one line a vote (pair, annotator, label), or one line a pair.

    In the second form the first column names the pair, a column `automatic` may hold generated
    labels, and every other column is an annotator. The eight classes and `UNSURE` may stand in any
    case; other labels must not differ by case only.

    Args:
        path: a file with commas, semicolons or tabs between the columns.
        missing: labels that mean "no vote", beside the empty one.

    Raises:
        AnnotationError: naming file and line, if a column is missing or has no name that is
            understood, a vote stands twice, a label has two spellings, or the automatic labels of
            a pair differ.
    """
    header, rows = _read_table(path)
    names = {
        ours: next((name for name in header if name.lower() in theirs), None)
        for ours, theirs in _ALIASES.items()
    }
    if names["annotator"] and names["label"]:
        if not names["pair"]:
            raise AnnotationError(f"{path}: no column names the pair; the header is {header}")
        votes = [
            (line, row[names["pair"]], row[names["annotator"]], row[names["label"]],
             row[names["automatic"]] if names["automatic"] else "")
            for line, row in rows
        ]  # fmt: skip
    elif names["annotator"] or names["label"]:
        known, lacking = ("annotator", "label") if names["annotator"] else ("label", "annotator")
        raise AnnotationError(
            f"{path}: the header is {header}; {names[known]!r} is the {known} of one line a vote, "
            f"but no column is its {lacking}: call that one of {', '.join(_ALIASES[lacking])}; or, "
            f"where each column is an annotator, rename {names[known]!r}"
        )
    else:
        people = [name for name in header[1:] if name != names["automatic"]]
        if not people:
            raise AnnotationError(
                f"{path}: the header is {header}; give pair, annotator, label, or a column for "
                "each annotator behind the pair's"
            )
        votes = [
            (line, row[header[0]], person, row[person],
             row[names["automatic"]] if names["automatic"] else "")
            for line, row in rows
            for person in people
        ]  # fmt: skip
    return _collect(path, votes, missing)


def _collect(
    path: str | os.PathLike,
    votes: Iterable[tuple[int, str, str, str, str]],
    missing: Collection[str],
) -> Annotations:
    table: dict[str, dict[str, str]] = {}
    automatic: dict[str, str] = {}
    annotators: dict[str, None] = {}
    spellings: dict[str, str] = {}

    def spelled(label: str, line: int) -> str:
        if not label or label in missing:
            return ""
        folded = label.lower()
        ours = _SPELLINGS.get(folded) or spellings.setdefault(folded, label)
        if folded not in _SPELLINGS and ours != label:
            raise AnnotationError(
                f"{path}, line {line}: the label {label!r} was {ours!r} before; spell it one way"
            )
        return "" if ours in missing else ours

    for line, pair, person, label, generated in votes:
        pair, person, label, generated = (text.strip() for text in (pair, person, label, generated))
        if not pair or not person:
            raise AnnotationError(f"{path}, line {line}: pair or annotator is empty")
        if person in table.setdefault(pair, {}):
            raise AnnotationError(
                f"{path}, line {line}: {person!r} voted on {pair!r} before; keep one vote"
            )
        table[pair][person] = spelled(label, line)
        generated = spelled(generated, line)
        annotators[person] = None
        if generated and automatic.setdefault(pair, generated) != generated:
            raise AnnotationError(
                f"{path}, line {line}: {pair!r} was generated as {automatic[pair]!r} before, here "
                f"as {generated!r}"
            )
    return Annotations(
        tuple(table),
        tuple(annotators),
        tuple(tuple(row.get(person, "") for person in annotators) for row in table.values()),
        tuple(automatic.get(pair, "") for pair in table),
    )


def join_votes(
    key_path: str | os.PathLike, vote_paths: Mapping[str, str | os.PathLike]
) -> list[dict[str, str]]:
    """Votes that annotators gave back and the key -> the rows of an annotations CSV.

    Args:
        key_path: the key of the kit.
        vote_paths: annotator -> the CSV with their votes; items without a label are no votes.

    Returns:
        Rows with `ANNOTATION_COLUMNS`, by annotator and item.

    Raises:
        AnnotationError: if an annotator or an item is not in the key, an item stands twice, or a
            label is neither a class nor `UNSURE`.
    """
    _, key_rows = _read_table(key_path, KEY_COLUMNS)
    key: dict[str, dict[str, dict[str, str]]] = {}
    for _, row in key_rows:
        key.setdefault(row["annotator"], {})[row["item"]] = row
    rows = []
    for person, path in vote_paths.items():
        if person not in key:
            raise AnnotationError(f"{key_path} has no annotator {person!r}, only {sorted(key)}")
        seen = set()
        for line, vote in _read_table(path, VOTE_COLUMNS)[1]:
            item, label = vote["item"].strip(), vote["label"].strip()
            if item not in key[person]:
                raise AnnotationError(
                    f"{path}, line {line}: the key has no item {item!r}; it is of another kit"
                )
            if item in seen:
                raise AnnotationError(f"{path}, line {line}: item {item} stands twice")
            seen.add(item)
            if label and label.lower() not in _SPELLINGS:
                known = ", ".join(_SPELLINGS.values())
                raise AnnotationError(f"{path}, line {line}: unknown label {label!r}: use {known}")
            found = key[person][item]
            rows.append(
                {
                    "pair": found["pair"],
                    "annotator": person,
                    "label": _SPELLINGS[label.lower()] if label else "",
                    "automatic": found["automatic"],
                }
            )
    return rows


def write_table(
    path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Mapping[str, str]]
) -> None:
    """Writes a CSV with a header, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(os.fspath(path), text.getvalue().encode("utf-8"))


def _read_table(
    path: str | os.PathLike, needed: Collection[str] = ()
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and (line, row) of a table with commas, semicolons or tabs.

    Raises:
        AnnotationError: if it is missing, no UTF-8, or a row has not the header's columns.
    """
    header: list[str] = []
    rows = []
    try:
        # Spreadsheets of many countries write semicolons.
        with filesystem.open_text(path, "utf-8-sig", errors="replace") as file:
            first = file.readline(1 << 16)
        delimiter = max(",;\t", key=first.count)
        table = untrusted.read_table(path, delimiter=delimiter, needed=needed, header=header)
        for line, row in table:
            if isinstance(row, str):
                raise AnnotationError(f"{path}, line {line}: {row}")
            rows.append((line, row))
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except untrusted.DamagedError as error:
        raise AnnotationError(str(error)) from error
    return header, rows
