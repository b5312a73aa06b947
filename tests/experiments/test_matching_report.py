import dataclasses
import json
import pathlib
import types

import numpy as np
import pytest

from experiments import (
    common_flags,
    evaluate_matching,
    make_tables,
    matching_report,
    matching_trained,
    matching_watch,
)
from experiments.matching_flags import STAGES, Settings
from imgtext_tf import losses, markdown, report
from imgtext_tf.data.captions import Captions
from imgtext_tf.metrics import retrieval
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
    watch = matching_watch.Watch(stage, 128)
    watch.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(iterations=step)))
    caplog.clear()
    for _ in range(10):  # stretches between checkpoints of 20 steps
        for batch in range(20):
            watch.on_train_batch_end(batch, logs)
    return [record.getMessage() for record in caplog.records]


def test_a_collapse_is_warned_of_once(caplog):
    stage = Stage("S1", all_negatives_steps=100)
    (warning,) = warnings_at(stage, caplog, 900, triplet_loss=51.3)
    assert "all embeddings have become one" in warning and "51.30" in warning
    assert not warnings_at(stage, caplog, 900, triplet_loss=30.0)
    # Hard negatives of a model that learns.
    assert not warnings_at(stage, caplog, 900, triplet_loss=51.3, score_spread=0.15)
    assert not warnings_at(stage, caplog, 350, triplet_loss=51.3)  # not yet learnt
    every = dataclasses.replace(stage, mining="all")
    assert not warnings_at(every, caplog, 900, triplet_loss=51.3)
    (warning,) = warnings_at(every, caplog, 900, triplet_loss=51.2 * 127)
    assert "2 x batch x (batch - 1) x margin" in warning
    assert not warnings_at(stage, caplog, 900, triplet_loss=0.0)  # learnt, or as semi-hard


@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_a_collapse_of_semi_hard_negatives_is_told_by_the_spread(caplog, rounding):
    scores = 0.9 + rounding * np.random.default_rng(0).normal(size=(128, 128)).astype("float32")
    loss = float(losses.bidirectional_hinge(scores.astype("float32"), mining="semi_hard"))
    assert (loss == 0.0) == (rounding == 0.0)
    stage = Stage("S1", mining="semi_hard", all_negatives_steps=100)
    (warning,) = warnings_at(stage, caplog, 900, triplet_loss=loss, score_spread=rounding)
    assert "all embeddings have become one" in warning
    assert not warnings_at(stage, caplog, 900, triplet_loss=loss, score_spread=0.1)
    assert not warnings_at(stage, caplog, 350, triplet_loss=loss)


def test_a_sure_classifier_is_warned_of(caplog):
    stage = Stage("S3", **STAGES["S3"])
    (warning,) = warnings_at(stage, caplog, 9, classifier_accuracy=0.999)
    assert "reversed gradient vanishes" in warning and "lambda" not in warning
    assert not warnings_at(stage, caplog, 9, classifier_accuracy=0.9)
    flip = dataclasses.replace(stage, mode="alternating", target="flip")
    (warning,) = warnings_at(flip, caplog, 9, classifier_accuracy=0.999)
    assert "do not win" in warning and "--adversarial_target" not in warning
    assert "higher --adversarial_lambda" not in warning  # which has opened the gap
    (warning,) = warnings_at(Stage("S2", **STAGES["S2"]), caplog, 9, classifier_accuracy=0.999)
    assert "fewer steps" in warning
    # Without a game nobody loses it.
    no_game = dataclasses.replace(stage, strength=0.0)
    assert not warnings_at(no_game, caplog, 9, classifier_accuracy=0.999)


