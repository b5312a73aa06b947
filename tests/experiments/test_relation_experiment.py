import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import relation_data, relation_experiment
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import relations, runs
from imgtext_tf.data import fasttext
from imgtext_tf.data.text import Vocabulary
from tests.tiny_runs import settings_of


def open_data(settings: Settings) -> Data:
    readers = relation_data.open_readers(settings)
    vocabulary, _ = relation_data.open_text(settings, readers["train"], None)
    return Data(settings, readers, vocabulary)


def test_a_run_learns_and_reports(cached_run):
    _, result = cached_run
    metrics = result["metrics"]
    # One word tells the class, so that chance (1/8) must be left far behind.
    assert metrics["test/accuracy"] > 0.6
    assert metrics["test/pairs"] == 32 and metrics["test_balanced/pairs"] == 16
    assert metrics["test/majority"] == pytest.approx(1 / 8)
    recalls = [metrics[f"test/recall/{name}"] for name in relations.RELATIONS]
    assert metrics["test/macro_recall"] == pytest.approx(np.mean(recalls))
    assert metrics["test/accuracy_low"] <= metrics["test/accuracy"] <= metrics["test/accuracy_high"]
    sources = {name.split("/")[2] for name in metrics if name.startswith("test/source/")}
    assert sources
    shares = {s: metrics[f"test/source/{s}/pairs"] / metrics["test/pairs"] for s in sources}
    right = sum(metrics[f"test/source/{s}/accuracy"] * share for s, share in shares.items())
    assert sum(shares.values()) == 1 and right == pytest.approx(metrics["test/accuracy"])
    assert (result["steps"], result["seed"]) == (60, 0)
    assert result["dataset"]["kind"] == "synthetic"
    assert result["settings"]["backbone"] == "small_cnn"


def test_a_run_leaves_pictures_and_predictions(cached_run):
    settings, result = cached_run
    run_dir = runs.RunDirectory(settings.run_dir)
    pictures = {path.name for path in run_dir.figures.iterdir()}
    parts = ("test", "test_balanced")
    assert pictures == {
        "curves.png",
        *(f"{part}_{kind}.png" for part in parts for kind in ("confusion_matrix", "examples")),
    }
    lines = (run_dir.path / "predictions_test.tsv").read_text().splitlines()
    right = [line.split("\t")[1] == line.split("\t")[2] for line in lines[1:]]
    assert np.mean(right) == pytest.approx(result["metrics"]["test/accuracy"])


def test_tensorboard_shows_recalls_and_pictures(cached_run):
    settings, _ = cached_run
    events = EventAccumulator(str(runs.RunDirectory(settings.run_dir).tensorboard))
    tags = {
        tag for names in events.Reload().Tags().values() if names is not True for tag in names or ()
    }
    wanted = {f"val/recall/{name}" for name in relations.RELATIONS}
    wanted |= {"val/loss", "val/accuracy", "val/confusion_matrix", "val/examples"}
    wanted |= {"test/confusion_matrix", "test/examples"}
    # Fewer steps than lie between two points of a long training, and yet a point.
    wanted |= {"train/loss", "train/accuracy"}
    assert not wanted - {tag.replace("_", " ") for tag in tags} - tags


def test_a_saved_run_predicts_from_pixels_what_the_cache_gave(cached_run):
    settings, _ = cached_run
    loaded = runs.load(settings.run_dir)
    assert loaded.labels == relations.RELATIONS
    live = dataclasses.replace(settings, cache_features="", batch_size=32)
    data = Data(live, relation_data.open_readers(live), Vocabulary(loaded.vocabulary))
    inputs, _ = next(iter(data.evaluation_batches("test")))
    ids = [name.decode() for name in inputs.pop("id").numpy()]
    logits = loaded.model(inputs, training=False)["logits"]
    predicted = keras.ops.softmax(logits).numpy()
    lines = (runs.RunDirectory(settings.run_dir).path / "predictions_test.tsv").read_text()
    expected = dict(line.split("\t")[::3] for line in lines.splitlines()[1:])
    # The cache holds float16, and the table four digits.
    np.testing.assert_allclose(
        predicted.max(axis=1), [float(expected[name]) for name in ids], atol=5e-3
    )


def test_eval_only_takes_the_runs_settings_and_adds_its_metrics(cached_run):
    settings, before = cached_run
    other = Settings(settings.data_dir, settings.run_dir, eval_only=True, eval_split="val")
    result = relation_experiment.run(other)
    assert result["metrics"]["test/accuracy"] == before["metrics"]["test/accuracy"]
    assert result["metrics"]["val/pairs"] == 32
    assert (result["steps"], result["seconds"]) == (before["steps"], before["seconds"])
    assert result["settings"]["gru_units"] == 8


def test_a_run_goes_on_with_its_own_settings_only(cached_run):
    settings, _ = cached_run
    with pytest.raises(runs.RunError, match="gru_units: 8 before, 16 now"):
        relation_experiment.run(dataclasses.replace(settings, gru_units=16))


@pytest.mark.heavy
def test_live_pixels_of_a_metric_and_every_switch_of_the_training(tiny_data, tmp_path, monkeypatch):
    train = functools.partial(fasttext.train_vectors, dim=12, buckets=500)
    monkeypatch.setattr(relation_data.fasttext, "train_vectors", train)
    settings = settings_of(
        tiny_data,
        tmp_path / "run",
        target="stat",
        tune_backbone=True,
        vectors="",
        max_steps=2,
        class_weights=True,
        class_balance=1.0,
        learning_rate_schedule="cosine",
        weight_decay=1e-4,
        ema=0.9,
        fusion="product",
        image_attention="regions",
        image_dim=16,
        word_dropout=0.1,
        region_dropout=0.1,
        flip=False,
        colour=False,
    )
    result = relation_experiment.run(settings)
    assert {"test/recall/stat T", "test/recall/stat 0", "test/recall/stat I"} < set(
        result["metrics"]
    )
    loaded = runs.load(tmp_path / "run")
    assert set(loaded.model.input) == {"image", "word_ids", "ngram_ids"}
    assert loaded.labels == ("stat T", "stat 0", "stat I")
    # A schedule depends on the last step, so that step is no longer free.
    with pytest.raises(runs.RunError, match="max_steps: 2 before, 3 now"):
        relation_experiment.run(dataclasses.replace(settings, max_steps=3))


