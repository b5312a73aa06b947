import numpy as np

from experiments import benchmark_matching


def test_table():
    """Ratios are those of each round: 30/10, 20/20, 60/30, whose median is 2."""
    lines = benchmark_matching.table(
        {"slow": [0.030, 0.020, 0.060], "fast": [0.010, 0.020, 0.030]}
    ).splitlines()
    assert lines[2] == "| slow | 30 | 20 to 60 | 1.00 |"
    assert lines[3] == "| fast | 20 | 10 to 30 | 2.00 |"


def test_the_variants_are_the_same_model():
    settings = benchmark_matching.Settings(data_dir="", units=4)
    ours = benchmark_matching._model(settings, 9)
    theirs = benchmark_matching._model(settings, 9, keras_gru=True)
    theirs.set_weights(ours.get_weights())
    ids = np.array([[2, 5, 3, 0], [2, 4, 4, 3]], "int32")
    np.testing.assert_allclose(
        ours.predict_texts({"caption_ids": ids}), theirs.predict_texts({"caption_ids": ids}),
        atol=1e-6,
    )  # fmt: skip
