import numpy as np
import pytest
import scipy.optimize

from imgtext_tf.metrics import calibration


def drawn(temperature, *, rows=4000, seed=0):
    """Logits, and labels drawn from the softmax of logits / temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, [rows, 5])
    shares = calibration.softmax(logits, temperature).cumsum(axis=1)
    return logits, (rng.random([rows, 1]) > shares).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    logits, truth = drawn(temperature)
    assert calibration.fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.1)


def test_the_temperature_has_the_least_cross_entropy():
    """Against SciPy's minimiser of the loss written out in loops."""
    logits, truth = drawn(2.0, rows=60)

    def loss(temperature):
        total = 0.0
        for row, label in zip(logits / temperature, truth, strict=True):
            total += np.log(sum(np.exp(z) for z in row)) - row[label]
        return total / len(truth)

    best = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 20), method="bounded").x
    assert calibration.fit_temperature(logits, truth) == pytest.approx(best, rel=1e-3)


def test_a_temperature_has_limits():
    logits = np.array([[2.0, 0], [0, 1.0]])
    assert calibration.fit_temperature(logits, [0, 1]) == 1
    assert calibration.fit_temperature(logits, [1, 0]) == 100
    with pytest.raises(ValueError, match="one row or more"):
        calibration.fit_temperature(np.zeros([0, 2]), [])


def test_calibration_error_in_loop_form():
    logits, truth = drawn(2.5, rows=300)
    probabilities, total = calibration.softmax(logits), 0.0
    for number in range(15):
        rights, sures = [], []
        for row, label in zip(probabilities, truth, strict=True):
            if number / 15 < row.max() <= (number + 1) / 15:
                rights.append(row.argmax() == label)
                sures.append(row.max())
        if rights:
            total += len(rights) / 300 * abs(np.mean(rights) - np.mean(sures))
    error = calibration.expected_calibration_error(probabilities, truth)
    assert error == pytest.approx(total) and error > 0.1
    mended = calibration.softmax(logits, calibration.fit_temperature(logits, truth))
    assert calibration.expected_calibration_error(mended, truth) < error / 2


def test_calibration_error_by_hand():
    # Sure by 0.8, and right once in two: 0.3. A certain right answer adds nothing.
    probabilities = [[0.8, 0.2], [0.2, 0.8], [1.0, 0.0], [1.0, 0.0]]
    assert calibration.expected_calibration_error(probabilities, [0, 0, 0, 0]) == pytest.approx(
        0.15
    )
    with pytest.raises(ValueError, match="one row"):
        calibration.expected_calibration_error(np.zeros([0, 2]), [])


def test_abstaining():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    rows = calibration.selective_accuracy(probabilities, [0, 1, 1, 0], [0.0, 0.65, 0.95])
    assert [row["answered"] for row in rows] == [1, 0.5, 0]
    assert [row["accuracy"] for row in rows] == [0.75, 1, 0]
