import numpy as np
import pytest

from experiments import relation_negatives
from experiments.relation_negatives import MinimalPair, Texts
from imgtext_tf import relations
from imgtext_tf.data.antonyms import Antonym, AntonymList

NAMES = list(relations.RELATIONS)


def texts_of(*records) -> Texts:
    """Records (id, class, image, sentence, swaps)."""
    ids, classes, images, sentences, swaps = zip(*records, strict=True)
    return Texts(list(ids), list(classes), list(images), [(s,) for s in sentences], list(swaps))


def test_originals_are_found_or_rebuilt():
    texts = texts_of(
        ("a", "Anchorage", "i", "a red hat", ()),
        ("a#swap0", "Bad Anchorage", "i", "a blue hat", ((0, 2, "red", "blue"),)),
        ("b", "Contrasting", "j", "an old man", ((0, 0, "a young", "an old"),)),
        ("by hand", "Bad Anchorage", "i", "a wrong text", ()),
        # The same text, but with another image: it is not the original.
        ("c", "Complementary", "i", "a young man", ()),
    )
    rows = texts.rows_of(relation_negatives.POSITIVE_OF, most=0, seed=0)
    assert rows == [1, 2, 3]
    pairs, made = relation_negatives.seen_pairs(texts, rows)
    assert pairs == [
        MinimalPair("Anchorage", "a", "a#swap0"),
        MinimalPair("Complementary", "b#original", "b"),
    ]
    (edit,) = made
    assert (edit.id, edit.row, edit.relation) == ("b#original", 2, "Complementary")
    assert edit.sentences == ("a young man",)


def test_a_swap_that_does_not_fit_names_its_record():
    texts = texts_of(("x", "Contrasting", "i", "a hat", ((0, 2, "cap", "shoe"),)))
    with pytest.raises(ValueError, match="record 'x': sentence 0 has no 'shoe'"):
        relation_negatives.seen_pairs(texts, [0])


def test_unseen_swaps():
    keywords = AntonymList((Antonym("dog", ("cat",), "animal", "test"),))
    texts = texts_of(
        ("a", "Illustration", "i", "the dog is an animal", ()),
        ("b", "Anchorage", "i", "nothing to swap", ()),
    )
    pairs, made = relation_negatives.unseen_pairs(texts, [0, 1], keywords, seed=0)
    assert pairs == [MinimalPair("Illustration", "a", "a#unseen")]
    assert made[0].sentences == ("the cat is an animal",)
    assert made[0].relation == "Bad Illustration"


def test_keywords_that_training_swapped_are_left_out():
    keywords = AntonymList(
        tuple(
            Antonym(keyword, (opposite,), "x", "test")
            for keyword, opposite in (("dog", "cat"), ("big hat", "cap"), ("at a lake", "at home"))
        )
    )
    swaps = [(0, 0, "Big", "small"), (0, 0, "a cat", "a cow")]
    left = relation_negatives.without_seen(keywords, swaps)
    # "a" and "at" are no reason.
    assert left.keywords == ("at a lake",)


def test_shuffled_images_stay_in_their_class_and_are_never_ones_own():
    records = [
        (f"{name}{number}", name, f"{name} image {number % images}", "text", ())
        for name, count, images in (
            ("Anchorage", 12, 4),
            ("Uncorrelated", 7, 7),
            ("Contrasting", 3, 1),
        )
        for number in range(count)
    ]
    texts = texts_of(*records)
    made = relation_negatives.shuffled_images(texts, range(len(records)), seed=1)
    assert [edit.row for edit in sorted(made, key=lambda edit: edit.row)] == list(range(19))
    for edit in made:
        assert texts.classes[edit.image_row] == texts.classes[edit.row]
        assert texts.images[edit.image_row] != texts.images[edit.row]
    shown = sorted(texts.images[edit.image_row] for edit in made)
    assert shown == sorted(texts.images[:19])
    again = relation_negatives.shuffled_images(texts, range(len(records)), seed=1)
    assert again == made


def test_draws_are_seeded_and_limited():
    texts = texts_of(*((f"{n}", NAMES[n % 2], "i", "t", ()) for n in range(20)))
    rows = texts.rows_of(NAMES, most=3, seed=5)
    assert rows == texts.rows_of(NAMES, most=3, seed=5) and len(rows) == 6
    assert texts.rows_of(NAMES, most=0, seed=5) == list(range(20))


def test_scores_of_minimal_pairs_by_hand():
    def logits(**chances):
        return [chances.get(name.replace(" ", "_"), 0.0) for name in NAMES]

    rows = [
        logits(Anchorage=2.0),  # right
        logits(Bad_Anchorage=2.0),  # right
        logits(Anchorage=2.0, Bad_Anchorage=3.0),  # original taken for swapped
        logits(Anchorage=2.0, Bad_Anchorage=3.5),  # right, and surer: told apart
        logits(Complementary=1.0),
        logits(Complementary=1.0),  # the same answer for both
    ]
    pairs = [
        MinimalPair("Anchorage", "0", "1"),
        MinimalPair("Anchorage", "2", "3"),
        MinimalPair("Complementary", "4", "5"),
    ]
    place_of = {str(row): row for row in range(6)}
    scores = relation_negatives.score_pairs(pairs, place_of, np.array(rows), seed=0)
    assert scores["all/pairs"] == 3 and scores["Anchorage/pairs"] == 2
    assert scores["Anchorage/both"] == 0.5 and scores["Complementary/both"] == 0
    assert scores["all/both"] == pytest.approx(1 / 3) and scores["macro/both"] == 0.25
    assert scores["Anchorage/original"] == 0.5 and scores["Anchorage/swapped"] == 1
    assert scores["Anchorage/told_apart"] == 1
    # Identical scores are no failure: who does not read the text is right by chance.
    assert scores["Complementary/told_apart"] == 0.5 and scores["macro/told_apart"] == 0.75
    assert scores["Anchorage/same_answer"] == 0.5 and scores["Complementary/same_answer"] == 1
    assert 0 <= scores["all/both_low"] <= 1 / 3 <= scores["all/both_high"] <= 1
    assert relation_negatives.score_pairs([], {}, np.zeros([0, 8]), seed=0) == {}
