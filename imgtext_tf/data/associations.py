"""Associated texts: any two of one group, as the queries that led to one image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from imgtext_tf import untrusted
from imgtext_tf.data.grams import gram_ids

_PREFETCH = 4


class AssociationError(untrusted.ShortError, ValueError):
    """A file of texts that cannot be used; the message says what to mend."""


class Associations:
    """Groups of texts of which any two belong together.

    Attributes:
        names: name of each group.
        texts: the distinct texts of each group, two or more.
        sources: [groups] int64, equal where groups are of one source.
        number_of: text -> its number; one text may stand in several groups.
    """

    def __init__(
        self, groups: dict[str, Iterable[str]], *, source_of: Mapping[str, str] | None = None
    ) -> None:
        """Keeps the groups of two distinct texts or more, sorted by name.

        Args:
            groups: name -> texts.
            source_of: name -> what the group is of, such as a photo that has a group of captions
                and one of queries: these are associated, too. Without it each has its own.
        """
        distinct = {name: list(dict.fromkeys(texts)) for name, texts in sorted(groups.items())}
        kept = {name: texts for name, texts in distinct.items() if len(texts) > 1}
        self.names = list(kept)
        self.texts = list(kept.values())
        sources = [(source_of or {}).get(name, name) for name in kept]
        numbers = {source: number for number, source in enumerate(dict.fromkeys(sources))}
        self.sources = np.array([numbers[source] for source in sources], np.int64)
        every = dict.fromkeys(text for texts in kept.values() for text in texts)
        self.number_of = {text: number for number, text in enumerate(every)}

    def __len__(self) -> int:
        """The number of groups."""
        return len(self.names)

    def split(self, share: float) -> tuple[Associations, Associations]:
        """(the rest, a share of the groups), by a hash of their names: the same in every run."""

        def held(name: str) -> bool:
            digest = hashlib.sha256(name.encode("utf-8")).digest()
            return int.from_bytes(digest[:8], "big") / 2**64 < share

        parts: tuple[dict, dict] = ({}, {})
        for name, texts in zip(self.names, self.texts, strict=True):
            parts[held(name)][name] = texts
        return Associations(parts[0]), Associations(parts[1])

    def pairs(self, groups: Sequence[int], rng: np.random.Generator) -> list[tuple[str, str]]:
        """Two distinct texts of each of these groups, in a random order."""
        found = []
        for group in groups:
            first, second = rng.choice(len(self.texts[group]), 2, replace=False)
            found.append((self.texts[group][first], self.texts[group][second]))
        return found

    def batch(
        self, step: int, *, batch_size: int, seed: int
    ) -> tuple[list[tuple[str, str]], np.ndarray]:
        """(pairs of texts, their groups [B] int64) of a step: a pure function of its arguments.

        Every group comes once an epoch.

        Raises:
            AssociationError: if there are fewer groups than one batch.
        """
        steps = len(self) // batch_size
        if not steps:
            raise AssociationError(f"{len(self)} groups of texts make no batch of {batch_size}")
        epoch, place = divmod(step, steps)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        groups = order[place * batch_size : (place + 1) * batch_size]
        return self.pairs(groups, np.random.default_rng([seed, epoch, step])), groups


def read_groups(path: str | os.PathLike, *, group_first: bool = True) -> dict[str, list[str]]:
    """Reads a file of group<TAB>text (or text<TAB>group) lines.

    Raises:
        AssociationError: naming the line that has not two columns, or a file without any.
    """
    groups: dict[str, list[str]] = {}
    try:
        lines = untrusted.read_bytes(path, most=None).decode("utf-8-sig").split("\n")
    except ValueError as error:
        raise AssociationError(f"{path}: is not UTF-8 text ({error}); convert it") from error
    for number, line in enumerate(lines, 1):
        # Nothing stands behind the last line break.
        if number < len(lines) or line:
            columns = line.rstrip("\r").split("\t")
            if len(columns) != 2 or not all(column.strip() for column in columns):
                raise AssociationError(f"{path}:{number}: expected two columns, found {line!r:.80}")
            group, text = columns if group_first else reversed(columns)
            groups.setdefault(group, []).append(text)
    if not groups:
        raise AssociationError(f"{path}: is empty")
    return groups


def pair_dataset(
    associations: Associations,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    buckets: int,
    longest: int = 2,
) -> tf.data.Dataset:
    """Training batches: ({`first`, `second`, `group`, ...}, {"scores", "reverse": 0..B-1}).

    The inputs are those of `query_encoder.dual_encoder`; `group` is the source of a group.

    Args:
        associations: the groups to draw from.
        batch_size: pairs a batch.
        seed: of the order.
        start_step: the step of the first batch; no earlier one is computed.
        num_steps: batches to give.
        buckets: see `grams.gram_ids`.
        longest: see `grams.gram_ids`.
    """

    def load(step: np.ndarray) -> tuple[np.ndarray, ...]:
        pairs, groups = associations.batch(int(step), batch_size=batch_size, seed=seed)
        sides = list(zip(*pairs, strict=True))
        texts = [np.array([one.encode("utf-8") for one in side], object) for side in sides]
        ids = [np.array([associations.number_of[one] for one in side], np.int64) for side in sides]
        return *texts, associations.sources[groups], *ids

    def make_batch(step: tf.Tensor) -> tuple:
        dtypes = [tf.string, tf.string, tf.int64, tf.int64, tf.int64]
        tensors = tf.numpy_function(load, [step], dtypes, stateful=False)
        first, second, group, *ids = (tf.ensure_shape(tensor, [batch_size]) for tensor in tensors)
        hashed = {"buckets": buckets, "longest": longest}
        inputs = {
            "first": gram_ids(first, **hashed),
            "second": gram_ids(second, **hashed),
            "group": group,
            "first_id": ids[0],
            "second_id": ids[1],
        }
        places = tf.range(batch_size)
        return inputs, {"scores": places, "reverse": places}

    dataset = tf.data.Dataset.range(start_step, start_step + num_steps)
    dataset = dataset.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(_PREFETCH)
