"""Negatives: positives whose keywords are swapped for opposites."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from imgtext_tf import relations
from imgtext_tf.data.antonyms import AntonymList
from imgtext_tf.data.keyword_swaps import swap
from tfrecords_tools.readers import base
from tfrecords_tools.readers.base import Pair
from tfrecords_tools.splits import normal_text

# Share of the positives that gave a negative, from Table 1's counts.
PAPER_SWAP_SHARES = {"Complementary": 0.948, "Illustration": 0.753, "Anchorage": 0.434}


def make_negatives(
    pairs: Sequence[Pair], antonyms: AntonymList, *, count: int, seed: int
) -> tuple[list[Pair], dict[str, dict[str, float]]]:
    """Swaps the keywords of every positive: once, in split train up to `count` times.

    Further draws give texts that differ; val and test keep the paper's one draw, so that they
    stay comparable whatever training is given.

    Returns:
        The negatives, with split and group of their positives; and for each positive class the
        number of positives and the share that yielded a negative, ours and the paper's.

    Reference: Otto2020, Section 4.1.
    """
    made: list[Pair] = []
    positives: collections.Counter = collections.Counter()
    yielded: collections.Counter = collections.Counter()
    for pair in pairs:
        if pair.relation not in relations.NEGATIVE_OF or count < 1:
            continue
        positives[pair.relation] += 1
        wanted = count if pair.split == "train" else 1
        rng = base.generator(seed, "swap", pair.id)
        texts = {normal_text(pair.sentences)}
        for _ in range(4 * wanted):
            sentences, swaps = swap(list(pair.sentences), antonyms, rng)
            text = normal_text(tuple(sentences))
            if not swaps or len(texts) > wanted:
                break
            if text in texts:
                continue
            texts.add(text)
            made.append(
                dataclasses.replace(
                    pair,
                    id=f"{pair.id}#swap{len(texts) - 2}",
                    sentences=tuple(sentences),
                    swaps=tuple(tuple(s) for s in swaps),
                    **base.metrics_of(relations.NEGATIVE_OF[pair.relation]),
                )
            )
        yielded[pair.relation] += len(texts) > 1
    shares = {
        relation: {
            "positives": positives[relation],
            "share": round(yielded[relation] / positives[relation], 4),
            "paper": PAPER_SWAP_SHARES[relation],
        }
        for relation in sorted(positives)
    }
    return made, shares
