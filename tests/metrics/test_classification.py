import numpy as np
import pytest
import sklearn.metrics

from imgtext_tf.metrics import classification

# Otto2020, Tables 4 and 5: rows are the truth; here "Undefined" is the last column.
TABLE_4 = np.array(
    [
        [96, 4, 7, 21, 1, 4, 13, 1, 2],
        [3, 92, 1, 0, 1, 0, 0, 0, 3],
        [0, 1, 93, 0, 2, 9, 0, 0, 1],
        [0, 0, 0, 82, 0, 0, 12, 0, 1],
        [4, 5, 25, 1, 41, 2, 1, 5, 11],
        [0, 0, 2, 0, 0, 85, 0, 0, 0],
        [0, 0, 0, 8, 0, 0, 63, 0, 0],
        [2, 0, 4, 0, 6, 33, 0, 41, 9],
    ]
)
PRECISION_4 = [91.43, 90.20, 70.45, 73.21, 80.39, 63.91, 70.79, 87.23]
RECALL_4 = [64.43, 92.00, 87.74, 86.32, 43.16, 97.70, 88.73, 43.16]
TABLE_5 = np.array(
    [
        [67, 3, 5, 23, 34, 5, 11, 1],
        [0, 94, 0, 0, 5, 0, 0, 1],
        [0, 0, 93, 0, 4, 9, 0, 0],
        [0, 0, 0, 84, 0, 0, 11, 0],
        [2, 2, 0, 2, 83, 0, 0, 6],
        [0, 0, 3, 0, 0, 84, 0, 0],
        [0, 0, 0, 2, 0, 0, 69, 0],
        [2, 0, 0, 0, 21, 1, 0, 71],
    ]
)
CLASSES = [f"class {index}" for index in range(8)]


def labels_of_matrix(matrix):
    """Truth and prediction, pair by pair; the column beyond the classes is label -1."""
    truth, predicted = [], []
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            truth += [row] * count
            predicted += [column if column < len(matrix) else -1] * count
    return np.array(truth), np.array(predicted)


def test_table_4_of_the_paper():
    truth, predicted = labels_of_matrix(TABLE_4)
    matrix = classification.confusion_matrix(truth, predicted, num_classes=8, undefined=True)
    np.testing.assert_array_equal(matrix, TABLE_4)
    scores = classification.precision_recall_f1(matrix)
    np.testing.assert_allclose(100 * scores["precision"], PRECISION_4, atol=0.0051)
    np.testing.assert_allclose(100 * scores["recall"], RECALL_4, atol=0.0051)
    assert 100 * classification.accuracy(matrix) == pytest.approx(74.31, abs=0.005)
    metrics = classification.classification_metrics(truth, predicted, CLASSES)
    # Worked out from the table: macro P 78.45, macro R 75.40, macro F1 74.25, 27 undefined.
    assert 100 * metrics["macro_precision"] == pytest.approx(78.45, abs=0.005)
    assert 100 * metrics["macro_recall"] == pytest.approx(75.40, abs=0.005)
    assert 100 * metrics["macro_f1"] == pytest.approx(74.25, abs=0.005)
    assert metrics["undefined"] == pytest.approx(27 / 798)


def test_table_5_of_the_paper():
    truth, predicted = labels_of_matrix(TABLE_5)
    matrix = classification.confusion_matrix(truth, predicted, num_classes=8)
    np.testing.assert_array_equal(matrix, TABLE_5)
    assert 100 * classification.accuracy(matrix) == pytest.approx(80.83, abs=0.005)
    metrics = classification.classification_metrics(truth, predicted, CLASSES)
    # Printed: Illustration P 75.7, Bad Illustration P 75.8, Anchorage P 56.5, Uncorrelated R 45.
    printed = {
        "precision/class 3": 75.7,
        "precision/class 6": 75.8,
        "precision/class 4": 56.5,
        "recall/class 0": 45.0,
        "recall/class 7": 74.7,
    }
    for name, value in printed.items():
        assert 100 * metrics[name] == pytest.approx(value, abs=0.05)
    assert 100 * metrics["macro_f1"] == pytest.approx(81.56, abs=0.005)
    assert metrics["support/class 0"] == 149
    assert "undefined" not in metrics


