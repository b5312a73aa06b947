"""From readers to a plan: the pairs of each split, in the order they are written.

The plan is a pure function of the raw data, the flags and the seed. It identifies images by content
(SHA-256), gives every pair a split (`splits`), caps classes, makes the negatives by keyword swaps,
and ends with the proof that no image, text or group stands in two splits.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import errno
import os
from collections.abc import Iterable, Mapping, Sequence

from tqdm import tqdm

from imgtext_tf import filesystem, relations, untrusted
from imgtext_tf.data.antonyms import AntonymList
from tfrecords_tools import negatives, splits
from tfrecords_tools.readers import base
from tfrecords_tools.readers.base import BadRecord, Dropped, Item, Pair
from tfrecords_tools.splits import PlanError

# Otto2020, Table 1.
TABLE1_CAPS = {
    "Uncorrelated": 60_000,
    "Interdependent": 1_007,
    "Complementary": 33_088,
    "Illustration": 5_447,
    "Anchorage": 62_637,
    "Contrasting": 31_368,
    "Bad Illustration": 4_099,
    "Bad Anchorage": 27_210,
}
# Before images are read, train classes are thinned to their cap and this much more.
_CAP_SLACK = 1.1


class BadRecordsError(PlanError):
    """More bad records than allowed; `bad` has them all."""

    def __init__(self, message: str, bad: Sequence[BadRecord]) -> None:
        """Keeps the records beside the message."""
        super().__init__(message)
        self.bad = list(bad)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The pairs of each split in the order they are written.

    Attributes:
        pairs: split -> pairs.
        image_ids: image path -> hex of sha256(file)[:16].
        image_bytes: image path -> size of the file.
        read: number of records the readers gave, bad ones included.
        bad: the records that could not be used.
        report: counts, drops and shares; JSON values.
    """

    pairs: dict[str, list[Pair]]
    image_ids: dict[str, str]
    image_bytes: dict[str, int]
    read: int
    bad: list[BadRecord]
    report: dict


def make_plan(
    items: Iterable[Item],
    antonyms: AntonymList,
    *,
    labelled: Iterable[Item] = (),
    seed: int = 0,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    caps: Mapping[str, int] | None = None,
    negatives_per_positive: int = 1,
    max_sentences: int = 10,
    max_bad_records: float = 0.01,
) -> Plan:
    """Plans a data set.

    Args:
        items: what the readers yield.
        antonyms: for the negatives.
        labelled: like `items`, but with labels as complete as they shall be: no negatives are made.
        seed: decides splits, caps, negatives and the order of the pairs.
        split_fractions: shares of train, val and test of the pairs without an official split.
        caps: most pairs of a class in train; None means `TABLE1_CAPS`, {} none.
        negatives_per_positive: most negatives of each positive, all of other texts.
        max_sentences: texts are cut to so many sentences.
        max_bad_records: the share of bad records above which this fails.

    Raises:
        PlanError: if there are too many bad records, no pairs, or settings that cannot be.

    Reference: Otto2020, Section 4.1 and Table 1.
    """
    if (
        len(split_fractions) != 3
        or min(split_fractions) < 0
        or abs(sum(split_fractions) - 1) > 1e-6
    ):
        raise PlanError(f"split fractions {split_fractions}: give three shares that sum to 1")
    caps = TABLE1_CAPS if caps is None else caps
    swappable: set[str] = set()
    pairs, bad, dropped = collect(items, labelled, swappable, max_sentences=max_sentences)
    read = len(pairs) + len(bad)
    # Before the caps: a dead image must not take the place of one that lives.
    pairs, imageless = with_image(pairs)
    bad += imageless
    thinned = {relation: int(cap * _CAP_SLACK) for relation, cap in caps.items()}
    pairs = capped(pairs, thinned, seed=seed, dropped=dropped)
    check_bad(bad, read, max_bad_records)
    image_ids, image_bytes, vanished = hash_images({pair.image_path for pair in pairs})
    for fault in vanished.values():  # All were there a moment ago.
        raise base.ReaderError(f"{fault}; run it again")
    if not pairs:
        raise PlanError("the sources give no pair; check the paths with tfrecords_tools.prepare")

    pairs, components = splits.assign_splits(pairs, image_ids, split_fractions, seed=seed)
    pairs = splits.without_leaks(pairs, image_ids, dropped=dropped)
    pairs = capped(pairs, caps, seed=seed, dropped=dropped)
    positives = [pair for pair in pairs if pair.id in swappable]
    made, shares = negatives.make_negatives(
        positives, antonyms, count=negatives_per_positive, seed=seed
    )
    pairs = splits.without_leaks(pairs + made, image_ids, dropped=dropped)
    pairs = capped(without_repeats(pairs, image_ids, dropped), caps, seed=seed, dropped=dropped)
    splits.check_splits(pairs, image_ids)

    pairs.sort(key=lambda pair: splits.digest(seed, "order", pair.id))
    by_split = {split: [p for p in pairs if p.split == split] for split in base.SPLITS}
    report = {
        **counts(by_split, image_ids),
        "components of pairs without an official split": components,
        "dropped": dict(sorted(dropped.items())),
        "positives that yield a negative": shares,
        "bad records": len(bad),
    }
    return Plan(by_split, image_ids, image_bytes, read, bad, report)


