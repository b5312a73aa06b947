import collections
import dataclasses
import pathlib

import numpy as np
import pytest

from imgtext_tf import relations
from imgtext_tf.data.antonyms import load_antonyms
from tfrecords_tools import negatives, splits
from tfrecords_tools import plan as planning
from tfrecords_tools.readers import base
from tfrecords_tools.readers.base import BadRecord, Dropped

LIST = "keyword\topposites\tkind\tsource\n" + "".join(
    f"{old}\t{new}\tadjective\ttest\n"
    for old, new in [("red", "green|blue|white"), ("big", "small"), ("tall", "short")]
)


@pytest.fixture
def antonyms(tmp_path):
    path = tmp_path / "antonyms.tsv"
    path.write_text(LIST)
    return load_antonyms(path)


def splits_of(plan):
    return {pair.id: split for split, pairs in plan.pairs.items() for pair in pairs}


def test_test_wins_over_val_over_train_and_only_direct_copies_are_dropped(pair, antonyms):
    items = [
        pair("a", "x", "one", split="train"),
        pair("b", "x", "two", split="train"),
        pair("c", "y", "One!", split="test"),
        pair("d", "z", "three", split="val"),
        pair("e", "z", "four", split="train"),
        pair("f", "w", "THREE", split="test"),
        pair("g", "v", "five", split="train", group="album"),
        pair("h", "u", "six", split="test", group="album"),
    ]
    plan = planning.make_plan(items, antonyms)
    # "a" goes for c's text; "b" shares the image of "a" only and stays. "d" goes for f's text, so
    # "e", which shares d's image, stays. "g" goes for h's album.
    assert splits_of(plan) == {"b": "train", "c": "test", "e": "train", "f": "test", "h": "test"}
    assert plan.report["dropped"] == {
        "train pair whose text stands in test": 1,
        "val pair whose text stands in test": 1,
        "train pair whose group stands in test": 1,
    }


def test_unsplit_pairs_follow_what_they_touch_and_stay_together(pair, antonyms):
    items = [
        pair("a", "x", "one", split="test"),
        pair("b", "x", "two"),
        pair("c", "y", "two"),
        pair("d", "y", "three", group="g"),
        pair("e", "z", "four", group="g"),
    ]
    # b shares a's image, c b's text, d c's image, e d's group.
    plan = planning.make_plan(items, antonyms)
    assert set(splits_of(plan).values()) == {"test"} and len(splits_of(plan)) == 5


def test_unsplit_classes_reach_their_shares_in_spite_of_large_components(pair, antonyms):
    rng = np.random.default_rng(0)
    items = []
    # 30 slogans on 1 to 15 photos each; every photo stands in a second class, 100 more only there.
    photo = 0
    for slogan in range(30):
        for _ in range(rng.integers(1, 16)):
            items.append(pair(f"ad{photo}", f"p{photo}", f"slogan {slogan}", "Interdependent"))
            items.append(pair(f"net{photo}", f"p{photo}", f"concept {photo}", "Illustration"))
            photo += 1
    for extra in range(100):
        items.append(pair(f"net-{extra}", f"q{extra}", f"extra {extra}", "Illustration"))
    for seed in range(3):
        plan = planning.make_plan(items, antonyms, seed=seed)
        for relation in ("Interdependent", "Illustration"):
            total = sum(counts[relation] for counts in plan.report["pairs"].values())
            for split, goal in zip(base.SPLITS, (0.7, 0.1, 0.2), strict=True):
                assert abs(plan.report["pairs"][split][relation] / total - goal) < 0.02
        splits.check_splits([p for pairs in plan.pairs.values() for p in pairs], plan.image_ids)


def test_random_mixtures_never_leak_and_do_not_depend_on_the_order(pair, antonyms):
    rng = np.random.default_rng(1)
    names = iter(range(10_000))
    items = [
        pair(
            f"n{next(names)}",
            f"image{rng.integers(60)}",
            f"a red text {rng.integers(60)}",
            str(rng.choice(["Anchorage", "Illustration", "Uncorrelated", "Complementary"])),
            split=str(rng.choice(["", "train", "val", "test"])),
            group=f"g{rng.integers(80)}",
        )
        for _ in range(300)
    ]
    plan = planning.make_plan(items, antonyms, negatives_per_positive=2)
    seen = collections.defaultdict(set)
    for split, pairs in plan.pairs.items():
        assert all(p.split == split for p in pairs)
        for p in pairs:
            seen["image", pathlib.Path(p.image_path).read_text()].add(split)
            seen["text", p.sentences[0].lower()].add(split)
            seen["group", p.group].add(split)
    assert seen and all(len(splits) == 1 for splits in seen.values())
    official = {item.id: item.split for item in items if item.split}
    assert all(official.get(name, split) == split for name, split in splits_of(plan).items())
    again = planning.make_plan(items[::-1], antonyms, negatives_per_positive=2)
    counts = [sum(map(len, p.pairs.values())) for p in (plan, again)]
    assert abs(counts[0] - counts[1]) < 0.1 * counts[0]
    repeat = planning.make_plan(items, antonyms, negatives_per_positive=2)
    assert repeat.pairs == plan.pairs


