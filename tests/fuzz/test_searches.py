"""The commands that search, with damaged runs and indexes: what is wrong is named, or they answer.

The runs were never trained: damage does not care.
"""

import functools
import json
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from experiments import (
    common_flags,
    edit_phrases,
    generate_phrases,
    phrase_report,
    search_images,
    search_matching,
)
from imgtext_tf import branches, encoders, prototypes, runs, search, text_similarity
from imgtext_tf.models import phrase_generator, semantic_retrieval, sentence_matching
from tests.fuzz.damage import damaged
from tests.fuzz.test_images import IMAGES
from tests.fuzz.test_readers import run

SIDE = 16
PHOTOS = {"a.png": IMAGES["png"], "b.jpg": IMAGES["jpeg"], "c.gif": IMAGES["gif"]}
WORDS = ["dog", "cat", "red", "sea"]


SENTENCES = pytest.param("sentences", marks=pytest.mark.heavy)  # takes long to build


def begun(folder, module, **described):
    run_dir = runs.RunDirectory(folder / "run")
    run_dir.begin({"backend": "exact", "prototype_images": 1}, script="x", module=module.__name__)
    run_dir.describe_model(labels=[], **described)
    (folder / "photos").mkdir()
    for name, data in PHOTOS.items():
        (folder / "photos" / name).write_bytes(data)
    return run_dir


def make_images(folder):
    """A run of Gordo2017 and an index of photos."""
    image = keras.Input([None, None, 3])
    backbone = keras.Model(image, keras.layers.Conv2D(3, 5, strides=4)(image))
    backbone.save(folder / "backbone.keras")
    encoder = encoders.image_encoder(
        str(folder / "backbone.keras"), weights=None, image_size=0, input_range=(-1.0, 1.0)
    )
    vectorizer = text_similarity.TfIdf.learn([["dog cat"], ["red sea"]])
    config = vectorizer.get_config()
    run_dir = begun(
        folder, semantic_retrieval, vocabulary=config.pop("terms"),
        preprocessing={"longest_side": SIDE, "rmac_levels": 2, "tfidf": config},
    )  # fmt: skip
    run_dir.save_backbone(semantic_retrieval.region_encoder(encoder))
    model = semantic_retrieval.semantic_retrieval(3, vocabulary_size=len(vectorizer))
    run_dir.save_model(model, "best")
    photos = str(folder / "photos")
    search_images.run(
        search_images.Settings(str(folder / "index"), str(run_dir.path), images=photos)
    )


def ask_images(folder):
    settings = search_images.Settings(
        str(folder / "index"), str(folder / "run"), image=str(folder / "photos" / "a.png"),
        text="+dog -sea",
    )  # fmt: skip
    return search_images.run(settings)


def make_sentences(folder):
    """A run of Liu2019 and a cache of photos."""
    run_dir = begun(
        folder, sentence_matching, vocabulary=WORDS,
        preprocessing={"image_size": SIDE, "central_fraction": 1.0, "max_words": 9,
                       "tokens": "words", "features": "maps"},
    )  # fmt: skip
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=SIDE)
    model = sentence_matching.SentenceMatching(
        branches.image_branch(encoder.output_shape[1:], embed_dim=4),
        branches.text_branch(len(WORDS) + 2, embed_dim=4, word_dim=3),
        branches.modality_classifier(4, units=(3,)),
    )
    run_dir.save_backbone(encoder)
    run_dir.save_model(model, "best")
    (folder / "sentences.txt").write_text("a dog\nthe red sea\n")
    ask_sentences(folder)


def ask_sentences(folder):
    settings = functools.partial(search_matching.Settings, str(folder / "run"))
    found = search_matching.run(
        settings(photos=str(folder / "photos"), sentence="a dog", cache=str(folder / "cache.npz"))
    )
    sentences = str(folder / "sentences.txt")
    return found + search_matching.run(
        settings(photo=str(folder / "photos" / "a.png"), sentences=sentences)
    )


def make_phrases(folder):
    """A run of Shah2019 with its prototypes and their index."""
    run_dir = begun(
        folder, phrase_generator, vocabulary=WORDS,
        preprocessing={"image_size": SIDE, "central_fraction": 1.0},
    )  # fmt: skip
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=SIDE)
    model = phrase_generator.phrase_generator(
        num_queries=len(WORDS), feature_shape=encoder.output_shape[1:], embedding_dim=4,
        num_sampled=2,
    )  # fmt: skip
    run_dir.save_backbone(encoder)
    run_dir.save_model(model, "best")
    found = prototypes.Prototypes(4)
    found.add(np.eye(4), [[word] for word in WORDS])
    found.save(run_dir.path / phrase_report.PROTOTYPES)
    names, vectors, _ = found.vectors()
    search.build("exact", names, vectors).save(run_dir.path / phrase_report.INDEX)


def ask_phrases(folder):
    photo = str(folder / "photos" / "a.png")
    for space in ("small", "large"):
        settings = generate_phrases.Settings(str(folder / "run"), output_space=space)
        ((_, found),) = generate_phrases.run(settings, [photo])
    edit_phrases.run(edit_phrases.Settings(str(folder / "run"), add="a boat"), [photo])
    return found


