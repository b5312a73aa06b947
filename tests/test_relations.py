import numpy as np
import pytest

from imgtext_tf import relations


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
