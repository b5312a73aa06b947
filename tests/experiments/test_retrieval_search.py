"""How a query's words are read and embedded."""

import types

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from experiments import retrieval_search
from imgtext_tf.models import semantic_retrieval
from imgtext_tf.text_similarity import TfIdf, UnknownWordError


@pytest.mark.parametrize(
    "text", ["-dog", "- dog", "\u2212dog", "\u2013 dog", "\u2014dog", "-1*dog", "-1.:dog"]
)
def test_every_minus_takes_away(text):
    assert retrieval_search.parse_modifiers(text) == [(-1, "dog")]


@pytest.mark.parametrize("text", ["+-dog", "2*-dog", "2*+dog", "--dog", "-*dog", "2*", "+_x", "-"])
def test_what_is_no_word_with_a_sign_is_named(text):
    with pytest.raises(ValueError, match="is no word"):
        retrieval_search.parse_modifiers(text)


def test_weights():
    found = retrieval_search.parse_modifiers("+.5*red -2.:blue 3*dog +7up")
    assert found == [(0.5, "red"), (-2, "blue"), (3, "dog"), (1, "7up")]


def test_words_without_a_sign_are_one_text():
    found = retrieval_search.parse_modifiers("red dog -blue cat")
    assert found == [(1, "red dog cat"), (-1, "blue")]


def test_a_text_is_embedded_by_its_tfidf():
    vectorizer = TfIdf.learn([["red dog"], ["red cat"], ["blue cat"], ["red sea"]])
    model = semantic_retrieval.semantic_retrieval(3, vocabulary_size=len(vectorizer))
    searcher = object.__new__(retrieval_search.Searcher)
    searcher.run, searcher.vectorizer = types.SimpleNamespace(model=model), vectorizer
    (weights,) = model.get_layer("text_projection").get_weights()
    tfidf = np.zeros(len(vectorizer))
    # ln(N / d): a rare word counts more.
    tfidf[vectorizer.column("red")], tfidf[vectorizer.column("dog")] = np.log(4 / 3), np.log(4)
    expected = tfidf @ weights / np.linalg.norm(tfidf @ weights)
    np.testing.assert_allclose(searcher.query(None, "red dog"), expected, atol=1e-5)
    with pytest.raises(UnknownWordError, match="horse"):
        searcher.query(None, "red horse")


def test_what_is_no_image_is_zeros_and_what_cannot_be_read_is_left_out(tmp_path, monkeypatch):
    searcher = object.__new__(retrieval_search.Searcher)
    output = types.SimpleNamespace(shape=(None, 3))
    searcher.run = types.SimpleNamespace(model=types.SimpleNamespace(output={"phi": output}))
    searcher.longest_side, searcher._batch_size = 0, 2
    searcher._embed = lambda images: tf.reduce_mean(images, axis=(1, 2))
    monkeypatch.setattr(retrieval_search, "_WINDOW", 3)
    for number in range(5):
        pixels = np.full([2 + number % 2, 3, 3], 51 * number, np.uint8)
        (tmp_path / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (tmp_path / "2.png").write_bytes(b"no image")
    (tmp_path / "3.png").unlink()
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    places, vectors = searcher.embed_files(paths)
    found = dict(zip(places, vectors[:, 0].tolist(), strict=True))
    assert found == pytest.approx({0: 0, 1: 0.2, 2: 0, 4: 0.8}, abs=1e-6)


def test_a_photo_is_read_upright(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    searcher = object.__new__(retrieval_search.Searcher)
    searcher.longest_side = 20
    assert searcher.read_image(tmp_path / "a.jpg").shape == (20, 10, 3)
