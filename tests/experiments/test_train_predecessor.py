import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import relation_predecessor, train_predecessor
from experiments.relation_flags import Settings
from imgtext_tf import relations, runs

OWN = train_predecessor.Predecessor(sentence_units=4, article_units=8, autoencoder_steps=2)


@pytest.fixture(scope="module")
def result(tiny_data, tmp_path_factory):
    settings = Settings(
        data_dir=str(tiny_data),
        run_dir=str(tmp_path_factory.mktemp("predecessor")),
        backbone="small_cnn",
        backbone_weights="none",
        image_size=32,
        crop=False,
        colour=False,
        vectors="learnt",
        batch_size=16,
        max_steps=2,
        checkpoint_every=2,
        learning_rate=0.1,
    )
    return train_predecessor.run(settings, OWN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("class_weights", True),
        ("logit_adjustment", 1.0),
        ("init_from", "runs/classic"),
        ("ema", 0.99),
        ("learning_rate_schedule", "cosine"),
        ("inputs", "text"),
        ("fc_units", (8,)),
        ("monitor", "val/macro_recall"),
        ("jit_compile", True),
        ("eval_only", True),
    ],
)
def test_what_the_model_has_not_is_refused(name, value, tmp_path):
    settings = dataclasses.replace(Settings(str(tmp_path), str(tmp_path / "run")), **{name: value})
    with pytest.raises(ValueError, match=f"--{name}"):
        train_predecessor.run(settings, OWN)
    assert not (tmp_path / "run").exists()


def test_every_setting_is_used_or_refused():
    """A new setting of the classifiers is to be looked at here, too."""
    known = {field.name for field in dataclasses.fields(Settings)}
    honoured = {
        *("data_dir", "run_dir", "target", "eval_only", "eval_split", "verify"),
        *("backbone", "backbone_weights", "tune_backbone", "image_size", "input_range"),
        *("central_fraction", "cache_features", "crop", "flip", "colour"),
        *("vectors", "vectors_limit", "extend_vocabulary", "train_vectors", "max_sentences"),
        *("max_words", "fixed_padding", "drop_sentences", "drop_words", "text_dropout"),
        *("batch_size", "max_steps", "learning_rate", "class_balance", "eval_steps", "eval_every"),
        *("checkpoint_every", "seed", "deterministic", "mixed_precision"),
    }
    assert honoured | set(relation_predecessor._OTHERS) == known


@pytest.mark.heavy
def test_both_metrics_are_reported_beside_the_majority(result):
    metrics = result["metrics"]
    for metric, majority in (("cmi", 6 / 8), ("sc", 4 / 8)):
        assert metrics[f"{metric}/test/majority"] == majority
        assert metrics[f"{metric}/test/pairs"] == 32
        accuracy = metrics[f"{metric}/test_balanced/accuracy"]
        assert 0 <= accuracy <= 1
        for value in relations.METRIC_VALUES[metric]:
            assert f"{metric}/test/recall/{metric} {value}" in metrics
    assert result["steps"] == 2
    figures = runs.RunDirectory(result["settings"]["run_dir"]).figures
    assert {path.name for path in figures.iterdir()} == {
        "curves.png",
        *(
            f"{part}_{metric}_confusion_matrix.png"
            for part in ("test", "test_balanced")
            for metric in ("cmi", "sc")
        ),
    }


@pytest.mark.heavy
def test_the_autoencoder_leaves_a_run_of_its_own(result):
    run_dir = runs.RunDirectory(result["settings"]["run_dir"])
    assert runs.RunDirectory(run_dir.path / "autoencoder").model_file("last").exists()
    events = EventAccumulator(str(run_dir.path / "autoencoder" / "tensorboard")).Reload()
    losses = {
        tag: tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto)
        for tag in events.Tags()["tensors"]
    }
    # Words and picture are both written anew.
    assert losses["train/loss"] == pytest.approx(
        losses["train/words_loss"] + losses["train/picture_loss"], rel=1e-4
    )
    assert losses["train/picture_loss"] > 0
    loaded = runs.load(run_dir.path)
    assert set(loaded.model.output) == {"cmi", "sc"}
    assert loaded.labels == ("cmi 0", "cmi 1", "sc -1", "sc 0", "sc 1")


def test_labels_of_the_classes():
    np.testing.assert_array_equal(
        relation_predecessor.labels_of_classes("cmi"), [0, 0, 1, 1, 1, 1, 1, 1]
    )
    np.testing.assert_array_equal(
        relation_predecessor.labels_of_classes("sc"), [1, 2, 2, 2, 2, 0, 0, 0]
    )


@pytest.mark.heavy
def test_other_sizes_are_another_run(result, tiny_data):
    saved = result["settings"]
    known = {field.name for field in dataclasses.fields(Settings)}
    values = {name: value for name, value in saved.items() if name in known}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    with pytest.raises(runs.RunError, match="article_units"):
        train_predecessor.run(Settings(**values | lists), dataclasses.replace(OWN, article_units=9))
