import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf.data.text import PAD, UNKNOWN, Vocabulary, pad_text, split_sentences, tokenize


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n\t\n ", []),
        ("... !!! ?", []),
        ("One dog", ["One dog"]),
        ("A dog runs. A cat sits.", ["A dog runs.", "A cat sits."]),
        # Captions are often written without capitals, with a blank before the stop.
        ("a dog runs . a cat sits .", ["a dog runs .", "a cat sits ."]),
        ("What fun! We ran; they won? Yes.", ["What fun!", "We ran;", "they won?", "Yes."]),
        ("Dr. Ray met Mrs. Low. They left.", ["Dr. Ray met Mrs. Low.", "They left."]),
        ("It eats fish, e.g. trout. It swims.", ["It eats fish, e.g. trout.", "It swims."]),
        ("Fig. 3 shows No. 5. It is old.", ["Fig. 3 shows No. 5.", "It is old."]),
        ("He brought ropes etc. We went up.", ["He brought ropes etc.", "We went up."]),
        ("They met at 3 p.m. and left.", ["They met at 3 p.m. and left."]),
        ("It weighs 3.5 kg. It is 1.2.3 now.", ["It weighs 3.5 kg.", "It is 1.2.3 now."]),
        ("It was 1999. The dog ran.", ["It was 1999.", "The dog ran."]),
        ("1. Open the door. 2. Go in.", ["1. Open the door.", "2. Go in."]),
        ("J. F. Kennedy spoke. We left.", ["J. F. Kennedy spoke.", "We left."]),
        ("He lives in the U.S. The dog too.", ["He lives in the U.S.", "The dog too."]),
        ("The U.S. Army came.", ["The U.S. Army came."]),
        ("He went in. then he sat.", ["He went in.", "then he sat."]),
        ("It was I. He left.", ["It was I.", "He left."]),
        ("a dog\na cat\r\n\r\na cow\u2028a hen", ["a dog", "a cat", "a cow", "a hen"]),
        ('"Stop!" he said. "Go." We went.', ['"Stop!" he said.', '"Go."', "We went."]),
        ("He ran ... and fell. Then... Nothing.", ["He ran ... and fell.", "Then...", "Nothing."]),
        ("He ran… and fell… Then rose.", ["He ran… and fell…", "Then rose."]),
        ("Really?! Yes ! !", ["Really?!", "Yes ! !"]),
        ("salt &amp; pepper", ["salt &amp; pepper"]),
        ("Élan vital. Ñandú! ¿Qué? Où?", ["Élan vital.", "Ñandú!", "¿Qué?", "Où?"]),
        ("犬が走る。猫が座る。", ["犬が走る。", "猫が座る。"]),
    ],
)
def test_splits_sentences(text, sentences):
    assert split_sentences(text) == sentences
    assert split_sentences(text.encode("utf-8")) == sentences


def test_splits_a_long_text():
    text = "The dog saw 3.5 cats . " * 5_000  # 30,000 words
    assert split_sentences(text) == ["The dog saw 3.5 cats ."] * 5_000
    assert split_sentences("dog " * 30_000) == [("dog " * 30_000).strip()]


@pytest.mark.parametrize("text", [b"caf\xe9 noir", "a lone \udce9 surrogate"])
def test_text_that_is_not_utf8_is_named(text):
    with pytest.raises(ValueError, match="not UTF-8.*convert"):
        split_sentences(text)


def words_of(ragged):
    def decoded(value):
        return [decoded(v) for v in value] if isinstance(value, list) else value.decode()

    return decoded(ragged.to_list())


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("", []),
        ("...", []),
        ("A Dog's red-haired friend.", ["a", "dog's", "red", "haired", "friend"]),
        ("Don’t 'quote' ''this'' rock 'n' roll", "don't quote this rock n roll".split()),
        ("3.5 kg, 2nd!", ["3", "5", "kg", "2nd"]),
        ("ÉCOLE naïve STRASSE straße", ["école", "naïve", "strasse", "straße"]),
        ("ﬁne ｆｕｌｌ x²", ["fine", "full", "x2"]),  # NFKC: ligature, full width, superscript
        ("e\u0301te\u0301", ["été"]),  # combining accents are composed
        ("日本語 犬🎉猫", ["日本語", "犬", "猫"]),
    ],
)
def test_tokenizes(sentence, words):
    assert words_of(tokenize(tf.constant([sentence]))) == [words]


