"""Which runs are drawn together, and with which curves."""

import types

import keras
import numpy as np
import pytest

from experiments import draw_retrieval, retrieval_report
from experiments.retrieval_flags import Settings
from imgtext_tf import runs


def result(digest="a" * 64, split="test"):
    return {
        "dataset": {"manifest_sha256": digest},
        "settings": {},
        "evaluation": {"eval_split": split},
    }


def test_runs_of_different_images_are_refused():
    assert draw_retrieval._common_split({"one": result(), "two": result()}) == "test"
    for other in (result(digest="b" * 64), result(split="val")):
        with pytest.raises(runs.RunError, match="one: .*two: "):
            draw_retrieval._common_split({"one": result(), "two": other})


def test_queries_by_image_and_text_have_their_own_curve():
    metrics = {"test/ndcg@1": 1.0, "test/image_text/ndcg@1": 2.0, "val/ndcg@1": 3.0}
    curves = draw_retrieval._curves("joint", metrics, "test")
    assert curves["joint"]["ndcg@1"] == 1
    assert curves["joint (image+text)"] == {"ndcg@1": 2}
    assert set(draw_retrieval._curves("visual", {"test/ndcg@1": 1.0}, "test")) == {"visual"}


def test_a_model_on_images_is_drawn(tmp_path, monkeypatch):
    """A tuned backbone is a part of the model, which then has no input of regions."""
    image = keras.Input((None, None, 3), name="image")
    phi = keras.layers.GlobalAveragePooling2D()(image)
    keras.Model({"image": image}, {"phi": phi}).save(tmp_path / "model_best.keras")
    split = types.SimpleNamespace(regions=np.zeros([2, 1, 8]))
    data = types.SimpleNamespace(splits={"test": split})
    found = np.ones([2, 3])
    monkeypatch.setattr(retrieval_report, "embeddings", lambda *_: {"image": found})
    settings = Settings("", str(tmp_path))
    vectors = draw_retrieval._vectors(settings, data, runs.RunDirectory(tmp_path))
    np.testing.assert_array_equal(vectors, found)
