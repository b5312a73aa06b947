"""A user's own labels with class names of their own: JSONL, shards, fine-tuning, predictions."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments import (
    make_tables,
    predict_relations,
    relation_data,
    relation_experiment,
    relation_start,
)
from imgtext_tf import relations, runs
from imgtext_tf.data import examples, pipeline, shards
from imgtext_tf.data.text import Vocabulary
from tests.tiny_runs import settings_of, write_run
from tfrecords_tools import build, build_settings
from tfrecords_tools.inspect_shards import draw_rows

# One of the names is also one of the paper's: it is the user's all the same.
LABELS = ("parallel", "Anchorage", "divergent, mostly")


def write_pairs(folder, *, wrong=0):
    lines = []
    for number in range(48):
        label = LABELS[number % 3]
        pixels = np.random.default_rng(number).integers(0, 256, [20, 20, 3], np.uint8)
        (folder / f"{number}.jpg").write_bytes(tf.io.encode_jpeg(pixels).numpy())
        text = f"A photo of the lake number{number} class{label[:4].lower()}."
        record = {"id": str(number), "image": f"{number}.jpg", "text": text, "label": label}
        record["split"] = ("train", "train", "val", "test")[number // 12]
        lines.append(record | ({"label": "paralel"} if number < wrong else {}))
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """Shards of 24 train, 12 val and 12 test pairs of three classes."""
    folder = tmp_path_factory.mktemp("own_classes")
    settings = build_settings.Settings(
        output_dir=str(folder / "data"), jsonl=(str(write_pairs(folder)),), labels=LABELS
    )
    report = build.run(settings)
    assert "divergent, mostly" in build.summary(report)
    return folder / "data"


def test_shards_hold_the_users_classes_in_their_order(own_data):
    reader = shards.ShardReader(own_data, "train")
    assert (reader.record_kind, reader.own_labels) == ("own_relation", LABELS)
    record = examples.from_bytes("own_relation", reader.read([0])[0])
    assert record["relation"] in LABELS and "cmi" not in record
    batches = pipeline.relation_dataset(
        reader, target="relation", batch_size=24, vocabulary=None, training=False
    )
    inputs, labels = next(iter(batches))
    for name, label in zip(inputs["id"].numpy(), labels.numpy(), strict=True):
        assert label == int(name.decode().split("/")[1]) % 3
    with pytest.raises(ValueError, match="have no 'cmi'"):
        pipeline.relation_dataset(
            reader, target="cmi", batch_size=24, vocabulary=None, training=False
        )
    assert len(draw_rows(reader.index, 2, 0)) == 6
    assert len((own_data / "balanced_test_ids.txt").read_text().splitlines()) == 12


def test_the_papers_tables_of_counts_are_not_for_them(own_data, tmp_path):
    settings = make_tables.Settings(
        page=str(tmp_path / "page.md"),
        results_dir=str(tmp_path / "results"),
        add_data=str(own_data),
        row="otto2020/data",
    )
    with pytest.raises(ValueError, match="Tables 1 and 2 count Otto2020's eight classes.*parallel"):
        make_tables.run(settings)


def test_a_label_that_is_not_listed_is_a_bad_record(tmp_path):
    jsonl = (str(write_pairs(tmp_path, wrong=2)),)
    settings = build_settings.Settings(
        output_dir=str(tmp_path / "data"), jsonl=jsonl, labels=LABELS, max_bad_records=0.5
    )
    assert build.run(settings)["bad records"] == 2
    assert "'paralel' is none of" in (tmp_path / "data" / "bad_records.tsv").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("one",)}, "two class names"),
        ({"labels": ("a", "a")}, "distinct"),
        ({"labels": LABELS, "vist_dir": "v", "vist_images": "v"}, "not with --vist_dir"),
        ({"labels": LABELS, "swap_labelled": True}, "not with --swap_labelled"),
        ({"labels": LABELS, "caps": "Illustration=3"}, "classes: parallel"),
    ],
)
def test_labels_that_cannot_be(tmp_path, changes, message):
    settings = build_settings.Settings(
        output_dir=str(tmp_path / "data"), jsonl=(str(write_pairs(tmp_path)),), **changes
    )
    with pytest.raises(build.BuildError, match=message):
        build.run(settings)


def test_a_build_of_the_papers_classes_records_no_labels():
    """So that its manifest, which results name by its digest, is as it was before."""
    assert "labels" not in build_settings.recorded(build_settings.Settings(output_dir="x"))


def weights_of(model):
    return {w.path: w.numpy() for w in model.weights}


@pytest.mark.heavy
def test_fine_tuning_takes_the_encoders_over_and_learns_the_users_classes(
    own_data, cached_run, tmp_path
):
    start, _ = cached_run
    settings = dataclasses.replace(
        settings_of(own_data, tmp_path / "run"),
        init_from=start.run_dir,
        cache_features=str(tmp_path / "cache"),
        gru_units=99,  # the run's counts
        batch_size=12,
        max_steps=40,
        checkpoint_every=40,
        learning_rate=0.02,
    )
    data, _, model = relation_experiment._start_from_run(
        relation_start.settings_from(settings, LABELS), relation_data.open_readers(settings), None
    )
    before = keras.models.load_model(
        runs.RunDirectory(start.run_dir).model_file("best"), compile=False
    )
    old, new = weights_of(before), weights_of(model)
    assert {path for path in new if "logits" in path} and data.labels == LABELS
    for path, value in new.items():
        if "logits" not in path:
            np.testing.assert_array_equal(value, old[path])
    result = relation_experiment.run(settings)
    assert result["settings"]["gru_units"] == 8 and result["settings"]["init_from"]
    # A word tells the class; the words are new, so only the photo's noise could be learnt by heart.
    assert {f"test/recall/{name}" for name in LABELS} < set(result["metrics"])
    loaded = runs.load(tmp_path / "run")
    assert loaded.labels == LABELS and loaded.model.output["logits"].shape[-1] == 3
    assert loaded.vocabulary == runs.load(start.run_dir).vocabulary
    # And it predicts, without the metrics that these classes do not have.
    predictions = predict_relations.Settings(
        str(tmp_path / "run"), str(own_data.parent / "own.jsonl"), str(tmp_path / "p.jsonl")
    )
    summary = predict_relations.run(predictions)
    assert set(summary["classes"]) <= set(LABELS) and summary["pairs"] == 48
    line = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert line["metrics"] == line["marginals"] == {} and set(line["probabilities"]) == set(LABELS)
    # A second start of the same command goes on (here: is at its end already).
    assert relation_experiment.run(settings)["steps"] == 40


def test_the_same_classes_keep_their_output_layer(tiny_data, cached_run, tmp_path):
    start, result = cached_run
    settings = settings_of(tiny_data, tmp_path, init_from=start.run_dir, inputs="both")
    readers = relation_data.open_readers(settings)
    data, encoder, model = relation_experiment._start_from_run(
        relation_start.settings_from(settings, relations.RELATIONS), readers, None
    )
    # Live pixels here, cached maps there: the encoder came along.
    assert set(model.input) == {"image", "word_ids"} and encoder is not None
    inputs, labels = next(iter(data.evaluation_batches("test")))
    del inputs["id"]
    logits = model(inputs, training=False)["logits"].numpy()
    expected = runs.load(start.run_dir).model(inputs, training=False)["logits"].numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_a_frozen_encoder_is_tuned_where_a_run_goes_on_with_it(tiny_data, cached_run, tmp_path):
    start, _ = cached_run
    settings = settings_of(
        tiny_data, tmp_path / "run", init_from=start.run_dir, tune_backbone=True,
        learning_rate=0.1, max_steps=1, checkpoint_every=1,
    )  # fmt: skip
    before = runs.load(start.run_dir)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    own = relation_start.settings_from(settings, relations.RELATIONS)
    encoder = relation_start.load(own).encoder
    frozen = before.model.get_layer("image_encoder")
    assert encoder.trainable_weights and not frozen.trainable_weights
    np.testing.assert_allclose(encoder(images), frozen(images), atol=1e-6)
    relation_experiment.run(settings)
    tuned = runs.load(tmp_path / "run")
    old, new = (model.get_layer("image_encoder") for model in (before.model, tuned.model))
    assert np.abs(np.asarray(new(images) - old(images))).max() > 1e-3
    # The command given again takes the tuned weights from the checkpoint.
    (tmp_path / "run" / "result.json").unlink()
    assert relation_experiment.run(settings)["steps"] == 1
    again = runs.load(tmp_path / "run").model.get_layer("image_encoder")
    np.testing.assert_array_equal(again(images), new(images))


def test_own_classes_see_more_than_the_scores_of_the_metrics(tiny_data, tmp_path):
    """A run with metric_logits makes eight numbers of its last hidden layer first."""
    first = settings_of(tiny_data, tmp_path / "first", inputs="text", metric_logits=True)
    write_run(first)
    settings = settings_of("", tmp_path / "own", init_from=first.run_dir)
    own = relation_start.settings_from(settings, LABELS)
    assert (own.inputs, own.metric_logits) == ("text", False)
    start = relation_start.load(own)
    model = relation_start.with_labels(start, LABELS)
    assert model.get_layer("logits").input.shape[-1] == first.fc_units[-1] == 32
    assert "parts" not in {layer.name for layer in model.layers}
    # The same classes keep both, and the settings say so.
    same = relation_start.settings_from(settings, relations.RELATIONS)
    assert same.metric_logits
    assert "parts" in {x.name for x in relation_start.with_labels(start, start.labels).layers}
    # An older run was begun without the setting, which the command line does not change.
    file = runs.RunDirectory(first.run_dir).settings_file
    saved = runs.read_json(file)
    del saved["settings"]["metric_logits"]
    runs.write_json(file, saved)
    asked = dataclasses.replace(settings, metric_logits=True)
    assert not relation_start.settings_from(asked, relations.RELATIONS).metric_logits


def test_the_share_of_known_words(tmp_path):
    (tmp_path / shards.WORDS).write_text('a\t6\n"\t3\nlake\t1\n')
    assert relation_start.known_share(Vocabulary(["lake", '"']), str(tmp_path)) == 0.4