def test_negatives_share_split_and_group_and_record_their_swaps(pair, antonyms):
    items = [
        pair("a", "x", "A red car", split="val", group="g"),
        pair("b", "y", "A car", split="val"),
        pair("c", "z", "A big tall man", "Complementary", split="train"),
        pair("d", "w", "A big sky", "Interdependent", split="train"),
    ]
    plan = planning.make_plan(items, antonyms)
    made = {p.id: p for pairs in plan.pairs.values() for p in pairs if "#" in p.id}
    assert set(made) == {"a#swap0", "c#swap0"}
    a, c = made["a#swap0"], made["c#swap0"]
    assert (a.relation, a.split, a.group) == ("Bad Anchorage", "val", "g")
    ((sentence, start, old, new),) = a.swaps
    assert (sentence, start, old) == (0, 2, "red") and a.sentences == (f"A {new} car",)
    assert (c.relation, c.sentences) == ("Contrasting", ("A small short man",))
    shares = plan.report["positives that yield a negative"]
    assert shares["Anchorage"] == {"positives": 2, "share": 0.5, "paper": 0.434}
    assert shares["Complementary"]["share"] == 1.0


def test_several_negatives_have_distinct_texts(pair, antonyms):
    # "red" has three opposites, "big" one.
    items = [
        pair("a", "x", "A red car", split="train"),
        pair("b", "y", "A big car", split="train"),
    ]
    plan = planning.make_plan(items, antonyms, negatives_per_positive=3)
    texts = [p.sentences[0] for p in plan.pairs["train"] if p.id.startswith("a#")]
    assert sorted(texts) == ["A blue car", "A green car", "A white car"]
    assert [p.id for p in plan.pairs["train"] if p.id.startswith("b#")] == ["b#swap0"]
    none = planning.make_plan(items, antonyms, negatives_per_positive=0)
    assert len(splits_of(none)) == 2


def test_a_negative_that_says_what_a_true_caption_says_is_dropped(pair, antonyms):
    items = [
        pair("a", "x", "A big dog", split="train", group="g"),
        pair("b", "x", "a small dog", split="train", group="g"),
        pair("c", "y", "a small dog", split="test"),
        pair("d", "y", "A big cat", split="test"),
    ]
    plan = planning.make_plan([items[0], items[1]], antonyms)
    assert "a#swap0" not in splits_of(plan)
    assert plan.report["dropped"]["image and text that stand in another pair"] == 1
    # And one whose text stands in another split leaks no less than a positive does.
    plan = planning.make_plan([items[0], items[2], items[3]], antonyms)
    assert splits_of(plan).keys() >= {"a", "c", "d", "d#swap0"} - {"a#swap0"}
    assert "a#swap0" not in splits_of(plan)


def test_labelled_pairs_get_no_negatives(pair, antonyms):
    items = [pair("a", "x", "A red car", split="train")]
    labelled = [pair("b", "y", "A red bus", split="train")]
    plan = planning.make_plan(items, antonyms, labelled=labelled)
    assert set(splits_of(plan)) == {"a", "b", "a#swap0"}


def test_caps_hold_on_train_only_and_follow_the_seed(pair, antonyms):
    items = [
        pair(f"{split}{i}", f"{split}{i}", f"the red {split} {i}", split=split)
        for split in ("train", "test")
        for i in range(12)
    ]
    caps = {"Anchorage": 5, "Bad Anchorage": 3}
    plan = planning.make_plan(items, antonyms, caps=caps, seed=1)
    assert plan.report["pairs"]["train"] == {"Anchorage": 5, "Bad Anchorage": 3}
    assert plan.report["pairs"]["test"] == {"Anchorage": 12, "Bad Anchorage": 12}
    assert splits_of(plan) == splits_of(planning.make_plan(items, antonyms, caps=caps, seed=1))
    assert splits_of(plan) != splits_of(planning.make_plan(items, antonyms, caps=caps, seed=2))


