import numpy as np
import pytest

from imgtext_tf.metrics import modality, retrieval

RNG = np.random.default_rng(0)


def unit(*shape):
    values = RNG.normal(size=shape)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype("float32")


def by_sorting(scores, image_of):
    """The public protocol: argsort, rank of the best own caption and of the own image."""
    found, count = {}, len(scores)
    first = []
    for image in range(count):
        order = list(np.argsort(-scores[image]))
        first.append(min(order.index(c) for c in np.flatnonzero(image_of == image)))
    own = [
        list(np.argsort(-scores[:, caption])).index(image) for caption, image in enumerate(image_of)
    ]
    for name, ranks in (("i2t", np.array(first)), ("t2i", np.array(own))):
        for k in (1, 5, 10):
            found[f"{name}_r{k}"] = 100 * np.mean(ranks < k)
        found[f"{name}_median"] = np.floor(np.median(ranks)) + 1
        found[f"{name}_mean"] = ranks.mean() + 1
    found["rsum"] = sum(value for name, value in found.items() if "_r" in name)
    return found


# Images with 1 to 7 captions, in no order.
IMAGE_OF = RNG.permutation(np.repeat(np.arange(30), RNG.integers(1, 8, 30)))


@pytest.mark.parametrize(("block", "held"), [(1, 2**30), (100, 0), (100, 2**30), (10**6, 0)])
def test_equals_the_sorted_protocol(monkeypatch, block, held):
    monkeypatch.setattr(retrieval, "_BLOCK_VALUES", block)
    monkeypatch.setattr(retrieval, "_HELD", held)
    images, captions = unit(30, 8), unit(len(IMAGE_OF), 8)
    captions += images[IMAGE_OF]
    expected = by_sorting(images @ captions.T, IMAGE_OF)
    assert 0 < expected["t2i_r1"] < 100
    for found in (
        retrieval.retrieval_metrics(images, captions, IMAGE_OF),
        retrieval.retrieval_metrics_of_scores(images @ captions.T, IMAGE_OF),
    ):
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("held", [0, 2**30])
def test_order_scores(monkeypatch, held):
    monkeypatch.setattr(retrieval, "_CACHED", 7)
    monkeypatch.setattr(retrieval, "_HELD", held)
    images, captions = np.abs(unit(12, 4)), np.abs(unit(24, 4))
    image_of = np.arange(24) // 2
    scores = np.array([[-(np.maximum(0, c - i) ** 2).sum() for c in captions] for i in images])
    np.testing.assert_allclose(
        retrieval.similarity(images, captions, measure="order"), scores, atol=1e-6
    )
    found = retrieval.retrieval_metrics(images, captions, image_of, measure="order")
    assert found == pytest.approx(by_sorting(scores, image_of))


def test_median_of_an_even_count_is_rounded_down():
    # Ranks from 0: 0 and 3, median 1.5, which the protocol prints as 2.
    scores = np.eye(4)[:2]
    scores[1] = [4, 1, 3, 2]
    found = retrieval.retrieval_metrics_of_scores(
        np.vstack([scores, np.full((2, 4), -1) + np.eye(4)[2:] * 9]), np.arange(4)
    )
    assert found["i2t_median"] == 1 and found["i2t_mean"] == pytest.approx(1.75)


@pytest.mark.parametrize("count", [10, 50])
def test_a_collapsed_model_is_at_chance(count):
    image_of = np.arange(5 * count) // 5
    ones = np.ones((count, 3), "float32")
    found = retrieval.retrieval_metrics(ones, np.ones((5 * count, 3), "float32"), image_of)
    for k in (1, 5, 10):
        assert found[f"t2i_r{k}"] == pytest.approx(100 * min(1, k / count))
        # No own caption among the first k: draws without putting back.
        missed = np.prod([(5 * count - 5 - i) / (5 * count - i) for i in range(k)])
        assert found[f"i2t_r{k}"] == pytest.approx(100 * (1 - missed))
    assert found["t2i_mean"] == pytest.approx((count + 1) / 2)


