import collections
import dataclasses

import pytest

from tfrecords_tools import splits


def test_texts_are_compared_with_case_space_and_punctuation_folded():
    assert splits.normal_text(("A  Dog,", "runs!")) == splits.normal_text(("a dog runs",))
    assert splits.normal_text(("Ｄog",)) == splits.normal_text(("dog",))
    assert splits.normal_text(("a dog",)) != splits.normal_text(("ad og",))


def test_check_splits_finds_a_leak(pair):
    a, b = pair("a", "x", "one", split="train"), pair("b", "x", "two", split="test")
    ids = {a.image_path: "1", b.image_path: "1"}
    with pytest.raises(splits.PlanError, match="image '1' stands in train"):
        splits.check_splits([a, b], ids)
    splits.check_splits([a, b], {a.image_path: "1", b.image_path: "2"})
    c = dataclasses.replace(b, sentences=("ONE.",))
    with pytest.raises(splits.PlanError, match="text 'one'"):
        splits.check_splits([a, c], {a.image_path: "1", b.image_path: "2"})


def test_balanced_ids_take_one_a_group_before_a_second(pair):
    pairs = [pair(f"a{i}", "x", f"t{i}", group=f"g{i % 4}") for i in range(40)]
    pairs += [pair(f"b{i}", "x", f"u{i}", "Illustration", group="g0") for i in range(3)]
    chosen = splits.balanced_ids(pairs, per_class=8, seed=0)
    assert sorted(name for name in chosen if name[0] == "b") == ["b0", "b1", "b2"]
    groups = collections.Counter(int(name[1:]) % 4 for name in chosen if name[0] == "a")
    # g0 was taken three times by the smaller class: the other groups come first, evenly.
    assert sum(groups.values()) == 8 and groups[0] <= 1
    assert max(groups[1], groups[2], groups[3]) <= 3
    assert splits.balanced_ids(pairs[::-1], per_class=8, seed=0) == chosen
