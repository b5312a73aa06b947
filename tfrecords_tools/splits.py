"""Which pair stands in which split, so that no image, text or group stands in two.

Official splits are kept. Pairs without one are dealt out by connected component (pairs that share
an image, a text or a group), and what would still stand in two splits is dropped: test wins over
val, val over train.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from tfrecords_tools.readers import base
from tfrecords_tools.readers.base import Pair

_PRECEDENCE = ("test", "val", "train")


class PlanError(RuntimeError):
    """Raw data from which no sound data set can be made; the message says what to mend."""


@functools.lru_cache(maxsize=1 << 20)
def normal_text(sentences: tuple[str, ...]) -> str:
    """A text as splits compare it: case, space and punctuation folded."""
    text = unicodedata.normalize("NFKC", " ".join(sentences)).casefold()
    return " ".join(re.findall(r"\w+", text))


def keys_of(pair: Pair, image_ids: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What must not stand in two splits: the pair's image, text and group."""
    return (
        ("image", image_ids[pair.image_path]),
        ("text", normal_text(pair.sentences)),
        ("group", pair.group),
    )


def assign_splits(
    pairs: Sequence[Pair],
    image_ids: Mapping[str, str],
    fractions: Sequence[float],
    *,
    seed: int,
) -> tuple[list[Pair], dict[str, int]]:
    """Gives a split to each pair that has no official one, by connected component.

    Pairs that share an image, a text or a group stay together; a component that touches pairs
    with an official split takes the first of test, val, train that it touches. The others are
    dealt out largest first, each to the split that lacks most pairs of its rarest class.

    Returns:
        All pairs, each with a split; and the number and largest size of components.
    """
    official: dict[tuple[str, str], str] = {}
    keys: dict[int, tuple] = {}
    for index, pair in enumerate(pairs):
        keys[index] = keys_of(pair, image_ids)
        for key in keys[index] if pair.split else ():
            official[key] = min(pair.split, official.get(key, "train"), key=_PRECEDENCE.index)
    members = [index for index, pair in enumerate(pairs) if not pair.split]
    components = _components(members, keys)
    split_of: dict[int, str] = {}
    totals = collections.Counter(pairs[index].relation for index in members)
    goals = {
        (split, relation): fraction * total
        for split, fraction in zip(base.SPLITS, fractions, strict=True)
        for relation, total in totals.items()
    }
    filled: collections.Counter = collections.Counter()

    def order(component: list[int]) -> tuple:
        touched = any(key in official for index in component for key in keys[index])
        share = sum(1 / totals[pairs[index].relation] for index in component)
        first = min(pairs[index].id for index in component)
        return (not touched, -round(share, 9), digest(seed, "component", first))

    for component in sorted(components, key=order):
        touched = {official[k] for index in component for k in keys[index] if k in official}
        counts = collections.Counter(pairs[index].relation for index in component)

        # By its rarest class, for the others have more components to level them out.
        rarest = min(counts, key=lambda r: (totals[r], r))

        def missing(split: str, rarest=rarest) -> float:
            return goals[split, rarest] - filled[split, rarest]

        split = min(touched, key=_PRECEDENCE.index) if touched else max(base.SPLITS, key=missing)
        for relation, number in counts.items():
            filled[split, relation] += number
        split_of.update(dict.fromkeys(component, split))
    result = [
        dataclasses.replace(pair, split=split_of[index]) if index in split_of else pair
        for index, pair in enumerate(pairs)
    ]
    return result, {"number": len(components), "largest": max(map(len, components), default=0)}


def without_leaks(
    pairs: Sequence[Pair], image_ids: Mapping[str, str], *, dropped: collections.Counter
) -> list[Pair]:
    """Drops pairs whose image, text or group stands in a split that wins: test, val, train."""
    taken: dict[tuple[str, str], str] = {}
    kept: set[str] = set()
    for split in _PRECEDENCE:
        for pair in pairs:
            if pair.split != split:
                continue
            keys = keys_of(pair, image_ids)
            clash = next((key for key in keys if taken.get(key, split) != split), None)
            if clash:
                dropped[f"{split} pair whose {clash[0]} stands in {taken[clash]}"] += 1
                continue
            taken.update(dict.fromkeys(keys, split))
            kept.add(pair.id)
    return [pair for pair in pairs if pair.id in kept]


def check_splits(pairs: Iterable[Pair], image_ids: Mapping[str, str]) -> None:
    """Proves that no image, text or group stands in two splits.

    Raises:
        PlanError: naming the first that does; it would be a defect of this module.
    """
    seen: dict[tuple[str, str], Pair] = {}
    for pair in pairs:
        for key in keys_of(pair, image_ids):
            other = seen.setdefault(key, pair)
            if other.split != pair.split:
                raise PlanError(
                    f"{key[0]} {key[1]!r:.80} stands in {other.split} ({other.id}) and "
                    f"{pair.split} ({pair.id})"
                )


def balanced_ids(pairs: Iterable[Pair], *, per_class: int, seed: int) -> list[str]:
    """Up to `per_class` ids a class; pairs of a group already drawn come last.

    The groups are counted over all classes, so that a photo (or album) is drawn once if it can be.
    """
    by_class: dict[str, list[Pair]] = collections.defaultdict(list)
    for pair in pairs:
        by_class[pair.relation].append(pair)
    used: collections.Counter = collections.Counter()
    chosen: list[str] = []
    # The smallest classes choose first, for they have the fewest groups to choose from.
    for relation in sorted(by_class, key=lambda r: (len(by_class[r]), r)):
        pool = sorted(by_class[relation], key=lambda p: digest(seed, "balanced", p.id))
        for _ in range(min(per_class, len(pool))):
            best = min(range(len(pool)), key=lambda i: (used[pool[i].group], i))
            used[pool[best].group] += 1
            chosen.append(pool.pop(best).id)
    return sorted(chosen)


def _components(members: Iterable[int], keys: Mapping[int, tuple]) -> list[list[int]]:
    """The connected components of pairs that share a key (union-find)."""
    parent: dict[object, object] = {}

    def root(node: object) -> object:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    members = list(members)
    for index in members:
        for key in keys[index]:
            parent[root(key)] = root(index)
    components: dict[object, list[int]] = collections.defaultdict(list)
    for index in members:
        components[root(index)].append(index)
    return list(components.values())


def digest(seed: int, *key: str) -> bytes:
    """Bytes that depend on the seed and a key only: sorting by them is a seeded shuffle."""
    return hashlib.sha256("\0".join((str(seed), *key)).encode()).digest()
