import numpy as np
import pytest

from experiments import relation_data, train_baselines
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import runs
from imgtext_tf.data.text import Vocabulary


@pytest.fixture(scope="module")
def result(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    settings = Settings(
        data_dir=str(tiny_data),
        run_dir=str(folder / "run"),
        backbone="small_cnn",
        backbone_weights="none",
        image_size=32,
        cache_features=str(folder / "cache"),
    )
    return train_baselines.run(settings)


def test_every_baseline_is_measured_as_the_classifiers_are(result):
    for baseline in train_baselines.BASELINES:
        for part, pairs in (("test", 32), ("test_balanced", 16)):
            assert result["metrics"][f"{baseline}/{part}/pairs"] == pairs
            assert f"{baseline}/{part}/recall/Anchorage" in result["metrics"]
    saved = runs.read_json(runs.RunDirectory(result["settings"]["run_dir"]).result_file)
    assert saved["metrics"] == result["metrics"]
    figures = runs.RunDirectory(result["settings"]["run_dir"]).figures
    assert (figures / "test_balanced_tfidf_confusion_matrix.png").stat().st_size > 1000


def test_what_each_baseline_can_know(result):
    """Only words tell the classes of these pairs: lengths and images are alike in all classes."""
    accuracy = {
        name: result["metrics"][f"{name}/test/accuracy"] for name in train_baselines.BASELINES
    }
    assert accuracy["majority"] == 1 / 8
    assert accuracy["tfidf"] == 1 and accuracy["both"] > 0.9
    assert accuracy["length"] < 0.5 and accuracy["image"] < 0.5


def test_unknown_baseline(tiny_data, tmp_path):
    settings = Settings(data_dir=str(tiny_data), run_dir=str(tmp_path))
    with pytest.raises(ValueError, match="unknown baseline 'bert': use majority, length"):
        train_baselines.run(settings, ("majority", "bert"))


def test_length_features(tiny_data):
    """Record 8 is the second of its class: 2 sentences of 5 words each."""
    settings = Settings(data_dir=str(tiny_data), run_dir="")
    data = Data(settings, relation_data.open_readers(settings), Vocabulary(()))
    row = train_baselines._lengths(data)("val")[8]
    np.testing.assert_allclose(row, [2, 10, 5, 5, *np.log([3, 11, 6, 6])])
