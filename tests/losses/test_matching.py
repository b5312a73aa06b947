import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import losses

RNG = np.random.default_rng(0)
SCORES = RNG.uniform(-1, 1, (6, 6)).astype("float32")
SAME = np.zeros((6, 6), bool)
SAME[0, 1] = SAME[1, 0] = SAME[3, 5] = SAME[5, 3] = True


def hinge(scores, margin, mining, same):
    """Row by row, from the papers' sums."""
    total, size = 0.0, len(scores)
    for transposed in (scores, scores.T):
        for anchor in range(size):
            own = transposed[anchor][anchor]
            costs = []
            for other in range(size):
                if other == anchor or same[anchor][other]:
                    continue
                if mining == "semi_hard" and not transposed[anchor][other] < own:
                    continue
                costs.append(max(0.0, margin + transposed[anchor][other] - own))
            total += sum(costs) if mining == "all" else max(costs, default=0.0)
    return total


@pytest.mark.parametrize("mining", losses.MINING)
@pytest.mark.parametrize("same", [None, SAME])
def test_hinge_equals_the_loop_form(mining, same):
    found = losses.bidirectional_hinge(SCORES, margin=0.3, mining=mining, same_image=same)
    expected = hinge(SCORES, 0.3, mining, np.zeros((6, 6), bool) if same is None else same)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert expected > 0


def test_a_collapsed_model_stands_at_twice_batch_times_margin():
    # The published plateau: 51.2 at a batch of 128 and a margin of 0.2.
    np.testing.assert_allclose(losses.bidirectional_hinge(np.ones((128, 128))), 51.2, rtol=1e-5)


def test_a_solved_batch_costs_nothing():
    assert float(losses.bidirectional_hinge(np.eye(5), mining="all")) == 0


def test_scores_by_hand():
    images, captions = np.array([[1.0, 0], [0.6, 0.8]]), np.array([[0.0, 1], [1, 0], [2, 2]])
    np.testing.assert_allclose(losses.cosine_scores(images, captions), [[0, 1, 2], [0.8, 0.6, 2.8]])
    # -(max(0, c - i)^2): (0,1)-(1,0) exceeds by 1 in one place; (2,2)-(1,0) by 1 and 2.
    found = losses.order_scores(images, captions)
    np.testing.assert_allclose(found, [[-1, 0, -5], [-0.04, -0.16, -3.4]], atol=1e-6)


@pytest.mark.parametrize("target", losses.TARGETS)
def test_modality_losses_by_hand(target):
    logits, is_image = np.array([2.0, -1.0, 0.5], "float32"), np.array([1.0, 0.0, 0.0], "float32")
    goal = {"reverse": is_image, "flip": 1 - is_image, "uniform": np.full(3, 0.5)}[target]
    chance = 1 / (1 + np.exp(-logits))
    entropy = -(goal * np.log(chance) + (1 - goal) * np.log(1 - chance)).mean()
    expected = -entropy if target == "reverse" else entropy
    found = losses.adversarial_loss(logits, is_image, target=target)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_reverse_fades_and_flip_grows_as_the_classifier_becomes_sure():
    sizes = {}
    for target in ("reverse", "flip"):
        for logit in (0.0, 8.0):
            logits = tf.constant([logit])
            with tf.GradientTape() as tape:
                tape.watch(logits)
                loss = losses.adversarial_loss(logits, tf.ones([1]), target=target)
            sizes[target, logit] = abs(float(tape.gradient(loss, logits)[0]))
    assert sizes["reverse", 8.0] < 0.001 < sizes["reverse", 0.0]
    assert sizes["flip", 8.0] > 0.99 > sizes["flip", 0.0]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="all, hardest, semi_hard"):
        losses.bidirectional_hinge(SCORES, mining="easy")
    with pytest.raises(ValueError, match="reverse, flip, uniform"):
        losses.adversarial_loss(np.zeros(2), np.zeros(2), target="none")