def test_five_folds_leave_both_protocols_of_coco():
    rng = np.random.default_rng(0)
    arrays = {"images": rng.normal(size=(10, 3)), "captions": rng.normal(size=(20, 3))}
    image_of = np.arange(20) // 2
    captions = Captions(("a",) * 20, image_of, tuple(map(str, range(10))))
    batches = types.SimpleNamespace(
        part=types.SimpleNamespace(captions=captions), settings=Settings(run_dir="", folds=5)
    )
    of_folds = retrieval.retrieval_metrics(*arrays.values(), image_of, folds=5)
    metrics = {**of_folds, "probe_accuracy": 0.7}
    given = {"split": "test", "measure": "cosine"}
    found = matching_report.named_metrics(metrics, arrays, batches, **given)
    whole = retrieval.retrieval_metrics(*arrays.values(), image_of)
    assert found["test/rsum"] == whole["rsum"] != of_folds["rsum"]
    assert found["test_5_folds/rsum"] == of_folds["rsum"]
    assert found["test/probe_accuracy"] == 0.7
    batches.settings = Settings(run_dir="")
    one = matching_report.named_metrics(whole, arrays, batches, **given)
    assert one == {f"test/{name}": value for name, value in whole.items()}


def test_scores_of_any_model_are_averaged(tmp_path):
    rng = np.random.default_rng(0)
    matrices = [rng.normal(size=(6, 12)).astype("float32") for _ in range(2)]
    paths = [str(tmp_path / f"{number}.npy") for number in range(2)]
    for path, matrix in zip(paths, matrices, strict=True):
        np.save(path, matrix)
    settings = Settings(run_dir="", precomputed_captions=2, folds=2)
    found = evaluate_matching.run_scores(settings, paths, str(tmp_path / "out.json"))
    mean = (matrices[0] + matrices[1]) / 2
    expected = retrieval.retrieval_metrics_of_scores(mean, np.arange(12) // 2, folds=2)
    assert found["metrics"] == pytest.approx(expected)
    assert json.loads((tmp_path / "out.json").read_text()) == found
    assert found["protocol"] == "scores of 6 images (mean of 2 folds)"
    with pytest.raises(ValueError, match="0.npy: holds float32 .6, 12., not .* with 5 captions"):
        evaluate_matching.run_scores(Settings(run_dir=""), paths)


def test_one_run_leaves_its_metrics_too(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {"images": rng.normal(size=(4, 3)), "captions": rng.normal(size=(8, 3))}
    settings, image_of = Settings(run_dir=""), np.arange(8) // 2
    trained = types.SimpleNamespace(
        model=types.SimpleNamespace(measure="cosine"),
        data=types.SimpleNamespace(settings=settings),
        batches=types.SimpleNamespace(
            part=types.SimpleNamespace(captions=Captions(("a",) * 8, image_of, tuple("abcd")))
        ),
    )
    monkeypatch.setattr(matching_trained, "open_trained", lambda settings: trained)
    monkeypatch.setattr(matching_report, "evaluate", lambda *args, **kwargs: ({}, arrays))
    monkeypatch.setattr(matching_report, "report", lambda *args, **kwargs: {"protocol": "made"})
    assert list(evaluate_matching.run(settings, ["one"])) == ["one"]
    evaluate_matching.run(settings, ["one"], str(tmp_path / "x.json"))
    written = json.loads((tmp_path / "x.json").read_text())
    expected = retrieval.retrieval_metrics(*arrays.values(), image_of)
    assert written == {"protocol": "made", "runs": ["one"], "metrics": pytest.approx(expected)}


@pytest.mark.parametrize(
    "table", ["coco_1k", "coco_5k", "flickr30k_1k", "flickr8k_small", "modality_gap", "better"]
)
def test_a_result_shows_in_its_own_tables(table):
    tables = pathlib.Path(common_flags.FLAGFILES).parent / "tables"
    cells = report.read_table(tables / f"liu2019_{table}.csv")
    coco = "COCO VSE++ ResNet152 (fine-tuned)"
    run = report.Run(coco, "coco", 0, {"test/i2t_r1": 40.26, "test_1k/i2t_r1": 63.1})
    page = markdown.numbers_and_matrices(cells, [run])
    assert ("| 40.3 |" in page) == (table == "coco_5k")
    assert ("| 63.1 |" in page) == (table == "coco_1k")
    for cell in cells:  # a result can be filed under its row
        assert make_tables._NAME.fullmatch(f"liu2019/{cell.row}"), cell.row