def collect(
    items: Iterable[Item], labelled: Iterable[Item], swappable: set[str], *, max_sentences: int
) -> tuple[list[Pair], list[BadRecord], collections.Counter]:
    """Sorts items into pairs (cut to `max_sentences`), bad records, and counts of drops.

    The ids of the pairs of `items`, not of `labelled`, are added to `swappable`.
    """
    pairs: dict[str, Pair] = {}
    bad: list[BadRecord] = []
    dropped: collections.Counter = collections.Counter()

    def take(stream: Iterable[Item]) -> None:
        for item in tqdm(stream, desc="read", unit="record", mininterval=1):
            if isinstance(item, BadRecord):
                bad.append(item)
            elif isinstance(item, Dropped):
                dropped[item.reason] += 1
            elif item.id in pairs:
                bad.append(BadRecord(item.id, "the id stands twice; make ids unique"))
            else:
                pairs[item.id] = dataclasses.replace(item, sentences=item.sentences[:max_sentences])

    take(items)
    swappable.update(pairs)
    take(labelled)
    return list(pairs.values()), bad, dropped


def with_image(pairs: Sequence[Pair]) -> tuple[list[Pair], list[BadRecord]]:
    """Parts pairs into those whose image file can be read and records of the others."""
    faults = {path: _fault(path) for path in {pair.image_path for pair in pairs}}
    bad = [
        BadRecord(pair.id, f"image {pair.image_path}: {faults[pair.image_path]}")
        for pair in pairs
        if faults[pair.image_path]
    ]
    return [pair for pair in pairs if not faults[pair.image_path]], bad


def _fault(path: str) -> str:
    """Why a file cannot be used; "" if it can."""
    try:
        size = filesystem.size(path)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not filesystem.isfile(path):
        return "is no file"
    if not filesystem.is_remote(path) and not os.access(path, os.R_OK):
        return os.strerror(errno.EACCES)
    return "" if size else "the file is empty"


def hash_images(
    paths: Iterable[str],
) -> tuple[dict[str, str], dict[str, int], dict[str, str]]:
    """Reads every image file once.

    Returns:
        Path -> hex of sha256(file)[:16]; path -> bytes; path -> reason, of those not readable.
    """
    paths = sorted(paths)

    def read(path: str) -> tuple[str, int, str]:
        try:
            size = untrusted.size_of(path)  # a pipe would never end
            fault = "" if size else f"image {path}: the file is empty"
            return filesystem.sha256_of(path)[:16], size, fault
        except untrusted.DamagedError:
            return "", 0, f"image {path}: is no file"
        except OSError as error:
            return "", 0, f"image {path}: {error.strerror or error}"

    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = tqdm(pool.map(read, paths), total=len(paths), desc="hash", unit="image")
        of_path = dict(zip(paths, found, strict=True))
    return (
        {path: image_id for path, (image_id, _, fault) in of_path.items() if not fault},
        {path: size for path, (_, size, fault) in of_path.items() if not fault},
        {path: fault for path, (_, _, fault) in of_path.items() if fault},
    )


def check_bad(bad: Sequence[BadRecord], read: int, max_bad_records: float) -> None:
    """Raises if too many records are bad.

    Raises:
        BadRecordsError: with examples and the mend.
    """
    if len(bad) <= max_bad_records * read:
        return
    examples = "\n".join(f"  {record.id}: {record.reason}" for record in bad[:20])
    raise BadRecordsError(
        f"{len(bad)} of {read} records are bad, more than the share --max_bad_records="
        f"{max_bad_records} allows. Mend the data, or raise it to build without them:\n{examples}"
        + ("\n  ..." if len(bad) > 20 else ""),
        bad,
    )


def without_repeats(
    pairs: Sequence[Pair], image_ids: Mapping[str, str], dropped: collections.Counter
) -> list[Pair]:
    """Keeps the first of the pairs with one image and one text; the others could contradict it."""
    seen: set[tuple] = set()
    kept = []
    for pair in pairs:
        key = splits.keys_of(pair, image_ids)[:2]
        if key in seen:
            dropped["image and text that stand in another pair"] += 1
        else:
            kept.append(pair)
        seen.add(key)
    return kept


def capped(
    pairs: Sequence[Pair],
    caps: Mapping[str, int],
    *,
    seed: int,
    dropped: collections.Counter,
) -> list[Pair]:
    """Draws at most `caps[relation]` train pairs of each class; the draw depends on ids only."""
    chosen: dict[str, set[str]] = {}
    for relation, cap in caps.items():
        ids = [p.id for p in pairs if p.split == "train" and p.relation == relation]
        if len(ids) > cap:
            chosen[relation] = set(sorted(ids, key=lambda i: splits.digest(seed, "cap", i))[:cap])
            dropped[f"{relation} above its cap"] += len(ids) - cap
    return [
        pair
        for pair in pairs
        if pair.split != "train" or pair.relation not in chosen or pair.id in chosen[pair.relation]
    ]


def counts(by_split: Mapping[str, list[Pair]], image_ids: Mapping[str, str]) -> dict:
    """Pairs, distinct texts and distinct images of each split and class."""
    report: dict = {"pairs": {}, "distinct texts": {}, "distinct images": {}}
    for split, pairs in by_split.items():
        texts, images = collections.defaultdict(set), collections.defaultdict(set)
        for pair in pairs:
            texts[pair.relation].add(splits.normal_text(pair.sentences))
            images[pair.relation].add(image_ids[pair.image_path])
        number = collections.Counter(pair.relation for pair in pairs)
        order = dict.fromkeys((*relations.RELATIONS, *sorted(number)))
        classes = [relation for relation in order if number[relation]]
        report["pairs"][split] = {r: number[r] for r in classes}
        report["distinct texts"][split] = {r: len(texts[r]) for r in classes}
        report["distinct images"][split] = {r: len(images[r]) for r in classes}
    return report