def test_a_hand_worked_matrix():
    # truth 0 0 0 1 1 2, predicted 0 0 1 1 0 1: class 2 is never predicted.
    matrix = classification.confusion_matrix(
        np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1]), num_classes=3
    )
    np.testing.assert_array_equal(matrix, [[2, 1, 0], [1, 1, 0], [0, 1, 0]])
    scores = classification.precision_recall_f1(matrix)
    np.testing.assert_allclose(scores["precision"], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(scores["recall"], [2 / 3, 1 / 2, 0])
    # F1 = 2 hits / (support + predicted).
    np.testing.assert_allclose(scores["f1"], [4 / 6, 2 / 5, 0])
    assert classification.macro(scores["recall"], scores["support"]) == pytest.approx(
        (2 / 3 + 1 / 2) / 3
    )


def test_scikit_learn_agrees():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    matrix = classification.confusion_matrix(truth, predicted, num_classes=5)
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(truth, predicted))
    scores = classification.precision_recall_f1(matrix)
    expected = sklearn.metrics.precision_recall_fscore_support(truth, predicted)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(scores[name], values)
    assert classification.macro(scores["recall"], scores["support"]) == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(truth, predicted)
    )


def test_a_class_without_examples_is_zero_and_leaves_the_averages_alone():
    metrics = classification.classification_metrics(
        np.array([0, 0, 1]), np.array([0, 2, 1]), ["a", "b", "absent"]
    )
    assert metrics["recall/absent"] == 0 and metrics["support/absent"] == 0
    # Over "a" (1/2) and "b" (1) only.
    assert metrics["macro_recall"] == pytest.approx(0.75)
    assert not any(np.isnan(list(metrics.values())))
    assert classification.accuracy(np.zeros((2, 2), int)) == 0


def test_majority_baseline_gives_the_numbers_of_table_7():
    for counts, expected in (((249, 549), 68.80), ((253, 149, 396), 49.62)):
        truth = np.repeat(np.arange(len(counts)), counts)
        assert 100 * classification.majority_baseline(truth) == pytest.approx(expected, abs=0.005)


def test_the_majority_class_comes_from_the_training_labels():
    assert classification.majority_baseline(np.array([0, 1, 1, 1]), np.array([0, 0, 1])) == 0.25


@pytest.mark.parametrize(
    ("truth", "predicted"), [([0, 3], [0, 1]), ([0, 1], [0, -1]), ([0, -1], [0, 0]), ([0], [0, 1])]
)
def test_labels_out_of_range_raise(truth, predicted):
    with pytest.raises(ValueError, match="label|length"):
        classification.confusion_matrix(np.array(truth), np.array(predicted), num_classes=3)


def test_bootstrap_interval_is_the_binomial_one_and_repeatable():
    correct = np.repeat([0.0, 1.0], 200)
    low, high = classification.bootstrap_interval(np.mean, correct, seed=1, resamples=2000)
    # Normal approximation: 0.5 +- 1.96 * sqrt(0.25 / 400) = 0.451 .. 0.549.
    assert low == pytest.approx(0.451, abs=0.008) and high == pytest.approx(0.549, abs=0.008)
    again = classification.bootstrap_interval(np.mean, correct, seed=1, resamples=2000)
    assert (low, high) == again


def test_bootstrap_draws_the_same_rows_from_all_arrays():
    values = np.arange(50.0)
    difference = classification.bootstrap_interval(
        lambda a, b: float(np.mean(a - b)), values + 2, values, seed=0, resamples=50
    )
    assert difference == (2.0, 2.0)


@pytest.mark.parametrize("arrays", [(np.zeros(0),), (np.zeros(2), np.zeros(3))])
def test_bootstrap_needs_rows_of_one_length(arrays):
    with pytest.raises(ValueError, match="length"):
        classification.bootstrap_interval(lambda *_: 0.0, *arrays, seed=0)


def test_telling_groups_apart_is_a_part_of_the_accuracy():
    # Classes 0 and 1 share a source, 2 stands alone; the last column is Undefined.
    matrix = np.array([[5, 3, 1, 1], [2, 1, 0, 0], [1, 0, 6, 0]])
    metrics = classification.group_metrics(matrix, [0, 0, 2])
    # In the group: 5 + 3 + 2 + 1 + 6 of 20, right 5 + 1 + 6; the oracle says 0 and 2: 10 + 7.
    assert metrics["group_accuracy"] == 17 / 20
    assert metrics["accuracy_within_group"] == 12 / 17
    assert metrics["group_oracle"] == 17 / 20