def test_recall_among_ties_is_the_mean_over_their_orders():
    scores = np.array([[1.0, 2, 2, 2, 0, 2], [0, 0, 0, 0, 9, 9]])
    image_of = np.array([0, 0, 1, 0, 1, 1])
    ranks, rng = [], np.random.default_rng(0)
    for _ in range(4000):
        order = np.argsort(-(scores[0] + 1e-3 * rng.random(6)))
        ranks.append(np.flatnonzero(image_of[order] == 0)[0])
    found = retrieval.retrieval_metrics_of_scores(scores, image_of)
    assert found["i2t_r1"] == pytest.approx(50 * np.mean(np.array(ranks) < 1) + 50, abs=2)
    assert found["i2t_mean"] == pytest.approx((np.mean(ranks) + 1 + 1) / 2, abs=0.03)


def test_folds_are_means_over_parts_in_order():
    images, captions = unit(20, 6), unit(60, 6)
    image_of = np.arange(60) // 3
    whole = retrieval.retrieval_metrics(images, captions, image_of, folds=4)
    parts = [
        by_sorting(images[s : s + 5] @ captions[3 * s : 3 * s + 15].T, np.arange(15) // 3)
        for s in range(0, 20, 5)
    ]
    assert whole == pytest.approx({k: np.mean([part[k] for part in parts]) for k in parts[0]})


@pytest.mark.parametrize("held", [0, 2**30])
@pytest.mark.parametrize("folds", [1, 3])
def test_ensembles_average_scores(monkeypatch, tmp_path, held, folds):
    monkeypatch.setattr(retrieval, "_BLOCK_VALUES", 50)
    monkeypatch.setattr(retrieval, "_HELD", held)
    image_of = np.tile(np.arange(12), 3)  # captions of one image lie apart
    one = retrieval.Member(unit(12, 4), unit(36, 4))
    two = retrieval.Member(np.abs(unit(12, 5)), np.abs(unit(36, 5)), "order")
    matrices = [retrieval.similarity(m.images, m.captions, measure=m.measure) for m in (one, two)]
    size, parts = 12 // folds, []
    for start in range(0, 12, size):
        columns = np.flatnonzero((image_of >= start) & (image_of < start + size))
        mean = (matrices[0] + matrices[1])[start : start + size, columns] / 2
        parts.append(by_sorting(mean, image_of[columns] - start))
    expected = {name: np.mean([part[name] for part in parts]) for name in parts[0]}
    assert retrieval.ensemble_metrics([one, two], image_of, folds=folds) == pytest.approx(expected)
    np.save(tmp_path / "one.npy", matrices[0])
    stored = [np.load(tmp_path / "one.npy", mmap_mode="r"), matrices[1]]
    found = retrieval.retrieval_metrics_of_scores(stored, image_of, folds=folds)
    assert found == pytest.approx(expected)


def test_members_of_other_data_are_refused():
    one, two = (retrieval.Member(unit(n, 3), unit(4 * n, 3)) for n in (4, 2))
    with pytest.raises(ValueError, match="same images and captions"):
        retrieval.ensemble_metrics([one, two], np.arange(16) // 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.full((4, 3), np.nan)}, "finite"),
        ({"captions": np.ones((8, 2))}, "dimensions"),
        ({"image_of": np.array([0, 0, 1, 1, 2, 2, 2, 2])}, "1 of 4 images have no caption"),
        ({"image_of": np.arange(8)}, "captions are of images in"),
        ({"folds": 3}, "no 3 equal folds"),
        ({"measure": "l2"}, "cosine, order"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"images": np.ones((4, 3)), "captions": np.ones((8, 3)), "image_of": np.arange(8) // 2}
    with pytest.raises(ValueError, match=message):
        retrieval.retrieval_metrics(**given | change)


def test_modality_gap_of_apart_and_of_equal_distributions():
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(2, 400, 5))
    apart = modality.modality_gap(one, two + [8, 0, 0, 0, 0])
    assert apart["probe_accuracy"] > 0.99
    assert apart["centroid_distance"] == pytest.approx(8, abs=0.3)
    together = modality.modality_gap(one, two)
    assert abs(together["probe_accuracy"] - 0.5) < 0.1
    assert together["centroid_distance"] < 0.3
    same = modality.modality_gap(np.ones((8, 3)), np.ones((9, 3)))
    assert same == {"probe_accuracy": 0.5, "centroid_distance": 0.0}


def test_modality_gap_of_more_dimensions_than_points():
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(2, 20, 100))
    assert modality.modality_gap(one, two + 3)["probe_accuracy"] > 0.9
    with pytest.raises(ValueError, match="four"):
        modality.modality_gap(one[:3], two)