def test_dead_images_take_no_place_under_a_cap(pair, antonyms):
    items = [pair(f"n{i}", f"x{i}", f"the tale {i}", split="train") for i in range(40)]
    items += [
        dataclasses.replace(
            pair(f"d{i}", "", f"dead tale {i}", split="train"), image_path=f"/no/{i}"
        )
        for i in range(40)
    ]
    plan = planning.make_plan(items, antonyms, caps={"Anchorage": 30}, max_bad_records=0.5)
    assert plan.report["pairs"]["train"] == {"Anchorage": 30}
    assert plan.report["bad records"] == 40


def test_table1():
    # The paper's total; each negative class over its positive gives the published share.
    assert sum(planning.TABLE1_CAPS.values()) == 224_856
    assert tuple(planning.TABLE1_CAPS) == relations.RELATIONS
    for positive, negative in relations.NEGATIVE_OF.items():
        share = planning.TABLE1_CAPS[negative] / planning.TABLE1_CAPS[positive]
        assert abs(share - negatives.PAPER_SWAP_SHARES[positive]) < 0.0006


def test_texts_are_cut(pair, antonyms):
    item = dataclasses.replace(pair("a", "x", "one"), sentences=tuple("abcdefghijklmn"))
    plan = planning.make_plan([item], antonyms, max_sentences=10)
    assert [p.sentences for pairs in plan.pairs.values() for p in pairs] == [tuple("abcdefghij")]


def test_bad_records_are_counted_and_limited(pair, antonyms):
    items = [pair(f"n{i}", f"x{i}", f"text {i}") for i in range(97)]
    missing = dataclasses.replace(pair("gone", "", "text"), image_path="/nowhere/gone.jpg")
    empty = pair("empty", "", "other text")
    items += [BadRecord("line 7", "no text"), missing, empty, items[0], Dropped("d", "a rule")]
    with pytest.raises(planning.BadRecordsError) as failure:
        planning.make_plan(items, antonyms)
    message = str(failure.value)
    # 97 pairs, one of them twice, one bad line, one missing, one empty image; drops do not count.
    assert "4 of 101 records are bad" in message and "--max_bad_records" in message
    for part in ("line 7: no text", "gone.jpg: No such file", "the file is empty", "stands twice"):
        assert part in message
    assert {record.id for record in failure.value.bad} == {"line 7", "gone", "empty", "n0"}
    plan = planning.make_plan(items, antonyms, max_bad_records=0.04)
    assert plan.report["bad records"] == 4 and plan.report["dropped"]["a rule"] == 1


@pytest.mark.parametrize("fault", ["missing", "empty", "a folder", "not readable"])
def test_every_file_that_cannot_be_an_image_is_found_before_the_caps(
    fault, pair, antonyms, tmp_path, monkeypatch
):
    path = tmp_path / "bad.jpg"
    if fault == "a folder":
        path.mkdir()
    elif fault != "missing":
        path.write_bytes(b"" if fault == "empty" else b"x")
    if fault == "not readable":  # root may read all
        monkeypatch.setattr(
            planning.os, "access", lambda path, _: not str(path).endswith("bad.jpg")
        )
    bad = [
        dataclasses.replace(pair(f"bad{i}", "", f"bad {i}", split="train"), image_path=str(path))
        for i in range(20)
    ]
    items = [pair(f"n{i}", f"x{i}", f"text {i}", split="train") for i in range(20)]
    plan = planning.make_plan(bad + items, antonyms, caps={"Anchorage": 20}, max_bad_records=0.5)
    assert plan.report["pairs"]["train"] == {"Anchorage": 20}
    reasons = {record.reason.split(": ")[-1] for record in plan.bad}
    assert reasons == {
        {
            "missing": "No such file or directory",
            "empty": "the file is empty",
            "a folder": "is no file",
            "not readable": "Permission denied",
        }[fault]
    }


def test_settings_that_cannot_be(pair, antonyms):
    with pytest.raises(planning.PlanError, match="three shares"):
        planning.make_plan([pair("a", "x", "t")], antonyms, split_fractions=(0.5, 0.2, 0.2))
    with pytest.raises(planning.PlanError, match="no pair"):
        planning.make_plan([], antonyms)


def test_images_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"some")
    (tmp_path / "b.jpg").write_bytes(b"")
    paths = [str(tmp_path / f"{name}.jpg") for name in "abc"]
    ids, sizes, faults = planning.hash_images(paths)
    assert list(ids) == paths[:1] and sizes == {paths[0]: 4}
    assert faults == {
        paths[1]: f"image {paths[1]}: the file is empty",
        paths[2]: f"image {paths[2]}: No such file or directory",
    }
