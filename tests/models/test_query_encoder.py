"""The text encoder: loop form, what it learns, and the grams it reads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import optimizers
from imgtext_tf.data import associations, grams
from imgtext_tf.models import query_encoder
from tests import reference

IDS = np.array([[3, 5, 3, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.int32)


@pytest.mark.parametrize("pooling", query_encoder.POOLING)
def test_equals_the_loop_form(pooling):
    encoder = query_encoder.query_encoder(buckets=6, dim=4, gram_dim=3, pooling=pooling, seed=1)
    found = encoder({"gram_ids": IDS})["embedding"].numpy()
    table = encoder.get_layer("grams").table.numpy()
    project = encoder.get_layer("project").kernel.numpy()
    for ids, vector in zip(IDS, found, strict=True):
        words = [table[one] for one in ids if one]
        if not words:
            np.testing.assert_array_equal(vector, np.zeros(4))
            continue
        if pooling == "attention":
            layer = encoder.get_layer("attention")
            w, b = (weight.numpy() for weight in layer.of_state.weights)
            bag = reference.attention_pooling(words, w, b, layer.score.kernel.numpy())
        else:
            bag = sum(words) / (len(words) if pooling == "mean" else np.sqrt(len(words)))
        expected = bag @ project
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), rtol=1e-4)


def test_grams_are_unigrams_and_bigrams():
    ids = grams.gram_ids(tf.constant(["Red dog runs", "dog", "", "?!"]), buckets=1000).numpy()
    assert ids.shape == (4, 5)
    assert (ids > 0).sum(1).tolist() == [5, 1, 0, 0]
    assert ids[1, 0] == ids[0, 1], "the word dog"
    both = grams.gram_ids(tf.constant(["red dog", "dog red"]), buckets=1 << 20).numpy()
    assert set(both[0, :2]) == set(both[1, :2]) and both[0, 2] != both[1, 2]
    assert grams.gram_ids(tf.constant([""]), buckets=9).shape == (1, 1)
    assert grams.gram_ids(tf.constant(["a b c d"]), buckets=9, longest=1, most=3).shape == (1, 3)


def groups(count=60):
    """Texts of a group share one word of their own; all texts share the others."""
    common = ["a photo of", "the", "see my", "nice"]
    return associations.Associations(
        {f"g{n}": [f"{words} thing{n}" for words in common] for n in range(count)}
    )


def test_associated_texts_come_together():
    train = groups()
    keras.utils.set_random_seed(1)
    encoder = query_encoder.query_encoder(buckets=4096, dim=16, gram_dim=16, seed=1)
    model = query_encoder.compile_dual(
        query_encoder.dual_encoder(encoder), optimizers.LazyAdam(0.02)
    )
    how = {"batch_size": 20, "seed": 3, "buckets": 4096}
    data = associations.pair_dataset(train, start_step=0, num_steps=60, **how)
    losses = model.fit(data, epochs=1, verbose=0, steps_per_epoch=60).history["loss"]
    assert np.isfinite(losses).all()
    first = grams.gram_ids(tf.constant([texts[0] for texts in train.texts]), buckets=4096)
    last = grams.gram_ids(tf.constant([texts[3] for texts in train.texts]), buckets=4096)
    a, b = (encoder({"gram_ids": ids})["embedding"].numpy() for ids in (first, last))
    assert ((a @ b.T).argmax(1) == np.arange(60)).mean() > 0.9
    assert query_encoder.encoder_of(model) is encoder


def test_batches_are_a_function_of_seed_and_step():
    train = groups(10)
    how = {"batch_size": 4, "seed": 3}
    found = [train.batch(step, **how) for step in range(4)]
    assert sorted(set(np.concatenate([g for _, g in found[:2]]))) == sorted(
        np.concatenate([g for _, g in found[:2]])
    )
    again = train.batch(3, **how)
    assert again[0] == found[3][0] and (again[1] == found[3][1]).all()
    for pairs, own in found:
        for (first, second), group in zip(pairs, own, strict=True):
            assert first != second and {first, second} <= set(train.texts[group])
    with pytest.raises(associations.AssociationError, match="no batch of 11"):
        train.batch(0, batch_size=11, seed=0)


def test_one_text_in_several_groups_and_two_groups_of_one_source():
    train = associations.Associations(
        {"texts/a": ["dog", "red dog"], "queries/a": ["hound", "pet"], "texts/b": ["dog", "cat"]},
        source_of={"texts/a": "a", "queries/a": "a"},
    )
    assert len(train.number_of) == 5
    how = {"batch_size": 3, "seed": 0, "buckets": 64, "start_step": 0, "num_steps": 8}
    shared = 0
    for step, (inputs, _) in enumerate(associations.pair_dataset(train, **how)):
        pairs, groups = train.batch(step, batch_size=3, seed=0)
        names = [train.names[place].removeprefix("queries/").removeprefix("texts/")
                 for place in groups]  # fmt: skip
        source, first, second = (inputs[k].numpy() for k in ("group", "first_id", "second_id"))
        for i in range(3):
            for j in range(3):
                assert (source[i] == source[j]) == (names[i] == names[j])
                assert (first[i] == first[j]) == (pairs[i][0] == pairs[j][0])
                assert (first[i] == second[j]) == (pairs[i][0] == pairs[j][1])
                shared += i != j and pairs[i][1] == pairs[j][1]
    assert shared


def test_held_out_groups_are_disjoint_and_the_same_every_time():
    rest, held = groups().split(0.2)
    assert not set(rest.names) & set(held.names) and len(rest) + len(held) == 60
    assert 3 < len(held) < 25 and held.names == groups().split(0.2)[1].names


def test_files_of_texts(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text("g\tone\ng\ttwo\nh\tthree\n")
    assert associations.read_groups(path) == {"g": ["one", "two"], "h": ["three"]}
    assert associations.Associations(associations.read_groups(path)).names == ["g"]
    path.write_text("one\tg\n")
    assert associations.read_groups(path, group_first=False) == {"g": ["one"]}
    path.write_text("one\n")
    with pytest.raises(associations.AssociationError, match="texts.tsv:1: expected two columns"):
        associations.read_groups(path)


def test_unknown_pooling():
    with pytest.raises(ValueError, match="unknown pooling"):
        query_encoder.query_encoder(pooling="max")
