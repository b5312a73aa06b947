import gzip
import logging

import numpy as np
import pytest
import tensorflow as tf
from gensim.models import FastText
from gensim.models.fasttext import load_facebook_vectors, save_facebook_model

from imgtext_tf.data.fasttext import load_vectors, ngram_ids, train_vectors
from imgtext_tf.data.text import Vocabulary, pad_text, tokenize

SENTENCES = [
    ["a", "dog", "runs", "home"],
    ["straße", "日本語", "dog", "café"],
    ["cat", "sits", "don't", "go"],
] * 10
UNSEEN = ["dogs", "größe", "日本", "é", "naïve", "z", "don'ts", "🎉x", "runningest", "ﬂ"]


@pytest.fixture(scope="module", params=[(3, 6), (1, 4), (5, 5)], ids=str)
def facebook_file(request, tmp_path_factory):
    min_n, max_n = request.param
    model = FastText(
        SENTENCES,
        vector_size=12,
        min_count=1,
        epochs=1,
        min_n=min_n,
        max_n=max_n,
        bucket=101,
        workers=1,
        seed=1,
    )
    path = tmp_path_factory.mktemp("vectors") / "tiny.bin"
    save_facebook_model(model, str(path))
    return path


def fnv1a(data: bytes) -> int:
    value = 2166136261
    for byte in data:
        signed = byte - 256 if byte > 127 else byte
        value = ((value ^ (signed & 0xFFFFFFFF)) * 16777619) % 2**32
    return value


def ngrams(word: str, min_n: int, max_n: int) -> list[str]:
    marked = f"<{word}>"
    grams = [
        marked[start : start + n]
        for n in range(min_n, max_n + 1)
        for start in range(len(marked) - n + 1)
    ]
    return [gram for gram in grams if gram not in "<>"]


def test_vectors_equal_gensims(facebook_file):
    vectors = load_vectors(facebook_file)
    reference = load_facebook_vectors(str(facebook_file))
    assert vectors.dim == 12
    assert vectors.has_ngrams
    assert vectors.words == tuple(reference.index_to_key)
    for word in [*vectors.words, *UNSEEN]:
        assert (word in vectors) == (word not in UNSEEN)
        np.testing.assert_allclose(vectors.vector(word), reference.get_vector(word), atol=1e-6)


@pytest.mark.parametrize("where", ["tf.function", "tf.data"])
def test_graph_ids_give_gensims_vectors(facebook_file, where):
    vectors = load_vectors(facebook_file)
    reference = load_facebook_vectors(str(facebook_file))
    settings = vectors.ngram_settings()
    vocabulary = Vocabulary(vectors.words)

    def encode(texts):
        words = vocabulary_words(texts)
        word_ids = pad_text(vocabulary.ids(words))
        return word_ids, ngram_ids(words, word_ids, **settings)

    def vocabulary_words(texts):
        return tf.strings.split(texts)  # not `tokenize`: it takes emoji and ligatures away

    texts = tf.constant([[" ".join(["dog", *UNSEEN]), "café größe"], ["cat", ""]])
    if where == "tf.data":
        dataset = tf.data.Dataset.from_tensor_slices(texts).batch(2)
        ((word_ids, grams),) = list(dataset.map(encode))
    else:
        word_ids, grams = tf.function(encode)(texts)
    assert grams.dtype == tf.int32
    assert grams.shape[:3] == word_ids.shape
    matrix = vectors.ngram_matrix()
    assert matrix.shape == (102, 12)
    np.testing.assert_array_equal(matrix[0], 0)
    rows = [["dog", *UNSEEN], ["café", "größe"], ["cat"]]
    for words, ids in zip(rows, grams.numpy().reshape(-1, *grams.shape[2:]), strict=False):
        for word, row in zip(words, ids, strict=False):
            found = row[row > 0]
            if word in vectors:
                assert found.size == 0
                continue
            grams_of_word = ngrams(word, settings["min_n"], settings["max_n"])
            expected = [1 + fnv1a(gram.encode()) % 101 for gram in grams_of_word]
            assert sorted(found) == sorted(expected)
            mean = matrix[found].mean(axis=0) if found.size else np.zeros(12)
            np.testing.assert_allclose(mean, reference.get_vector(word), atol=1e-6)
        assert not ids[len(words) :].any()