COMMANDS = {
    "images": (make_images, ask_images, (
        *("run/settings.json", "run/preprocessing.json", "run/vocabulary.txt", "run/labels.json"),
        *("run/model_best.keras", "run/backbone.keras"),
        *("index/index.json", "index/part-000000.npz", "photos/a.png"),
    )),
    "sentences": (make_sentences, ask_sentences, (
        *("run/settings.json", "run/preprocessing.json", "run/vocabulary.txt", "run/labels.json"),
        *("run/model_best.keras", "run/backbone.keras"),
        *("cache.npz", "sentences.txt", "photos/a.png"),
    )),
    "phrases": (make_phrases, ask_phrases, (
        *("run/settings.json", "run/preprocessing.json", "run/vocabulary.txt", "run/labels.json"),
        *("run/model_best.keras", "run/backbone.keras", "run/prototypes.npz"),
        *("run/phrases/index.json", "run/phrases/ids.txt", "run/phrases/vectors.npy"),
    )),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Name of a command -> a folder with what it needs."""

    @functools.cache
    def made(name):
        keras.utils.set_random_seed(0)
        folder = tmp_path_factory.mktemp(name)
        COMMANDS[name][0](folder)
        return folder

    return made


def check(ask, folder, file):
    """Runs a command; it answers with numbers, or says what file or word is at fault."""
    try:
        assert all(np.isfinite(score) for _, score in ask(folder))
    except text_similarity.UnknownWordError:
        assert file == "run/vocabulary.txt"
    except tf.errors.OpError as error:
        assert common_flags.data_fault(error)
    except common_flags.MISTAKES as error:
        message = str(error)
        named = str(folder) in message or pathlib.Path(file).name in message
        assert named and len(message) < 5000, message


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("command", "file"), [(name, file) for name, (*_, files) in COMMANDS.items() for file in files]
)
def test_a_search_names_what_is_damaged(whole, command, file):
    source, ask = whole(command), COMMANDS[command][1]
    content = (source / file).read_bytes()

    def survives(data):
        with tempfile.TemporaryDirectory() as parent:
            folder = pathlib.Path(shutil.copytree(source, pathlib.Path(parent, "copy")))
            (folder / file).write_bytes(data.draw(damaged(file, content)))
            check(ask, folder, file)
            assert [path.name for path in pathlib.Path(parent).iterdir()] == ["copy"]

    run(20, survives, data=st.data())


@pytest.mark.parametrize("command", ["images", SENTENCES, "phrases"])
def test_whole_runs_answer(whole, command, tmp_path):
    folder = pathlib.Path(shutil.copytree(whole(command), tmp_path / "copy"))
    found = COMMANDS[command][1](folder)
    assert found and all(np.isfinite(score) for _, score in found)


@pytest.mark.parametrize("command", ["images", SENTENCES, "phrases"])
def test_a_run_without_its_backbone_is_named(whole, command, tmp_path):
    folder = pathlib.Path(shutil.copytree(whole(command), tmp_path / "copy"))
    (folder / "run" / "backbone.keras").unlink()
    with pytest.raises((runs.RunError, ValueError), match="backbone"):
        COMMANDS[command][1](folder)


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("images", {"longest_side": 10**9}),
        ("images", {"longest_side": -4}),
        ("images", {"tfidf": {"idf": [float("nan")] * 4}}),
        pytest.param("sentences", {"max_words": 0}, marks=pytest.mark.heavy),
        pytest.param("sentences", {"tokens": "letters"}, marks=pytest.mark.heavy),
        pytest.param("sentences", {"image_size": [16, 0]}, marks=pytest.mark.heavy),
        ("phrases", {"image_size": 10**9}),
        ("phrases", {"central_fraction": 0}),
    ],
)
def test_numbers_without_sense_are_named(whole, command, changes, tmp_path):
    folder = pathlib.Path(shutil.copytree(whole(command), tmp_path / "copy"))
    path = folder / "run" / "preprocessing.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content | changes))
    check(COMMANDS[command][1], folder, "run/preprocessing.json")


def test_queries_of_another_model_are_named(whole, tmp_path):
    folder = pathlib.Path(shutil.copytree(whole("phrases"), tmp_path / "copy"))
    (folder / "run" / "vocabulary.txt").write_text("dog\n")
    with pytest.raises(runs.RunError, match="vocabulary.txt: 1 queries for a model of 4"):
        COMMANDS["phrases"][1](folder)


@pytest.mark.parametrize("changes", [{"backend": float("nan")}, {"prototype_images": "1"}])
def test_settings_of_no_phrase_generator_are_named(whole, changes, tmp_path):
    folder = pathlib.Path(shutil.copytree(whole("phrases"), tmp_path / "copy"))
    path = folder / "run" / "settings.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content | {"settings": content["settings"] | changes}))
    with pytest.raises(runs.RunError, match="settings.json: .* no run of train_phrases"):
        COMMANDS["phrases"][1](folder)
