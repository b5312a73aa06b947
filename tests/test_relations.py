import itertools

import numpy as np
import pytest

from imgtext_tf import relations


def test_parts_of_the_classes():
    parts = relations.metric_parts()
    assert parts.shape == (8, 8)
    # Every class has one value of each metric, as Fig. 4 has it: rows are CMI 0 1, SC -1 0 1,
    # STAT T 0 I.
    assert (parts[:2].sum(0) == 1).all() and (parts[2:5].sum(0) == 1).all()
    by_name = dict(zip(relations.RELATIONS, parts.T, strict=True))
    np.testing.assert_array_equal(by_name["Uncorrelated"], [1, 0, 0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(by_name["Interdependent"], [1, 0, 0, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(by_name["Bad Illustration"], [0, 1, 1, 0, 0, 1, 0, 0])


def test_ten_leaves_are_undefined():
    leaves = itertools.product((0, 1), (-1, 0, 1), ("T", "0", "I"))
    found = [relations.relation_of(*leaf) for leaf in leaves]
    assert found.count(relations.UNDEFINED) == 10
    assert sorted(set(found) - {relations.UNDEFINED}) == sorted(relations.RELATIONS)
    with pytest.raises(ValueError, match="2"):
        relations.relation_of(2, 0, "0")


def test_a_negative_class_shares_its_positives_texts():
    names = [relations.RELATIONS[group] for group in relations.SOURCE_GROUPS]
    assert names[:5] == list(relations.RELATIONS[:5])
    assert names[5:] == ["Complementary", "Illustration", "Anchorage"]
