import dataclasses
import types

import pytest

from experiments import matching_report
from experiments.matching_flags import STAGES, Settings
from imgtext_tf.stages import Stage


@pytest.mark.parametrize(
    ("name", "images", "folds", "expected"),
    [
        ("flickr30k", 1000, 1, "flickr30k 1k"),
        ("coco", 5000, 1, "coco 5k"),
        ("coco", 5000, 5, "coco 1k (mean of 5 folds)"),
        ("flickr8k", 800, 1, "flickr8k 800 images"),
    ],
)
def test_protocols_are_named(name, images, folds, expected):
    settings = Settings(run_dir="", folds=folds)
    assert matching_report.protocol(settings, name, images) == expected
    own = dataclasses.replace(settings, protocol="mine")
    assert matching_report.protocol(own, name, images) == "mine"


def warnings_at(stage, caplog, step, **logs):
    watch = matching_report.Watch(stage, 128)
    watch.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=step)))
    caplog.clear()
    for _ in range(2):
        watch.on_train_batch_end(49, logs)
    return [record.getMessage() for record in caplog.records]


def test_a_collapse_is_warned_of_once(caplog):
    stage = Stage("S1", all_negatives_steps=100)
    (warning,) = warnings_at(stage, caplog, 900, triplet_loss=51.3)
    assert "all embeddings have become one" in warning and "51.30" in warning
    assert not warnings_at(stage, caplog, 900, triplet_loss=30.0)
    assert not warnings_at(stage, caplog, 350, triplet_loss=51.3)  # not yet learnt
    every = dataclasses.replace(stage, mining="all")
    assert not warnings_at(every, caplog, 900, triplet_loss=51.3)


def test_a_sure_classifier_is_warned_of(caplog):
    stage = Stage("S3", **STAGES["S3"])
    (warning,) = warnings_at(stage, caplog, 9, classifier_accuracy=0.999)
    assert "reversed gradient vanishes" in warning
    assert not warnings_at(stage, caplog, 9, classifier_accuracy=0.9)
    flip = dataclasses.replace(stage, mode="alternating", target="flip")
    assert not warnings_at(flip, caplog, 9, classifier_accuracy=0.999)