def test_tokenizes_tensors_of_any_rank():
    assert words_of(tokenize([["A b", "c"], ["", "d"]])) == [[["a", "b"], ["c"]], [[], ["d"]]]
    ragged = tf.ragged.constant([["A b"], [], ["c", "d e"]])
    assert words_of(tokenize(ragged)) == [[["a", "b"]], [], [["c"], ["d", "e"]]]
    assert [word.decode() for word in tokenize("A b").numpy()] == ["a", "b"]
    assert words_of(tokenize(tf.constant(["A b"]), lower=False)) == [["A", "b"]]


def test_vocabulary_numbers_words_behind_padding_and_unknown():
    vocabulary = Vocabulary(["dog", "cat"])
    assert (PAD, UNKNOWN, len(vocabulary)) == (0, 1, 4)
    assert [vocabulary.id_of(word) for word in ("dog", "cat", "cow")] == [2, 3, 1]
    ids = vocabulary.ids(tf.ragged.constant([["cat", "cow"], [], ["dog"]]))
    assert ids.dtype == tf.int32
    assert ids.to_list() == [[3, 1], [], [2]]


def test_vocabulary_of_counts(tmp_path):
    counts = {"b": 2, "a": 2, "c": 5, "d": 1}
    assert Vocabulary.from_counts(counts).words == ("c", "a", "b", "d")
    assert Vocabulary.from_counts(counts, min_count=2, max_size=2).words == ("c", "a")
    path = tmp_path / "words-train.tsv"
    path.write_text("c\t5\na\t2\n", encoding="utf-8")
    assert Vocabulary.from_counts(path).words == ("c", "a")
    path.write_text("c\t5\na 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="words-train.tsv, line 2"):
        Vocabulary.from_counts(path)


def test_vocabulary_grows_at_its_end():
    vocabulary = Vocabulary(["dog", "cat"]).extended(["cat", "cow", "cow", "hen"])
    assert vocabulary.words == ("dog", "cat", "cow", "hen")


def test_vocabulary_is_saved_and_loaded(tmp_path):
    words = ["dog", "don't", "straße", "日本語"]
    Vocabulary(words).save(tmp_path / "vocabulary.txt")
    assert Vocabulary.load(tmp_path / "vocabulary.txt").words == tuple(words)
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.txt"]
    (tmp_path / "vocabulary.txt").write_bytes(b"dog\ncaf\xe9\n")
    with pytest.raises(ValueError, match="vocabulary.txt is no vocabulary"):
        Vocabulary.load(tmp_path / "vocabulary.txt")


@pytest.mark.parametrize("words", [["a", "b", "a"], ["a", ""], ["a b"], ["a\n"]])
def test_vocabulary_refuses_what_is_no_list_of_words(words):
    with pytest.raises(ValueError, match="twice|no word"):
        Vocabulary(words)


def test_pads_to_the_longest_of_the_batch():
    ids = tf.ragged.constant([[[2, 3], [4]], [[5]]], tf.int32)
    np.testing.assert_array_equal(pad_text(ids), [[[2, 3], [4, 0]], [[5, 0], [0, 0]]])
    np.testing.assert_array_equal(pad_text(ids, max_sentences=1, max_words=1), [[[2]], [[5]]])
    fixed = pad_text(ids, max_sentences=3, max_words=1, fixed=True)
    np.testing.assert_array_equal(fixed, [[[2], [4], [0]], [[5], [0], [0]]])
    assert fixed.dtype == tf.int32


def test_pads_texts_without_words_to_one_place():
    empty = tf.ragged.constant([[[]], []], tf.int32, ragged_rank=2)
    np.testing.assert_array_equal(pad_text(empty), np.zeros((2, 1, 1)))


def test_text_to_ids_inside_a_pipeline():
    vocabulary = Vocabulary(["a", "dog"])
    texts = tf.ragged.constant([["A dog.", "A cat!"], ["Dog"], []])
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(3)
    dataset = dataset.map(lambda text: pad_text(vocabulary.ids(tokenize(text))))
    (ids,) = list(dataset)
    np.testing.assert_array_equal(ids, [[[2, 3], [2, 1]], [[3, 0], [0, 0]], [[0, 0], [0, 0]]])