def test_ngram_ids_follow_the_padded_ids():
    words = tokenize(tf.constant([["aa bb cc", "dd"], ["", ""]]))
    word_ids = pad_text(Vocabulary(["bb"]).ids(words), max_sentences=1, max_words=2)
    ids = ngram_ids(words, word_ids, min_n=3, max_n=3, buckets=50)
    expected = [1 + fnv1a(gram) % 50 for gram in (b"<aa", b"aa>")]
    np.testing.assert_array_equal(ids, [[[expected, [0, 0]]], [[[0, 0], [0, 0]]]])


def test_ngram_ids_of_a_batch_without_unknown_words():
    words = tokenize(tf.constant([["aa"]]))
    ids = ngram_ids(words, tf.constant([[[2]]]), min_n=3, max_n=3, buckets=50)
    np.testing.assert_array_equal(ids, [[[[0]]]])


def test_a_word_of_a_thousand_characters_is_cut():
    words = tf.ragged.constant([[["x" * 1000]]])
    ids = ngram_ids(words, tf.constant([[[1]]]), min_n=3, max_n=3, buckets=50)
    assert ids.shape == (1, 1, 1, 64)


def test_matrix_with_ngrams_covers_every_word(facebook_file):
    vectors = load_vectors(facebook_file)
    matrix, missing = vectors.matrix(Vocabulary(["dog", "dogs"]))
    assert matrix.dtype == np.float32
    assert missing == 0
    expected = [np.zeros(12), None, vectors.vector("dog"), vectors.vector("dogs")]
    # The unknown word starts at a tenth of the mean.
    expected[1] = 0.1 * (expected[2] + expected[3]) / 2
    np.testing.assert_allclose(matrix, expected, atol=1e-6)


VEC = "3 2\ndog 1 2\ncat 3 4\nstraße 5 6\n"


@pytest.fixture
def vec_file(tmp_path):
    path = tmp_path / "tiny.vec"
    path.write_text(VEC, encoding="utf-8")
    return path


def test_of_a_word_that_stands_twice_the_first_counts(tmp_path):
    path = tmp_path / "twice.vec"
    path.write_text("4 2\ndog 1 2\ndog 9 9\ncat 3 4\ndog 8 8\n")
    loaded = load_vectors(path)
    assert loaded.words == ("dog", "cat")
    assert [loaded.vector(word).tolist() for word in loaded.words] == [[1, 2], [3, 4]]


def test_vec_files_have_no_ngrams(vec_file, caplog):
    vectors = load_vectors(vec_file)
    assert vectors.words == ("dog", "cat", "straße")
    assert not vectors.has_ngrams
    np.testing.assert_array_equal(vectors.vector("straße"), [5, 6])
    with pytest.raises(KeyError, match="cow.*use the .bin file"):
        vectors.vector("cow")
    for method in (vectors.ngram_matrix, vectors.ngram_settings):
        with pytest.raises(ValueError, match="no n-grams"):
            method()
    with caplog.at_level(logging.INFO, logger="imgtext_tf.data.fasttext"):
        matrix, missing = vectors.matrix(Vocabulary(["cat", "cow", "dog"]))
    assert missing == 1
    assert "1 of 3 words have no vector" in caplog.text
    # Row 1, and the word without vector: 0.1 * mean([3, 4], [1, 2]).
    np.testing.assert_allclose(matrix, [[0, 0], [0.2, 0.3], [3, 4], [0.2, 0.3], [1, 2]], rtol=1e-6)


