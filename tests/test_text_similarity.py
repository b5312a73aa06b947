"""tf-idf, Fisher vectors and METEOR against scikit-learn, loop forms and published values."""

import types

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.feature_extraction.text import TfidfTransformer

from imgtext_tf import text_similarity
from imgtext_tf.text_similarity import FisherVectors, TfIdf, UnknownWordError, match_kernel

TEXTS = [
    ["Two horses riding on the beaches.", "A horse rides"],
    ["A woman rides a bike", "Beach and women"],
    ["Dogs play on the beach at night"],
    ["the dog sleeps"],
]


def test_words_are_stemmed_by_snowball():
    terms = TfIdf.learn(TEXTS).terms
    assert {"hors", "ride", "beach", "women", "woman", "dog"} <= set(terms)
    assert not {"horses", "rides", "riding", "beaches"} & set(terms)


@pytest.mark.parametrize("idf", ["plain", "plus_one", "smooth"])
@pytest.mark.parametrize("term_weight", ["count", "log", "binary"])
def test_tfidf_equals_scikit_learns(idf, term_weight):
    vectorizer = TfIdf.learn(TEXTS, idf=idf, term_weight=term_weight)
    found = vectorizer.transform(TEXTS).toarray()
    counts = TfIdf(vectorizer.terms, np.ones(len(vectorizer))).transform(TEXTS)
    # Undo the normalisation: the smallest count of each text is 1.
    counts = np.array([row / row[row > 0].min() for row in counts.toarray()])
    counts = np.minimum(counts, 1) if term_weight == "binary" else counts.round()
    weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    if idf == "plain":  # which scikit-learn does not have
        expected = (weights if term_weight == "log" else counts) * np.log(
            len(TEXTS) / (counts > 0).sum(axis=0)
        )
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    else:
        oracle = TfidfTransformer(smooth_idf=idf == "smooth", sublinear_tf=term_weight == "log")
        expected = oracle.fit_transform(counts).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_tfidf_of_unknown_words_only_is_zero_and_rare_terms_can_be_left_out():
    vectorizer = TfIdf.learn(TEXTS, min_documents=2)
    assert set(vectorizer.terms) == {"ride", "beach", "a", "on", "the", "dog"}
    assert vectorizer.transform([["zebra"], []]).nnz == 0
    with pytest.raises(ValueError, match="min_documents"):
        TfIdf.learn(TEXTS, min_documents=9)


def test_tfidf_survives_json():
    vectorizer = TfIdf.learn(TEXTS, term_weight="log")
    again = TfIdf.from_config(vectorizer.get_config())
    assert (vectorizer.transform(TEXTS) != again.transform(TEXTS)).nnz == 0


def test_object_histograms_count_labels_as_they_are():
    labels = [["tree.n.01", "tree.n.01", "man.n.01"], ["man.n.01", "dog.n.01"], []]
    vectorizer = TfIdf.learn(labels, units="labels")
    assert set(vectorizer.terms) == {"tree.n.01", "man.n.01", "dog.n.01"}
    vector = vectorizer.transform(labels)[0].toarray().ravel()
    raw = {"tree.n.01": 2 * np.log(3 / 1), "man.n.01": np.log(3 / 2), "dog.n.01": 0}
    expected = np.array([raw[term] for term in vectorizer.terms])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_word_in_any_form_has_its_column_and_an_unknown_one_lists_near_words():
    vectorizer = TfIdf.learn(TEXTS)
    assert vectorizer.terms[vectorizer.column("Horses")] == "hors"
    with pytest.raises(UnknownWordError, match="'hrose'.*near it are (.*, )?horses\\b"):
        vectorizer.column("hrose")
    # A file of an older version has no words.
    old = {key: value for key, value in vectorizer.get_config().items() if key != "words"}
    with pytest.raises(UnknownWordError, match=r"near it are (.*, )?hors\b"):
        TfIdf.from_config(old).column("hrose")
    with pytest.raises(ValueError, match="words for"):
        TfIdf.from_config(old | {"words": ["horse"]})
    with pytest.raises(UnknownWordError, match="two words"):
        vectorizer.column("two words")


VECTORS = {
    word: vector
    for word, vector in zip(
        "two horses riding on beaches horse rides woman bike beach women dogs play".split(),
        np.random.default_rng(0).normal(size=(13, 4)),
        strict=True,
    )
}