def test_a_source_is_left_out_of_training_and_evaluated_alone(tiny_data):
    settings = settings_of(tiny_data, "", target="sc", inputs="text", leave_out_source="elsewhere")
    data = open_data(settings)
    for split, count in (("train", 72), ("val", 24), ("test", 8)):  # 3 of 4 pairs; 1 of 4
        sources = set(data.readers[split].index["source"][data.rows(split)])
        assert sources == ({b"elsewhere"} if split == "test" else {b"made up"})
        assert len(data.rows(split)) == count
    evaluated = sum(len(label) for _, label in data.evaluation_batches("test"))
    assert evaluated == 8
    with pytest.raises(ValueError, match="no such source; use one of elsewhere, made up"):
        open_data(dataclasses.replace(settings, leave_out_source="ads"))


def test_class_weights(tiny_data):
    """CMI: 2 of 8 equally frequent classes have 0, so 8 / (2 * 2) = 2 and 8 / (6 * 2) = 2/3."""
    data = open_data(settings_of(tiny_data, "", target="cmi", class_weights=True, inputs="text"))
    _, labels, weights = next(iter(data.training_batches(0, 1)))
    expected = np.where(labels.numpy() == 0, 2.0, 2 / 3)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [("text", {"word_ids"}), ("image", {"image"}), ("both", {"image", "word_ids"})],
)
def test_a_model_sees_only_what_it_may(tiny_data, inputs, names):
    data = open_data(settings_of(tiny_data, "", inputs=inputs))
    encoder = relation_data.open_encoder(data.settings)
    model = relation_experiment.build_model(data, None, encoder)
    assert set(model.input) == names
    batch, labels = next(iter(data.training_batches(0, 1)))
    # Neither are the others read: Keras warns of inputs that a model does not take.
    assert set(batch) == names
    evaluated, _ = next(iter(data.evaluation_batches("val")))
    assert set(evaluated) == names | {"id"}
    logits = model(batch, training=False)["logits"]
    loss = model.compute_loss(batch, labels, {"logits": logits})
    assert loss.numpy() == pytest.approx(np.log(8), rel=0.5)


def test_no_distortion_means_the_same_pixels_in_every_epoch(tiny_data):
    off = {"crop": False, "flip": False, "colour": False}
    steps = 96 // 16

    def pixels(**switches):
        data = open_data(settings_of(tiny_data, "", inputs="image", **switches))
        batches = list(data.training_batches(0, 2 * steps))
        epochs = [
            [b[0]["image"].numpy() for b in part] for part in (batches[:steps], batches[steps:])
        ]
        return [np.sort(np.concatenate(epoch).mean(axis=(1, 2, 3))) for epoch in epochs]

    first, second = pixels(**off)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    first, second = pixels()
    assert np.abs(first - second).max() > 1e-3


def test_the_vocabulary_is_the_train_splits_unless_extended(tiny_data, tmp_path):
    (tmp_path / "v.vec").write_text("2 3\nlake 1 0 0\nunheard 0 1 0\n")
    settings = settings_of(tiny_data, tmp_path, vectors=str(tmp_path / "v.vec"))
    reader = relation_data.open_readers(settings)["train"]
    vocabulary, vectors = relation_data.open_text(settings, reader, None)
    assert {"lake", "classanchorage"} < set(vocabulary.words)
    assert "unheard" not in vocabulary.words
    extended = dataclasses.replace(settings, extend_vocabulary=True)
    longer, _ = relation_data.open_text(extended, reader, None)
    assert longer.words == (*vocabulary.words, "unheard")
    assert vectors.dim == 3 and not vectors.has_ngrams


def test_texts_are_the_records_words_in_order(tiny_data):
    reader = relation_data.open_readers(settings_of(tiny_data, ""))["val"]
    texts = list(relation_data.texts(reader))
    assert len(texts) == 32
    # Record n is of class n % 8 and has (n // 8) % 3 + 1 sentences of five words.
    assert [len(sentences) for sentences in texts[::8]] == [1, 2, 3, 1]
    assert all("classcomplementary" in words for words in texts[2])


def test_tuning_and_caching_exclude_each_other(tiny_data, tmp_path):
    settings = settings_of(tiny_data, tmp_path, tune_backbone=True, cache_features="auto")
    encoder = relation_data.open_encoder(settings)
    with pytest.raises(ValueError, match="tune_backbone"):
        relation_data.open_features(settings, relation_data.open_readers(settings), encoder)


def test_the_cache_of_other_weights_is_another_folder(tiny_data):
    """`auto` must never mix two backbones' feature maps."""
    settings = settings_of(tiny_data, "", cache_features="auto")
    readers = {"test": relation_data.open_readers(settings)["test"]}
    shapes = set()
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        encoder = relation_data.open_encoder(settings)
        cache = relation_data.open_features(settings, readers, encoder)
        row = cache.lookup(readers["test"].index["image_id"][:1])
        shapes.add(float(tf.reduce_sum(cache.read(row))))
    assert len(shapes) == 2
