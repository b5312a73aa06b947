"""Multi-label metrics: against scikit-learn, by hand, and with partial labels."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from imgtext_tf.metrics import multilabel

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=[60, 4])
LABELS = (RNG.uniform(size=[60, 4]) < [0.5, 0.3, 0.2, 0.4]).astype(int)


def test_average_precision_by_hand():
    """Relevant at places 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3."""
    scores, relevant = [0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 0]
    expected = (1 + 2 / 3 + 3 / 4) / 3
    assert multilabel.average_precision(np.array(scores), relevant) == pytest.approx(expected)
    assert np.isnan(multilabel.average_precision(np.array(scores), np.zeros(5)))


def test_equals_scikit_learn():
    found = multilabel.average_precisions(SCORES, LABELS)
    for label in range(4):
        expected = sklearn_metrics.average_precision_score(LABELS[:, label], SCORES[:, label])
        assert found[label] == pytest.approx(expected)
    assert multilabel.mean_average_precision(SCORES, LABELS) == pytest.approx(found.mean())


def test_unknown_cells_are_left_out_or_negative():
    partial = LABELS.copy()
    partial[::3, 0] = -1
    known = partial[:, 0] >= 0
    assert multilabel.average_precisions(SCORES, partial)[0] == pytest.approx(
        sklearn_metrics.average_precision_score(partial[known, 0], SCORES[known, 0])
    )
    absent = multilabel.average_precisions(SCORES, partial, unannotated="negative")[0]
    assert absent == pytest.approx(
        sklearn_metrics.average_precision_score(partial[:, 0] == 1, SCORES[:, 0])
    )


def test_labels_without_positives_or_negatives_are_left_out():
    labels = LABELS.copy()
    labels[:, 1], labels[:, 2] = 0, 1
    found = multilabel.average_precisions(SCORES, labels)
    assert np.isnan(found[[1, 2]]).all() and np.isfinite(found[[0, 3]]).all()
    assert multilabel.mean_average_precision(SCORES, labels) == pytest.approx(found[[0, 3]].mean())
    assert multilabel.mean_average_precision(SCORES[:, 1:2], labels[:, 1:2]) == 0
    with pytest.raises(ValueError, match="'maybe'"):
        multilabel.average_precisions(SCORES, labels, unannotated="maybe")


def test_curve_equals_scikit_learns():
    scores = np.round(SCORES, 1)  # many equal scores
    partial = np.where(RNG.uniform(size=LABELS.shape) < 0.2, -1, LABELS)
    precision, recall, thresholds = multilabel.precision_recall(scores, partial)
    known = partial >= 0
    theirs = sklearn_metrics.precision_recall_curve(partial[known] == 1, scores[known])
    np.testing.assert_allclose(precision, theirs[0][-2::-1])
    np.testing.assert_allclose(recall, theirs[1][-2::-1])
    np.testing.assert_allclose(thresholds, theirs[2][::-1])
    assert multilabel.recall_at_precision(scores, partial, 0.4) == recall[precision >= 0.4].max()
    assert multilabel.recall_at_precision(scores, partial, 1.01) == 0


def test_top_k():
    scores = np.array([[3, 2, 1], [1, 2, 3], [1, 1, 1]])
    assert multilabel.top_k_accuracy(scores, np.array([0, 0, 1]), 1) == pytest.approx(1 / 3)
    assert multilabel.top_k_accuracy(scores, np.array([0, 0, 1]), 2) == pytest.approx(2 / 3)


def test_precision_and_recall_of_phrases():
    ranked, truth = [["a", "b", "c"], ["d"]], [{"a", "c", "x", "y"}, {"d", "e"}]
    assert multilabel.precision_at(ranked, truth, 3).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert multilabel.recall_at(ranked, truth, 2).tolist() == [0.25, 0.5]
