"""An exported model answers as `predict` does."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import encoders, export, layers, predict, relations, runs
from imgtext_tf.data import examples, shards
from tests.experiments import held_photos

pytestmark = pytest.mark.heavy

# Another process that knows nothing of the project but the exported folder.
SERVE = """
import sys
import numpy as np
import tensorflow as tf
import tensorflow_text
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
image = tf.constant([open(sys.argv[2], "rb").read()])
answer = served(image=image, sentences=tf.constant([["A lake.", "Our house."]]))
print(answer["label"].numpy()[0].decode(), *answer["probabilities"].numpy()[0])
assert "imgtext_tf" not in sys.modules
"""


@pytest.fixture(scope="module")
def exported(cached_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    inputs = export.relation_classifier(cached_run[0].run_dir, folder)
    assert set(inputs) == {"image", "sentences"}
    return folder


@pytest.fixture(scope="module")
def records(cached_run):
    reader = shards.ShardReader(cached_run[0].data_dir, "test")
    return [examples.from_bytes("relation", data) for data in reader.read(np.arange(6))]


def test_it_equals_predict(exported, cached_run, records):
    """A JPEG, a PNG; texts of one to three sentences in one batch, and one of other words."""
    pixels = tf.io.decode_jpeg(records[1]["image"])
    records = [dict(record) for record in records]
    records[1]["image"] = tf.io.encode_png(pixels).numpy()
    records[2]["sentences"] = ["Unheard words, é漢!", "A lake."] + ["word " * 60] * 31
    classifier = predict.load(cached_run[0].run_dir)
    longest = max(len(record["sentences"]) for record in records)
    sentences = [r["sentences"] + [""] * (longest - len(r["sentences"])) for r in records]
    served = tf.saved_model.load(str(exported)).signatures["serving_default"]
    answer = served(
        image=tf.constant([record["image"] for record in records]),
        sentences=tf.constant(sentences),
    )
    assert [name.decode() for name in answer["labels"].numpy()] == list(classifier.labels)
    for place, record in enumerate(records):
        expected = classifier(record["image"], list(record["sentences"]))
        assert answer["label"][place].numpy().decode() == expected.label
        np.testing.assert_allclose(
            answer["probabilities"][place], list(expected.probabilities.values()), atol=1e-5
        )
        assert float(answer["probability"][place]) == pytest.approx(expected.probability, abs=1e-5)


def test_a_photo_held_sideways_is_turned(exported):
    """As the same photo turned beforehand, and not as it is stored."""
    files = held_photos.tagged_turned_and_stored()
    served = tf.saved_model.load(str(exported)).signatures["serving_default"]
    answer = served(image=tf.constant(files), sentences=tf.constant([["A lake."]] * 3))
    tagged, turned, stored = answer["probabilities"].numpy()
    np.testing.assert_allclose(tagged, turned, atol=1e-6)
    assert answer["label"][0] == answer["label"][1]
    assert np.abs(tagged - stored).max() > 1e-5


def test_it_serves_without_the_project(exported, cached_run, records, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(records[0]["image"])
    command = [sys.executable, "-c", SERVE, str(exported), str(tmp_path / "photo.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = predict.load(cached_run[0].run_dir)(records[0]["image"], ["A lake.", "Our house."])
    *label, _, _, _, _, _, _, _, _ = done.stdout.split()
    assert " ".join(label) == answer.label
    shares = [float(number) for number in done.stdout.split()[-8:]]
    np.testing.assert_allclose(shares, list(answer.probabilities.values()), atol=1e-5)


def test_a_folder_that_is_there_is_left_alone(exported, cached_run):
    before = sorted(os.listdir(exported))
    with pytest.raises(FileExistsError, match="is there already"):
        export.relation_classifier(cached_run[0].run_dir, exported)
    assert sorted(os.listdir(exported)) == before


def test_a_model_of_texts_takes_no_image(tmp_path, monkeypatch):
    """With n-grams, whose ids are computed in the graph."""
    rng = np.random.default_rng(0)
    embedding = layers.WordEmbedding.of(rng.normal(size=(3, 4)), rng.normal(size=(51, 4)))
    inputs = encoders.text_inputs(embedding)
    text = keras.ops.sum(embedding(list(inputs.values())), axis=(1, 2))
    run = runs.Run(
        model=keras.Model(inputs, {"logits": keras.layers.Dense(8)(text)}),
        vocabulary=("lake",),
        labels=relations.RELATIONS,
        settings={"target": "relation"},
        preprocessing={
            "max_sentences": 3,
            "max_words": 5,
            "ngrams": {"min_n": 3, "max_n": 4, "buckets": 50},
        },
    )
    monkeypatch.setattr(runs, "load", lambda *_: run)
    assert set(export.relation_classifier("", tmp_path / "model")) == {"sentences"}
    served = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    answer = served(sentences=tf.constant([["The unheard lake."]]))
    expected = predict.Classifier(run)("", "The unheard lake.")
    np.testing.assert_allclose(
        answer["probabilities"][0], list(expected.probabilities.values()), atol=1e-5
    )
