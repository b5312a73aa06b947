"""Pairs that differ in one thing: their text's keywords, or their picture."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from imgtext_tf import relations
from imgtext_tf.data import edits
from imgtext_tf.data.antonyms import AntonymList
from imgtext_tf.data.edits import Edit
from imgtext_tf.data.keyword_swaps import Swap, swap
from imgtext_tf.data.shards import ShardReader
from imgtext_tf.metrics import classification

POSITIVE_OF = {negative: positive for positive, negative in relations.NEGATIVE_OF.items()}
# Words that any two phrases may share without having anything to do with each other.
_FUNCTION_WORDS = frozenset("a an the of in on to at with from".split())


@dataclasses.dataclass(frozen=True)
class MinimalPair:
    """One image with the original and with the swapped text.

    Attributes:
        relation: the class of the original, a key of `relations.NEGATIVE_OF`.
        original: the id of the record with the original text.
        swapped: the id of the record with the swapped text.
    """

    relation: str
    original: str
    swapped: str


@dataclasses.dataclass(frozen=True)
class Texts:
    """The records of a split: [N] each.

    Attributes:
        ids: their ids.
        classes: their relations.
        images: their image ids.
        sentences: their texts.
        swaps: what was swapped in them.
    """

    ids: list[str]
    classes: list[str]
    images: list[str]
    sentences: list[tuple[str, ...]]
    swaps: list[tuple[Swap, ...]]

    @classmethod
    def read(cls, reader: ShardReader) -> Texts:
        """Reads all texts of a split."""
        columns = [
            [value.decode("utf-8") for value in reader.index[name].tolist()]
            for name in ("id", "relation", "image_id")
        ]
        sentences, swaps = zip(*edits.texts(reader), strict=True)
        return cls(*columns, list(sentences), list(swaps))

    def rows_of(self, classes: Iterable[str], *, most: int, seed: int) -> list[int]:
        """The rows of these classes, ascending; a seeded draw of `most` a class, 0 for all."""
        chosen: list[int] = []
        for number, name in enumerate(sorted(classes)):
            rows = [row for row, other in enumerate(self.classes) if other == name]
            if most and len(rows) > most:
                draw = np.random.default_rng([seed, number]).permutation(len(rows))[:most]
                rows = [rows[place] for place in draw]
            chosen += rows
        return sorted(chosen)


def seen_pairs(texts: Texts, rows: Sequence[int]) -> tuple[list[MinimalPair], list[Edit]]:
    """The minimal pairs of a data set's own negatives; their originals are rebuilt from the swaps.

    Args:
        texts: of the split.
        rows: of negative records.

    Returns:
        The pairs; and the originals that are no records of the split. A negative without recorded
        swaps, which was not made by swapping, is left out.

    Raises:
        ValueError: naming the record whose swaps do not fit its text.
    """
    known = {
        (image, sentences, name): record_id
        for image, sentences, name, record_id in zip(
            texts.images, texts.sentences, texts.classes, texts.ids, strict=True
        )
    }
    pairs, made = [], []
    for row in rows:
        if not texts.swaps[row]:
            continue
        positive = POSITIVE_OF[texts.classes[row]]
        try:
            original = edits.restore(texts.sentences[row], texts.swaps[row])
        except ValueError as error:
            raise ValueError(f"record {texts.ids[row]!r}: {error}; build the data anew") from None
        record_id = known.get((texts.images[row], original, positive))
        if record_id is None:
            record_id = f"{texts.ids[row]}#original"
            made.append(Edit(record_id, row, positive, original))
        pairs.append(MinimalPair(positive, record_id, texts.ids[row]))
    return pairs, made


def unseen_pairs(
    texts: Texts, rows: Sequence[int], keywords: AntonymList, *, seed: int
) -> tuple[list[MinimalPair], list[Edit]]:
    """Swaps the keywords of positive records by another list than the data set's.

    Args:
        texts: of the split.
        rows: of positive records.
        keywords: the list; texts without any of its keywords are left out.
        seed: chooses among several opposites.

    Returns:
        The pairs, and the swapped records.
    """
    pairs, made = [], []
    for row in rows:
        rng = np.random.default_rng([seed, row])
        sentences, swaps = swap(texts.sentences[row], keywords, rng)
        if swaps:
            name, record_id = texts.classes[row], f"{texts.ids[row]}#unseen"
            made.append(Edit(record_id, row, relations.NEGATIVE_OF[name], tuple(sentences)))
            pairs.append(MinimalPair(name, texts.ids[row], record_id))
    return pairs, made


def without_seen(keywords: AntonymList, swaps: Iterable[Swap]) -> AntonymList:
    """The entries of a list that share no word with what was swapped in training.

    Args:
        keywords: the list.
        swaps: of all training records.
    """
    seen: set[str] = set()
    for _, _, old, new in swaps:
        seen.update(re.findall(r"\w+", f"{old} {new}".lower()))
    seen -= _FUNCTION_WORDS
    return AntonymList(
        tuple(
            entry
            for entry in keywords.entries
            if not entry.opposites
            or not seen & set(re.findall(r"\w+", " ".join((entry.keyword, *entry.opposites))))
        )
    )


def shuffled_images(texts: Texts, rows: Sequence[int], *, seed: int) -> list[Edit]:
    """Gives each record the image of another record of its class, each image as often as before.

    Args:
        texts: of the split.
        rows: the records.
        seed: of the order.

    Returns:
        The records with other images; a class whose records all show one image has none.
    """
    made = []
    for number, name in enumerate(relations.RELATIONS):
        own = [row for row in rows if texts.classes[row] == name]
        images, counts = np.unique([texts.images[row] for row in own], return_counts=True)
        if len(images) < 2:
            continue
        rank = dict(
            zip(images, np.random.default_rng([seed, number]).permutation(len(images)), strict=True)
        )
        own.sort(key=lambda row: rank[texts.images[row]])
        # Records of one image lie side by side, so that this step leads beyond them.
        step = int(counts.max())
        made += [
            Edit(f"{texts.ids[row]}#shuffled", row, image_row=own[(place + step) % len(own)])
            for place, row in enumerate(own)
            if texts.images[row] != texts.images[own[(place + step) % len(own)]]
        ]
    return made


def score_pairs(
    pairs: Sequence[MinimalPair],
    place_of: Mapping[str, int],
    logits: np.ndarray,
    *,
    seed: int,
) -> dict[str, float]:
    """How a classifier does on minimal pairs: by class, over all pairs, and the classes' mean.

    Args:
        pairs: the pairs.
        place_of: record id -> row of `logits`.
        logits: [N, 8] float, in the order of `relations.RELATIONS`.
        seed: of the bootstrap.

    Returns:
        `<class>/...`, `all/...` and `macro/...` of: `both` (right on both, the accuracy of minimal
        pairs), `original`, `swapped` (right on that one), and `told_apart` (the negative class
        gains on the positive one when the text is swapped, whatever wins; a tie counts as half, so
        that chance is 0.5) and `same_answer` (as if nothing had been swapped); `pairs`, their
        number; for `all/both` its 95 % interval. No pairs give no metrics.
    """
    if not pairs:
        return {}
    names = list(relations.RELATIONS)
    positive = np.array([names.index(pair.relation) for pair in pairs])
    negative = np.array([names.index(relations.NEGATIVE_OF[pair.relation]) for pair in pairs])
    original = logits[[place_of[pair.original] for pair in pairs]]
    swapped = logits[[place_of[pair.swapped] for pair in pairs]]
    every = np.arange(len(pairs))
    gain = swapped[every, negative] - swapped[every, positive]
    gain = gain - (original[every, negative] - original[every, positive])
    right = {
        "original": original.argmax(axis=1) == positive,
        "swapped": swapped.argmax(axis=1) == negative,
        # Who does not read the text gives the same scores twice: half right, as by chance.
        "told_apart": (np.sign(gain) + 1) / 2,
        "same_answer": original.argmax(axis=1) == swapped.argmax(axis=1),
    }
    right["both"] = right["original"] & right["swapped"]
    metrics: dict[str, float] = {"all/pairs": float(len(pairs))}
    present = [name for name in relations.NEGATIVE_OF if (positive == names.index(name)).any()]
    for what, values in right.items():
        by_class = {name: float(values[positive == names.index(name)].mean()) for name in present}
        metrics |= {f"{name}/{what}": value for name, value in by_class.items()}
        metrics[f"all/{what}"] = float(values.mean())
        metrics[f"macro/{what}"] = float(np.mean(list(by_class.values())))
    for name in present:
        metrics[f"{name}/pairs"] = float((positive == names.index(name)).sum())
    low, high = classification.bootstrap_interval(
        lambda values: float(np.mean(values)), right["both"], seed=seed
    )
    return metrics | {"all/both_low": low, "all/both_high": high}