def test_fisher_vectors_equal_the_loop_form():
    fisher = FisherVectors(VECTORS, gaussians=3).learn(TEXTS)
    found = fisher.transform(TEXTS)
    mixture = fisher.mixture
    words = [VECTORS[word] for word in "woman rides bike beach women".split()]
    means, deviations = np.zeros((3, 4)), np.zeros((3, 4))
    for x in words:
        densities = [
            w * np.prod(norm.pdf(x, m, np.sqrt(c)))
            for w, m, c in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True)
        ]
        for k in range(3):
            gamma = densities[k] / sum(densities)
            scaled = (x - mixture.means_[k]) / np.sqrt(mixture.covariances_[k])
            w = mixture.weights_[k]
            means[k] += gamma * scaled / (len(words) * np.sqrt(w))
            deviations[k] += gamma * (scaled**2 - 1) / (len(words) * np.sqrt(2 * w))
    expected = np.concatenate([means.ravel(), deviations.ravel()])
    np.testing.assert_allclose(found[1], expected / np.linalg.norm(expected), atol=1e-5)
    assert not found[3].any()  # no word of the last text has a vector
    powered = FisherVectors(VECTORS, gaussians=3, power=0.5).learn(TEXTS).transform(TEXTS)
    assert np.linalg.norm(powered[0]) == pytest.approx(1, abs=1e-5)


def test_fisher_vectors_need_words():
    with pytest.raises(ValueError, match="fewer Gaussians"):
        FisherVectors(VECTORS, gaussians=14).learn(TEXTS)
    with pytest.raises(ValueError, match="learn the mixture"):
        FisherVectors(VECTORS).transform(TEXTS)


def test_meteor_without_wordnet():
    meteor = text_similarity.nltk_meteor()
    # Published scores of equal sentences of n words: 1 - 0.5 / n^3.
    for words in (1, 2, 4):
        sentence = " ".join("abcd"[:words])
        assert meteor(sentence, sentence) == pytest.approx(1 - 0.5 / words**3)
    assert meteor("the dogs ran", "the dog runs") > meteor("the dogs ran", "the cat sat")
    assert meteor("", "a dog") == 0


def test_match_kernel_by_hand():
    scores = {("a", "x"): 0.2, ("a", "y"): 0.9, ("b", "x"): 0.4, ("b", "y"): 0.1}
    scores |= {("x", "a"): 0.3, ("x", "b"): 0.5, ("y", "a"): 0.8, ("y", "b"): 0.6}
    found = match_kernel(["a", "b"], ["x", "y"], lambda first, second: scores[first, second])
    assert found == pytest.approx((0.9 + 0.4 + 0.5 + 0.8) / 4)
    back = match_kernel(["x", "y"], ["a", "b"], lambda first, second: scores[first, second])
    assert back == pytest.approx(found)
    assert match_kernel([], ["x"], lambda *_: 1.0) == 0


FAKE_JAVA = """#!/bin/sh
while read line; do
  echo "$line" >> "$0.log"
  case "$line" in
    SCORE*) echo "3.0 4.0" ;;
    *) echo 0.4249; echo 0.4249 ;;
  esac
done
"""


def test_java_meteor_speaks_its_programs_protocol(tmp_path, monkeypatch):
    java = tmp_path / "java"
    java.write_text(FAKE_JAVA)
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "meteor-1.5.jar").touch()
    with text_similarity.JavaMeteor(tmp_path / "meteor-1.5.jar") as meteor:
        assert meteor("a dog ||| ran", "the dog") == 0.4249
        assert meteor("a dog ||| ran", "the dog") == 0.4249  # remembered
        assert meteor("two", "lines") == 0.4249
    lines = (tmp_path / "java.log").read_text().splitlines()
    assert lines[:2] == ["SCORE ||| the dog ||| a dog ran", "EVAL ||| 3.0 4.0"]
    assert len(lines) == 4
    with pytest.raises(FileNotFoundError, match="no such file"):
        text_similarity.JavaMeteor(tmp_path / "none.jar")


def test_wordnet_is_used_where_it_is(monkeypatch):
    class Synset:
        def lemmas(self):
            return [types.SimpleNamespace(name=lambda: "hound")]

    class WordNet:
        @staticmethod
        def ensure_loaded():
            pass

        @staticmethod
        def synsets(word):
            return [Synset()] if word == "dog" else []

    monkeypatch.setattr(text_similarity.meteor, "wordnet", WordNet)
    assert text_similarity.find_wordnet() is WordNet
    meteor = text_similarity.nltk_meteor(text_similarity.find_wordnet())
    assert meteor("dog", "hound") > 0 == text_similarity.nltk_meteor()("dog", "hound")

    def missing():
        raise LookupError("Resource wordnet not found")

    monkeypatch.setattr(WordNet, "ensure_loaded", missing)
    assert text_similarity.find_wordnet() is None
