"""Which records each batch takes, planned from the shard index before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

WINDOW_BATCHES = 50  # batches whose rows are sorted by length together

Index = Mapping[str, np.ndarray]


def steps_per_epoch(rows: int, batch_size: int, *, training: bool = True) -> int:
    """Batches of one pass: training drops the last short one, evaluation keeps it.

    Raises:
        ValueError: if training has fewer rows than one batch.
    """
    if not training:
        return -(-rows // batch_size)
    if rows < batch_size:
        raise ValueError(f"{rows} records make no batch of {batch_size}: use a smaller batch size")
    return rows // batch_size


def batch_rows(
    index: Index,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rows: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    by_length: bool = True,
    class_balance: float = 0.0,
    max_sentences: int = 30,
    max_words: int = 50,
) -> list[np.ndarray]:
    """The rows of each training batch of an epoch: a pure function of its arguments.

    The rows are permuted, cut into windows of `WINDOW_BATCHES` batches, sorted by length inside
    each window and cut into batches, whose order is permuted, too.

    Args:
        index: the columns of `ShardReader.index`.
        batch_size: rows a batch.
        seed: of the whole training.
        epoch: number of the pass, from 0.
        rows: [N] the rows to use; None means all.
        labels: [records] the classes that `class_balance` balances; None means relations.
        by_length: False leaves the permutation as it is.
        class_balance: draw a class of n rows in proportion to n ** (1 - class_balance): 0 takes
            each row once, 1 equally many rows of each class. Rows of rare classes are repeated, an
            epoch's length stays the same.
        max_sentences: sentences that will be kept of a text.
        max_words: words that will be kept of a sentence.

    Returns:
        `steps_per_epoch` arrays [batch_size] int64.

    Raises:
        ValueError: if there are fewer rows than one batch, or `class_balance` is not in [0, 1].
    """
    if not 0 <= class_balance <= 1:
        raise ValueError(f"class_balance is {class_balance}: use a value in [0, 1]")
    rows = np.arange(len(index["offset"])) if rows is None else np.asarray(rows, np.int64)
    steps = steps_per_epoch(len(rows), batch_size)
    if class_balance:
        labels = index["relation"] if labels is None else labels
        rows = _balanced_draw(rows, labels[rows], class_balance, seed, epoch)
    rows = rows[_permutation(len(rows), seed, 2 * epoch)][: steps * batch_size]
    if by_length:
        keys = _length_keys(index, rows, max_sentences, max_words)
        windows = np.arange(len(rows)) // (WINDOW_BATCHES * batch_size)
        rows = rows[np.lexsort((*keys, windows))]
    batches = rows.reshape(steps, batch_size)
    return list(batches[_permutation(steps, seed, 2 * epoch + 1)])


def evaluation_rows(
    index: Index,
    *,
    batch_size: int,
    rows: np.ndarray | None = None,
    max_sentences: int = 30,
    max_words: int = 50,
) -> list[np.ndarray]:
    """Every row once in batches of like lengths, the longest first: memory runs out at once or not.

    Args and Returns as in `batch_rows`; the last batch may be shorter.
    """
    rows = np.arange(len(index["offset"])) if rows is None else np.asarray(rows, np.int64)
    rows = rows[np.lexsort(_length_keys(index, rows, max_sentences, max_words))[::-1]]
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def balanced_rows(index: Index, per_class: int, seed: int) -> np.ndarray:
    """Up to `per_class` random rows of each relation, ascending: a test set like the paper's.

    Args:
        index: the columns of `ShardReader.index`.
        per_class: rows a class; smaller classes give all they have.
        seed: of the draw.

    Returns:
        [N] int64.
    """
    chosen = []
    for place, relation in enumerate(np.unique(index["relation"])):
        rows = np.flatnonzero(index["relation"] == relation)
        chosen.append(rows[_permutation(len(rows), seed, place)][:per_class])
    return np.sort(np.concatenate(chosen))


def rows_of_ids(index: Index, ids: Sequence[str]) -> np.ndarray:
    """The rows of records, in the order of `ids`: [N] int64.

    Raises:
        KeyError: naming ids that no record has.
    """
    row_of = {record_id: row for row, record_id in enumerate(index["id"].tolist())}
    missing = [one for one in ids if one.encode("utf-8") not in row_of]
    if missing:
        raise KeyError(
            f"no record has the id {missing[0]!r} ({len(missing)} of {len(ids)} ids are missing): "
            "use the shards that the ids were made from"
        )
    return np.array([row_of[one.encode("utf-8")] for one in ids], np.int64)


def _permutation(size: int, seed: int, number: int) -> np.ndarray:
    if size == 0:
        return np.zeros([0], np.int64)
    return tf.random.experimental.index_shuffle(
        tf.range(size, dtype=tf.int64),
        seed=tf.constant([seed, number], tf.int64),
        max_index=tf.constant(size - 1, tf.int64),
    ).numpy()


def _balanced_draw(
    rows: np.ndarray, labels: np.ndarray, balance: float, seed: int, epoch: int
) -> np.ndarray:
    """As many rows as before, in turn through each class's permutations."""
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts ** (1.0 - balance)
    # Cuts of the cumulated shares: the quotas are whole numbers and add up to len(rows).
    ends = np.round(np.cumsum(shares) / shares.sum() * len(rows)).astype(np.int64)
    quotas = np.diff(ends, prepend=0)
    drawn = []
    for place, label in enumerate(classes):
        own = rows[labels == label]
        quota = int(quotas[place])
        passes = -(-quota // len(own))
        # Passes go on from epoch to epoch, so that a large class is used up before it repeats.
        start = epoch * quota
        order = [
            own[_permutation(len(own), seed, number * len(classes) + place)]
            for number in range(start // len(own), start // len(own) + passes + 1)
        ]
        drawn.append(np.concatenate(order)[start % len(own) :][:quota])
    return np.concatenate(drawn)


def _length_keys(
    index: Index, rows: np.ndarray, max_sentences: int, max_words: int
) -> tuple[np.ndarray, ...]:
    """Sort keys, the last one first: words a sentence, then sentences, as far as they are kept."""
    sentences = np.minimum(index["sentences"][rows], max_sentences)
    words = np.minimum(index["longest"][rows], max_words)
    return sentences, words
