"""Agreement of users and methods: values by hand, loop forms, and what chance must get."""

import numpy as np
import pytest

from imgtext_tf.metrics import triplet_agreement

RNG = np.random.default_rng(0)


def loop_user_agreement(users, triplets, answers):
    """(plain, normalised) of each user, formula by formula."""
    found = {}
    for user in sorted(set(users)):
        scores, weights = [], []
        for name, triplet, answer in zip(users, triplets, answers, strict=True):
            if name != user or answer > 1:
                continue
            of_triplet = [a for t, a in zip(triplets, answers, strict=True) if t == triplet]
            o = [of_triplet.count(0), of_triplet.count(1), sum(a > 1 for a in of_triplet)]
            if o[0] + o[1] - 1 < 1:
                continue
            w = (o[0] + o[1] - 1) / (sum(o) - 1)
            scores.append(w * (o[answer] - 1) / (o[0] + o[1] - 1))
            weights.append(w)
        if scores:
            found[user] = (np.mean(scores), sum(scores) / sum(weights))
    return found


def test_the_notes_example_of_a_user():
    # (o1, o2, o3) = (4, 1, 2); a user who chose the first: w = 4/6, p = 3/4, s = 0.5.
    users, answers = list("abcdefg"), [0, 0, 0, 0, 1, 2, 3]
    found = loop_user_agreement(users, [0] * 7, answers)
    assert found["a"][0] == pytest.approx(0.5) and found["a"][1] == pytest.approx(0.75)
    values = triplet_agreement.user_agreement(users, np.zeros(7, int), np.array(answers), count=1)
    assert values["plain"] == pytest.approx(100 * np.mean([0.5] * 4 + [0]))


def test_users_equal_the_loop_form():
    users = [f"u{i}" for i in RNG.integers(0, 7, 300)]
    triplets, answers = RNG.integers(0, 20, 300), RNG.integers(0, 4, 300)
    # The first of several answers of a user to a triplet is the one that counts.
    first = {}
    for user, triplet, answer in zip(users, triplets, answers, strict=True):
        first.setdefault((user, triplet), answer)
    names, places = zip(*first, strict=True)
    expected = loop_user_agreement(list(names), list(places), list(first.values()))
    values = triplet_agreement.user_agreement(users, triplets, answers, count=20)
    plain, normalised = np.array(list(expected.values())).T
    assert values["plain"] == pytest.approx(100 * plain.mean())
    assert values["plain_std"] == pytest.approx(100 * plain.std())
    assert values["normalised"] == pytest.approx(100 * normalised.mean())
    assert values["users"] == len(expected)


def test_a_method_by_hand():
    counts = np.array([(4, 1, 0), (2, 2, 1), (0, 1, 4), (0, 0, 5)])
    picks = np.array([1, 2, 2, 1])
    first, second = (picks == 1).astype(float), (picks == 2).astype(float)
    values = triplet_agreement.method_agreement(first, second, counts)
    assert values["plain"] == pytest.approx(35.0)
    assert values["normalised"] == pytest.approx(70.0)
    assert values["triplets"] == 4


def test_a_tie_counts_half_for_each():
    values = triplet_agreement.method_agreement([0.5], [0.5], np.array([[3, 1, 0]]))
    assert values["plain"] == pytest.approx(50)


def test_a_guess_gets_50_normalised_only():
    counts = np.stack([RNG.integers(0, 3, 4000), RNG.integers(0, 3, 4000), np.ones(4000)], axis=1)
    values = triplet_agreement.method_agreement(RNG.random(4000), RNG.random(4000), counts)
    assert values["normalised"] == pytest.approx(50, abs=2.5)
    assert values["plain"] < 40


def test_triplets_without_an_answer_do_not_count():
    counts = np.array([(1, 0, 0), (0, 0, 0)])
    assert triplet_agreement.method_agreement([1, 0], [0, 1], counts)["plain"] == 100
    with pytest.raises(ValueError, match="no triplet"):
        triplet_agreement.method_agreement([1], [0], np.zeros([1, 3]))
    with pytest.raises(ValueError, match="no user"):
        triplet_agreement.user_agreement(["a"], np.array([0]), np.array([0]), count=1)