def test_formats_and_limit(tmp_path, vec_file, facebook_file):
    packed = tmp_path / "tiny.vec.gz"
    packed.write_bytes(gzip.compress(VEC.encode()))
    bare = tmp_path / "glove.txt"
    bare.write_text(VEC.split("\n", 1)[1], encoding="utf-8")
    for path in (vec_file, packed, bare):
        assert load_vectors(path).words == ("dog", "cat", "straße")
        assert load_vectors(path, limit=2).words == ("dog", "cat")
    limited = load_vectors(facebook_file, limit=2)
    assert len(limited.words) == 2
    # What is beyond the limit has the vector of its n-grams, like any unknown word.
    cut = next(word for word in load_vectors(facebook_file).words if word not in limited)
    grams = ngrams(cut, limited.ngram_settings()["min_n"], limited.ngram_settings()["max_n"])
    rows = limited.ngram_matrix()[[1 + fnv1a(gram.encode()) % 101 for gram in grams]]
    expected = rows.mean(axis=0) if grams else np.zeros(12)
    np.testing.assert_allclose(limited.vector(cut), expected, atol=1e-6)


def test_damaged_files_are_named(tmp_path, facebook_file):
    def broken(name, data, reason=""):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name} is damaged or truncated.*{reason}"):
            load_vectors(path)

    broken("narrow.vec", b"2 2\ndog 1 2\ncat 3\n", "line 3 has 1 numbers and not 2")
    broken("wide.txt", b"dog 1 2\ncat 3 4 5\n", "line 2 has 3 numbers and not 2")
    broken("few.vec", b"9 2\ndog 1 2\n")
    broken("letters.vec", b"1 2\ndog one two\n")
    broken("short.vec.gz", gzip.compress(np.random.default_rng(0).bytes(4000).hex().encode())[:900])
    whole = gzip.compress(b"2000 2\n" + b"".join(b"w%d 1 2\n" % i for i in range(2000)))
    broken("cut.vec.gz", whole[: len(whole) // 2])
    broken("plain.vec.gz", VEC.encode())
    broken("empty.vec", b"")
    data = facebook_file.read_bytes()
    broken("cut.bin", data[: len(data) // 2])
    broken("other.bin", b"not a model at all" * 10)


def test_missing_and_unknown_files_are_named(tmp_path, vec_file):
    with pytest.raises(FileNotFoundError, match="none.vec"):
        load_vectors(tmp_path / "none.vec")
    (tmp_path / "vectors.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="unknown format"):
        load_vectors(tmp_path / "vectors.npy")
    with pytest.raises(ValueError, match="limit"):
        load_vectors(vec_file, limit=0)


def test_trains_the_same_file_from_the_same_seed(tmp_path):
    settings = {"dim": 8, "epochs": 1, "buckets": 50}
    first = train_vectors(SENTENCES, tmp_path / "a.bin", seed=1, **settings)
    train_vectors(SENTENCES, tmp_path / "b.bin", seed=1, **settings)
    train_vectors(SENTENCES, tmp_path / "c.bin", seed=2, **settings)
    files = [(tmp_path / f"{name}.bin").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin", "c.bin"]
    assert set(first.words) == {word for sentence in SENTENCES for word in sentence}
    assert first.ngram_settings() == {"min_n": 3, "max_n": 6, "buckets": 50}
    assert first.vector("unheard").shape == (8,)


def test_training_refuses_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="saved as a .bin"):
        train_vectors(SENTENCES, tmp_path / "a.vec")
    with pytest.raises(ValueError, match="no words"):
        train_vectors([[], []], tmp_path / "a.bin")


def test_loads_the_kits_vectors(kit):
    vectors = load_vectors(kit / "vectors" / "en_300d.vec.gz", limit=200)
    assert vectors.dim == 300
    assert len(vectors.words) == 200
    matrix, missing = vectors.matrix(Vocabulary(["dog", "xyzzyq"]))
    assert matrix.shape == (4, 300)
    assert missing == 1
