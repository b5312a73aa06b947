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


def test_a_negative_class_shares_its_positives_texts():
    names = [relations.RELATIONS[group] for group in relations.SOURCE_GROUPS]
    assert names[:5] == list(relations.RELATIONS[:5])
    assert names[5:] == ["Complementary", "Illustration", "Anchorage"]


ORDERS = list(itertools.permutations(relations.METRIC_VALUES))


def columns(leaves) -> dict[str, list]:
    """Leaves (cmi, sc, stat) as the predicted values of each metric."""
    values = list(zip(*leaves, strict=True)) or [()] * 3
    return dict(zip(relations.METRIC_VALUES, map(list, values), strict=True))


@pytest.mark.parametrize("order", ORDERS, ids=">".join)
def test_every_order_gives_the_leaf_of_figure_4(order):
    leaves = list(relations.LEAVES)
    expected = [relations.relation_of(*leaf) for leaf in leaves]
    assert relations.cascade(columns(leaves), order=order) == expected


def test_eighteen_leaves_of_which_ten_are_discarded():
    """Section 3.3, cases A to D."""
    discarded = {leaf for leaf, name in relations.LEAVES.items() if name == relations.UNDEFINED}
    cases = {(0, -1, stat) for stat in "T0I"} | {(0, 0, stat) for stat in "TI"}
    cases |= {(0, 1, stat) for stat in "TI"} | {(1, 0, stat) for stat in "T0I"}
    assert len(relations.LEAVES) == 18 and discarded == cases


def test_no_pairs_give_no_classes():
    assert relations.cascade({"cmi": [], "sc": [], "stat": []}) == []


@pytest.mark.parametrize(
    ("changes", "order", "message"),
    [
        ({}, ("cmi", "sc"), "order is"),
        ({}, ("cmi", "sc", "sc"), "order is"),
        ({"cmi": [0]}, None, "different numbers"),
        ({"stat": ["0", 0]}, None, "pair 1 has stat = 0"),
        ({"sc": [2, 1]}, None, "pair 0 has sc = 2"),
    ],
)
def test_bad_input(changes, order, message):
    predicted = {"cmi": [0, 1], "sc": [0, 1], "stat": ["0", "I"]} | changes
    with pytest.raises(ValueError, match=message):
        relations.cascade(predicted, **({"order": order} if order else {}))


def test_a_missing_metric_is_named():
    with pytest.raises(ValueError, match="no values of stat"):
        relations.cascade({"cmi": [0], "sc": [0]})


def test_labels_of_the_predecessor():
    """Otto2020, Section 5.1: CMI = 0, 1, 2 to 0, CMI = 3, 4 to 1, and SC = +-0.5 to +-1."""
    levels = [relations.from_predecessor(cmi, 0)[0] for cmi in range(5)]
    assert levels == [0, 0, 0, 1, 1]
    halves = [relations.from_predecessor(0, sc / 2)[1] for sc in range(-2, 3)]
    assert halves == [-1, -1, 0, 1, 1]
    # As annotated: 5 and 4 are less than 3 and 2; 1, 6 and 7 were left out.
    annotated = {
        level: relations.from_predecessor(relations.PREDECESSOR_CMI[level], 1)[0]
        for level in relations.PREDECESSOR_CMI
    }
    assert annotated == {0: 0, 5: 0, 4: 0, 3: 1, 2: 1}
    for wrong in ((5, 0), (-1, 0), (0, 0.25)):
        with pytest.raises(ValueError, match="use 0..4"):
            relations.from_predecessor(*wrong)


def test_marginals_sum_over_the_classes():
    """Against a loop over classes and metrics."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    found = relations.marginals(probabilities)
    for place, (metric, values) in enumerate(relations.METRIC_VALUES.items()):
        expected = np.zeros([5, len(values)])
        for label, name in enumerate(relations.RELATIONS):
            value = relations.METRICS_OF_RELATION[name][place]
            expected[:, values.index(value)] += probabilities[:, label]
        np.testing.assert_allclose(found[metric], expected)
        np.testing.assert_allclose(found[metric].sum(axis=1), 1)


def test_labels_of_ones_own_have_an_order_and_no_metrics():
    own = ("Parallel", "Anchorage", "Additive")
    assert relations.labels_of("relation", own) == own
    assert relations.label_index("relation", "Additive", own) == 2
    with pytest.raises(ValueError, match="'Illustration': use one of Parallel, Anchorage"):
        relations.label_index("relation", "Illustration", own)
    with pytest.raises(ValueError, match="no 'cmi'"):
        relations.labels_of("cmi", own)


def test_labels_of_the_paper():
    assert relations.labels_of("relation") == relations.RELATIONS
    assert relations.labels_of("sc") == ("sc -1", "sc 0", "sc 1")
    assert relations.label_index("sc", "Bad Anchorage") == 0
    for call in (relations.labels_of, lambda t: relations.label_index(t, "Anchorage")):
        with pytest.raises(ValueError, match="unknown target 'class'"):
            call("class")
