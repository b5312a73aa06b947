import numpy as np
import pytest

from imgtext_tf.metrics import agreement

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): rows are observers.
BINARY = ["0100000010", "1110010000"]
NOMINAL = ["aabbdcccedda", "babbbccceddd"]
# Four observers with missing values (.), Section C.
MISSING_VALUES = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
# Wikipedia, Krippendorff's alpha, "A computational example": three coders, 15 units.
THREE_CODERS = [".....34121133.3", "1.213343.......", "..21344.21133.4"]


def votes_of(observers: list[str]) -> tuple[np.ndarray, int]:
    """[units, observers] labels and their number."""
    values = sorted(set("".join(observers)) - {"."})
    rows = [[values.index(v) if v != "." else -1 for v in row] for row in observers]
    return np.array(rows).T, len(values)


def alpha_by_loops(votes):
    """1 - D_o / D_e with every pair of votes counted one by one, written from the definition."""
    units = [[v for v in unit if v >= 0] for unit in votes]
    units = [unit for unit in units if len(unit) > 1]
    pooled = [v for unit in units for v in unit]
    observed = expected = 0.0
    for unit in units:
        for i, a in enumerate(unit):
            for j, b in enumerate(unit):
                if i != j:
                    observed += (a != b) / (len(unit) - 1)
    for i, a in enumerate(pooled):
        for j, b in enumerate(pooled):
            if i != j:
                expected += (a != b) / (len(pooled) - 1)
    return 1 - observed / expected


@pytest.mark.parametrize(
    ("observers", "printed"),
    [(BINARY, 0.095), (NOMINAL, 0.692), (MISSING_VALUES, 0.743), (THREE_CODERS, 0.691)],
)
def test_alpha_of_published_examples(observers, printed):
    votes, labels = votes_of(observers)
    alpha = agreement.krippendorff_alpha(votes, num_labels=labels)
    assert alpha == pytest.approx(printed, abs=0.0005)
    assert alpha == pytest.approx(alpha_by_loops(votes), abs=1e-12)


def test_the_published_coincidence_matrix():
    """Krippendorff (2011), Section C: 40 values can be paired; the table's diagonal and margins."""
    votes, labels = votes_of(MISSING_VALUES)
    matrix = agreement.coincidence_matrix(votes, num_labels=labels)
    np.testing.assert_allclose(np.diag(matrix), [7, 10, 8, 4, 3])
    np.testing.assert_allclose(matrix.sum(axis=0), [9, 13, 10, 5, 3])
    np.testing.assert_allclose(matrix, matrix.T)


def test_alpha_of_random_votes_equals_the_loops():
    rng = np.random.default_rng(3)
    votes = rng.integers(-2, 5, [40, 4])
    assert agreement.krippendorff_alpha(votes, num_labels=5) == pytest.approx(alpha_by_loops(votes))
    one = np.where(votes < 0, -1, votes == 2)
    assert agreement.alpha_of_label(votes, 2, num_labels=5) == pytest.approx(alpha_by_loops(one))


def test_alpha_at_its_ends():
    same = np.array([[0, 0, 0], [1, 1, 1]])
    assert agreement.krippendorff_alpha(same, num_labels=2) == 1
    # Nobody ever said anything else, or nobody saw what another one saw.
    assert agreement.krippendorff_alpha(np.zeros([4, 3], int), num_labels=2) == 0
    assert agreement.krippendorff_alpha(np.array([[0, -1], [-1, 1]]), num_labels=2) == 0
    assert agreement.krippendorff_alpha(np.array([[0, 1], [1, 0]]), num_labels=2) < 0


def test_majority_needs_more_than_half_of_the_votes_cast():
    U, M = agreement.UNSURE, agreement.MISSING
    votes = [
        [0, 0, 1],  # two of three
        [0, 1, 2],  # nobody agrees
        [U, U, 1],  # dropped as unsure
        [1, U, M],  # one of two is no majority
        [1, 1, M],
        [2, M, M],
        [M, M, M],
        [0, 0, U],
    ]
    majority = agreement.majority_labels(np.array(votes), num_labels=3)
    assert majority.tolist() == [0, M, U, M, 1, 2, M, 0]


def test_vote_counts_by_hand():
    U, M = agreement.UNSURE, agreement.MISSING
    votes = np.array([[0, 0, 1], [0, U, M], [1, 1, 0]])
    counts = agreement.vote_counts([0, 0, 1], votes, num_labels=3)
    assert counts["hits"].tolist() == [3, 2, 0]
    assert counts["given"].tolist() == [5, 3, 0]
    assert counts["cast"].tolist() == [4, 3, 0]
    np.testing.assert_allclose(counts["precision"], [3 / 5, 2 / 3, 0])
    np.testing.assert_allclose(counts["recall"], [3 / 4, 2 / 3, 0])


@pytest.mark.parametrize("votes", [[[0, 3]], [[-3, 0]], [0, 1]])
def test_votes_out_of_range(votes):
    with pytest.raises(ValueError, match="vote"):
        agreement.krippendorff_alpha(np.array(votes), num_labels=3)


def test_given_labels_must_fit():
    with pytest.raises(ValueError, match="given for 1 pairs"):
        agreement.vote_counts([0, 1], np.array([[0, 1]]), num_labels=2)
    with pytest.raises(ValueError, match="outside of 0..1"):
        agreement.vote_counts([2], np.array([[0, 1]]), num_labels=2)
