"""Records of a split with other texts or other pictures, made at the moment they are read.

What a classifier makes of a pair says little of what it read; what it makes of the same pair with
one thing changed says more. An `EditedReader` stands where a `shards.ShardReader` does, so that
changed pairs go through the same pipeline, from pixels or from cached feature maps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from imgtext_tf import relations, untrusted
from imgtext_tf.data import examples, ragged
from imgtext_tf.data.antonyms import DEFAULT_PATH
from imgtext_tf.data.keyword_swaps import Swap
from imgtext_tf.data.shards import ShardReader

# A list of keywords of which none stands in the package's list that negatives are built with.
UNSEEN_PATH = DEFAULT_PATH.with_name("antonyms_unseen.tsv")
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class Edit:
    """A record made of another one.

    Attributes:
        id: of the new record.
        row: the record it is made of.
        relation: its class; None for that of the other record.
        sentences: its text; None for that of the other record.
        image_row: the record whose image it shows; None for its own.
    """

    id: str
    row: int
    relation: str | None = None
    sentences: tuple[str, ...] | None = None
    image_row: int | None = None


class EditedReader:
    """The records of some edits, in their order; has what the pipeline asks of a `ShardReader`."""

    def __init__(self, reader: ShardReader, edits: Sequence[Edit]) -> None:
        """Names the records; none is read yet.

        Args:
            reader: of records of kind "relation".
            edits: with ids of their own.
        """
        self.directory, self.split, self.manifest = reader.directory, reader.split, reader.manifest
        self.record_kind, self.own_labels = reader.record_kind, reader.own_labels
        self._reader, self._edits = reader, tuple(edits)
        rows = np.array([edit.row for edit in edits], np.int64)
        shown = [edit.row if edit.image_row is None else edit.image_row for edit in edits]
        self.index = {name: reader.index[name][rows] for name in reader.index}
        self.index["image_id"] = reader.index["image_id"][np.array(shown, np.int64)]
        self.index["id"] = np.array([edit.id.encode() for edit in edits], np.bytes_)
        self.index["relation"] = np.array(
            [
                edit.relation.encode() if edit.relation else reader.index["relation"][edit.row]
                for edit in edits
            ],
            np.bytes_,
        )
        for place, edit in enumerate(edits):
            if edit.sentences is not None:
                lengths = [len(sentence.split()) for sentence in edit.sentences]
                for name, value in (
                    ("sentences", len(lengths)),
                    ("words", sum(lengths)),
                    ("longest", max(lengths, default=0)),
                ):
                    self.index[name][place] = value

    def __len__(self) -> int:
        """The number of records."""
        return len(self._edits)

    def read(self, rows: np.ndarray) -> list[bytes]:
        """The serialised records at these rows, in their order.

        Args:
            rows: [B] int, places in the columns of `index`.
        """
        return [self._record(self._edits[row]) for row in np.asarray(rows)]

    def _record(self, edit: Edit) -> bytes:
        record = self._original(edit.row)
        record["id"] = edit.id
        if edit.relation is not None:
            metrics = relations.METRICS_OF_RELATION[edit.relation]
            record |= dict(zip(relations.METRIC_VALUES, metrics, strict=True))
            record["relation"] = edit.relation
        if edit.sentences is not None:
            record |= {"sentences": list(edit.sentences), "swaps": []}
        if edit.image_row is not None:
            shown = self._original(edit.image_row)
            record |= {name: shown[name] for name in ("image", "image_id", "height", "width")}
        return examples.encode("relation", record)

    def _original(self, row: int) -> dict:
        return examples.from_bytes("relation", self._reader.read(np.array([row]))[0])


def texts(reader: ShardReader) -> Iterator[tuple[tuple[str, ...], tuple[Swap, ...]]]:
    """The sentences and the swaps of every record, in the order of the records."""
    for start in range(0, len(reader), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(reader)))
        serialized = tf.constant(reader.read(rows))
        record = examples.decode("relation", serialized, fields=["sentences", "swaps"])
        columns = (ragged.to_lists(record[name]) for name in ("sentences", "swaps"))
        for sentences, swaps in zip(*columns, strict=True):
            yield (
                tuple(sentence.decode("utf-8") for sentence in sentences),
                tuple(tuple(untrusted.parse_json(one)) for one in swaps),
            )


def restore(sentences: Sequence[str], swaps: Sequence[Swap]) -> tuple[str, ...]:
    """The text before `keyword_swaps.swap`: its inverse.

    Args:
        sentences: the sentences of the swapped text.
        swaps: as `swap` gave them.

    Raises:
        ValueError: if a swap is not found at its place.
    """
    restored = list(sentences)
    # What stands before a swap is restored first, so that places in the old sentence hold.
    for index, start, old, new in sorted(swaps, key=lambda one: one[:2]):
        sentence = restored[index] if 0 <= index < len(restored) else ""
        if not sentence.startswith(new, start):
            raise ValueError(f"sentence {index} has no {new!r} at character {start}: {sentence!r}")
        restored[index] = sentence[:start] + old + sentence[start + len(new) :]
    return tuple(restored)


def marked(sentences: Sequence[str], swaps: Sequence[Swap]) -> tuple[str, ...]:
    """The swapped text with what was swapped in brackets: "a green [red] car".

    Args:
        sentences: of the swapped text.
        swaps: as `keyword_swaps.swap` gave them.
    """
    written, shift = list(sentences), [0] * len(sentences)
    # A swap's place is that in the old sentence: those before it, and their marks, move it.
    for index, start, old, new in sorted(swaps, key=lambda one: tuple(one[:2])):
        end = start + shift[index] + len(new)
        mark = f" [{old}]"
        written[index] = written[index][:end] + mark + written[index][end:]
        shift[index] += len(new) - len(old) + len(mark)
    return tuple(written)
