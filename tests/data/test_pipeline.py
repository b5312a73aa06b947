"""Batches: planned from the index, a pure function of (seed, step), padded, complete."""

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import relations
from imgtext_tf.data import features, images, pipeline, plans, shards, text

BATCH = 8


@pytest.fixture(scope="module")
def reader(dataset):
    return shards.ShardReader(dataset, "train")


@pytest.fixture(scope="module")
def vocabulary(dataset):
    words = text.Vocabulary.from_counts(dataset / "words-train.tsv").words
    return text.Vocabulary(words[:-2])  # two words are unknown


@pytest.fixture(scope="module")
def cache(reader, tmp_path_factory):
    kernel = tf.constant(np.random.default_rng(1).normal(size=[3, 5]), tf.float32)
    return features.write_feature_cache(
        tmp_path_factory.mktemp("cache"),
        [reader],
        lambda batch: tf.image.resize(batch, (2, 3)) @ kernel,
        image_size=16,
        fingerprint={"backbone": "mean"},
        batch_size=4,
        shards=2,
        dtype="float32",
    )


@pytest.fixture
def make(reader, vocabulary):
    def relation_dataset(**changes):
        settings = {"target": "relation", "batch_size": BATCH, "training": True, "seed": 3}
        return pipeline.relation_dataset(reader, vocabulary=vocabulary, **settings | changes)

    return relation_dataset


def lists(dataset):
    return list(dataset.as_numpy_iterator())


def assert_same(first, second):
    tf.nest.assert_same_structure(first, second)
    for one, other in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        np.testing.assert_array_equal(one, other)


def made_index(count, seed=0):
    rng = np.random.default_rng(seed)
    sentences = rng.integers(1, 6, count)
    longest = rng.integers(1, 40, count)
    names = np.array([name.encode() for name in relations.RELATIONS])
    relation = names[np.where(rng.random(count) < 0.9, 0, rng.integers(1, 8, count))]
    ids = np.array([f"r{n}".encode() for n in range(count)])
    return {
        "offset": np.arange(count),
        "sentences": sentences,
        "longest": longest,
        "relation": relation,
        "id": ids,
    }


# Plans


def test_an_epoch_uses_every_row_once_but_for_the_remainder():
    index = made_index(1003)
    batches = pipeline.batch_rows(index, batch_size=10, seed=1, epoch=0)
    assert [len(batch) for batch in batches] == [10] * 100
    assert len(np.unique(np.concatenate(batches))) == 1000


def test_a_plan_is_a_function_of_seed_and_epoch():
    index = made_index(200)
    plan = {
        (seed, epoch): np.array(
            pipeline.batch_rows(index, batch_size=10, seed=seed, epoch=epoch)
        ).tolist()
        for seed in (1, 2)
        for epoch in (0, 1, 2)
    }
    again = np.array(pipeline.batch_rows(index, batch_size=10, seed=2, epoch=1))
    np.testing.assert_array_equal(again, plan[2, 1])
    for one in plan:
        assert all(plan[one] != plan[other] for other in plan if other != one)


def test_batches_by_length_need_far_less_padding():
    index = made_index(2000)

    def padded(by_length):
        batches = pipeline.batch_rows(index, batch_size=10, seed=0, epoch=0, by_length=by_length)
        return sum(index["sentences"][b].sum() * index["longest"][b].max() for b in batches)

    words = (index["sentences"] * index["longest"]).sum()
    assert padded(True) < 1.1 * words < 1.5 * words < padded(False)


def test_lengths_count_as_far_as_they_are_kept():
    """With at most one word kept all texts are alike: nothing is sorted by words."""
    index = made_index(400) | {"sentences": np.ones(400, int)}
    arguments = {"batch_size": 10, "seed": 0, "epoch": 0}
    cut = pipeline.batch_rows(index, max_words=1, **arguments)
    spread = np.mean([np.ptp(index["longest"][batch]) for batch in cut])
    sorted_spread = np.mean(
        [np.ptp(index["longest"][batch]) for batch in pipeline.batch_rows(index, **arguments)]
    )
    assert sorted_spread < 3 and spread > 20


def test_batches_of_like_length_come_in_mixed_order():
    index = made_index(2000)
    batches = pipeline.batch_rows(index, batch_size=10, seed=0, epoch=0)
    longest = np.array([index["longest"][batch].max() for batch in batches])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3


def test_windows_do_not_mix(monkeypatch):
    """With windows of one batch, sorting changes no batch's set of rows."""
    monkeypatch.setattr(plans, "WINDOW_BATCHES", 1)
    index = made_index(100)
    arguments = {"index": index, "batch_size": 10, "seed": 0, "epoch": 0}
    with_sorting = pipeline.batch_rows(**arguments)
    without = pipeline.batch_rows(**arguments, by_length=False)
    assert [set(b.tolist()) for b in with_sorting] == [set(b.tolist()) for b in without]


def test_balanced_epochs_draw_each_class_equally_and_use_it_up():
    index = made_index(800)
    counts = {}
    for epoch in range(10):
        rows = np.concatenate(
            pipeline.batch_rows(index, batch_size=8, seed=0, epoch=epoch, class_balance=1)
        )
        names, number = np.unique(index["relation"][rows], return_counts=True)
        assert len(names) == 8 and set(number) == {100}
        for row in rows.tolist():
            counts[row] = counts.get(row, 0) + 1
    assert len(counts) == 800
    # Within a class, no row is drawn twice more than another.
    for name in np.unique(index["relation"]):
        drawn = [counts[row] for row in np.flatnonzero(index["relation"] == name)]
        assert max(drawn) - min(drawn) <= 1


def test_half_balanced_epochs_draw_in_proportion_to_the_root_of_the_class():
    # 900 and 100 rows: roots 30 and 10, so three quarters and one quarter of an epoch's 1000.
    names = [b"Anchorage"] * 900 + [b"Illustration"] * 100
    index = made_index(1000) | {"relation": np.array(names)}
    batches = pipeline.batch_rows(index, batch_size=10, seed=0, epoch=0, class_balance=0.5)
    rows = np.concatenate(batches)
    assert np.count_nonzero(rows < 900) == 750 and len(rows) == 1000
    with pytest.raises(ValueError, match="class_balance is 2"):
        pipeline.batch_rows(index, batch_size=10, seed=0, epoch=0, class_balance=2)


def test_rows_restrict_a_plan():
    index = made_index(100)
    rows = np.arange(40, 73)
    batches = pipeline.batch_rows(index, batch_size=10, seed=0, epoch=0, rows=rows)
    assert len(batches) == 3 and set(np.concatenate(batches)) <= set(rows)


def test_evaluation_takes_every_row_once_the_longest_first():
    index = made_index(57)
    batches = pipeline.evaluation_rows(index, batch_size=10)
    assert [len(batch) for batch in batches] == [10] * 5 + [7]
    assert sorted(np.concatenate(batches)) == list(range(57))
    longest = index["longest"][np.concatenate(batches)]
    assert (np.diff(longest) <= 0).all()


def test_steps_per_epoch():
    assert pipeline.steps_per_epoch(25, 10) == 2
    assert pipeline.steps_per_epoch(25, 10, training=False) == 3
    with pytest.raises(ValueError, match="9 records make no batch of 10"):
        pipeline.steps_per_epoch(9, 10)


def test_balanced_rows_take_up_to_a_number_a_class():
    index = made_index(600)
    rows = pipeline.balanced_rows(index, 9, seed=5)
    names, number = np.unique(index["relation"][rows], return_counts=True)
    _, available = np.unique(index["relation"], return_counts=True)
    assert number.tolist() == np.minimum(available, 9).tolist() and number.min() < 9
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, pipeline.balanced_rows(index, 9, seed=5))
    assert set(rows) != set(pipeline.balanced_rows(index, 9, seed=6))


def test_rows_of_ids_keep_the_order_and_name_what_is_missing():
    index = made_index(20)
    assert pipeline.rows_of_ids(index, ["r7", "r0", "r19"]).tolist() == [7, 0, 19]
    with pytest.raises(KeyError, match="'r99' .1 of 2 ids"):
        pipeline.rows_of_ids(index, ["r1", "r99"])


# Batches


def reference_batch(record_numbers, record, vocabulary):
    """Word ids of records in loop form; `record` makes them by number."""
    texts = [[s.split() for s in record(n)["sentences"]] for n in record_numbers]
    out = np.zeros(
        [
            len(texts),
            max(len(sentences) for sentences in texts),
            max(len(words) for sentences in texts for words in sentences),
        ],
        np.int32,
    )
    for i, sentences in enumerate(texts):
        for j, words in enumerate(sentences):
            for k, word in enumerate(words):
                out[i, j, k] = vocabulary.id_of(word)
    return out


@pytest.mark.parametrize("target", ["relation", "cmi", "sc", "stat"])
def test_a_batch_holds_the_records_words_and_labels(make, record, vocabulary, target):
    inputs, labels = lists(make(target=target, num_steps=1, with_id=True))[0]
    numbers = [int(one.decode().split("-")[1]) for one in inputs["id"]]
    np.testing.assert_array_equal(inputs["word_ids"], reference_batch(numbers, record, vocabulary))
    assert inputs["word_ids"].dtype == np.int32 and text.UNKNOWN in inputs["word_ids"]
    assert labels.dtype == np.int32
    assert labels.tolist() == [
        relations.label_index(target, record(number)["relation"]) for number in numbers
    ]


@pytest.mark.parametrize(
    "settings",
    [{}, {"image_size": 12, "distort": {}}, {"class_balance": 1, "by_length": False}],
)
def test_starting_at_a_step_equals_skipping_to_it(make, settings):
    # 90 rows of 8: an epoch has 11 steps, so step 13 lies in the second one.
    whole = lists(make(num_steps=16, with_id=True, **settings))
    late = lists(make(num_steps=3, start_step=13, with_id=True, **settings))
    assert_same(whole[13:], late)
    assert whole[2][0]["id"].tolist() != whole[13][0]["id"].tolist()


def test_another_seed_gives_another_order(make):
    first = lists(make(num_steps=1, with_id=True))[0][0]["id"]
    other = lists(make(num_steps=1, with_id=True, seed=4))[0][0]["id"]
    assert first.tolist() != other.tolist()


def test_dropped_text_is_a_part_of_the_text(make):
    settings = {"num_steps": 2, "with_id": True, "fixed_padding": True}
    whole = lists(make(**settings))
    rates = {"drop_sentences": 0.5, "drop_words": 0.5}
    dropped = lists(make(**settings, **rates))
    assert_same(lists(make(**settings, **rates)), dropped)
    for (full, _), (part, _) in zip(whole, dropped, strict=True):
        assert full["id"].tolist() == part["id"].tolist()
        counts = [(ids["word_ids"] != 0).sum((1, 2)) for ids in (full, part)]
        assert (counts[1] >= 1).all() and counts[1].sum() < 0.6 * counts[0].sum()
        for row, kept in zip(full["word_ids"], part["word_ids"], strict=True):
            assert set(kept.ravel()) <= set(row.ravel()) | {0}
    evaluated = {"training": False, "fixed_padding": True}
    assert_same(lists(make(**evaluated)), lists(make(**evaluated, **rates)))


def test_training_never_ends_and_says_so(make):
    assert make().cardinality() == tf.data.INFINITE_CARDINALITY
    assert make(num_steps=5).cardinality() == 5
    assert len(lists(make(num_steps=25))) == 25


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": 10, "distort": {}},
        {"drop_sentences": 0.5, "drop_words": 0.3},
        {"training": False},
    ],
)
def test_the_workers_slices_make_the_global_batch(make, settings):
    settings = settings | {"num_steps": 4, "with_id": True, "fixed_padding": True}
    whole = lists(make(**settings))
    slices = [lists(make(**settings, worker=(number, 3))) for number in range(3)]
    for step, parts in enumerate(zip(*slices, strict=True)):
        joined = tf.nest.map_structure(lambda *tensors: np.concatenate(tensors), *parts)
        assert_same(whole[step], joined)


def test_evaluation_gives_every_row_once_with_its_id(make):
    dataset = make(training=False)
    assert dataset.cardinality() == 12
    batches = lists(dataset)
    ids = np.concatenate([inputs["id"] for inputs, _ in batches])
    assert sorted(ids.tolist()) == sorted(f"pair-{n}".encode() for n in range(90))
    # The longest come first, so padding only shrinks.
    widths = [inputs["word_ids"].shape[2] for inputs, _ in batches]
    assert widths == sorted(widths, reverse=True) and widths[0] > widths[-1]


def test_rows_restrict_a_dataset(make, reader):
    rows = pipeline.rows_of_ids(reader.index, ["pair-3", "pair-80", "pair-41"])
    inputs, _ = lists(make(training=False, rows=rows))[0]
    assert sorted(inputs["id"].tolist()) == [b"pair-3", b"pair-41", b"pair-80"]


def test_padding_to_the_limits(make):
    tight = lists(make(num_steps=2, max_sentences=2, max_words=3))
    fixed = lists(make(num_steps=2, max_sentences=6, max_words=10, fixed_padding=True))
    for inputs, _ in tight:
        assert inputs["word_ids"].shape[1] <= 2 and inputs["word_ids"].shape[2] <= 3
    assert all(inputs["word_ids"].shape == (BATCH, 6, 10) for inputs, _ in fixed)


def test_ngrams_are_of_unknown_words_only(make):
    ngrams = {"min_n": 3, "max_n": 4, "buckets": 50}
    for inputs, _ in lists(make(num_steps=3, ngrams=ngrams, max_sentences=2, max_words=3)):
        assert inputs["ngram_ids"].shape[:3] == inputs["word_ids"].shape
        unknown = inputs["word_ids"] == text.UNKNOWN
        np.testing.assert_array_equal(inputs["ngram_ids"].any(axis=-1), unknown)
        assert inputs["ngram_ids"].max() <= 50


def test_without_a_vocabulary_no_text_is_read(reader, cache):
    settings = {"target": "relation", "batch_size": BATCH, "training": True, "vocabulary": None}
    for more, names in (({"image_size": 10}, {"image"}), ({"features": cache}, {"image_features"})):
        inputs, labels = next(iter(pipeline.relation_dataset(reader, **settings, **more)))
        assert set(inputs) == names and len(labels) == BATCH


def test_class_weights_become_sample_weights(make):
    weights = np.arange(8) / 4
    for _, labels, sample_weights in lists(make(num_steps=2, class_weights=weights)):
        assert sample_weights.dtype == np.float32
        np.testing.assert_array_equal(sample_weights, labels / 4)


def test_images_are_decoded_and_cropped(make, record):
    inputs, _ = lists(make(num_steps=1, with_id=True, image_size=14))[0]
    assert inputs["image"].shape == (BATCH, 14, 14, 3) and inputs["image"].dtype == np.float32
    for one, pixels in zip(inputs["id"], inputs["image"], strict=True):
        data = record(int(one.decode().split("-")[1]))["image"]
        expected = images.eval_crop(images.decode_pixels(tf.constant(data)), 14)
        np.testing.assert_array_equal(pixels, expected)


def test_distortions_differ_between_rows_and_steps(make, reader):
    """One picture in all rows: only the seeds can tell its copies apart."""
    same = np.flatnonzero(reader.index["image_id"] == reader.index["image_id"][0])
    batches = lists(make(num_steps=2, rows=same[:BATCH], image_size=6, distort={}))
    copies = np.concatenate([inputs["image"] for inputs, _ in batches]).reshape(2 * BATCH, -1)
    assert len(np.unique(copies, axis=0)) == 2 * BATCH


def test_features_take_the_place_of_images(make, cache, reader):
    batches = make(num_steps=4, features=cache, image_size=16, with_id=True)
    assert batches.element_spec[0]["image_features"].shape.as_list() == [None, 2, 3, 5]
    for inputs, _ in lists(batches):
        assert "image" not in inputs and inputs["image_features"].dtype == np.float32
        rows = pipeline.rows_of_ids(reader.index, [one.decode() for one in inputs["id"]])
        expected = cache.read(cache.lookup(reader.index["image_id"][rows]))
        np.testing.assert_array_equal(inputs["image_features"], expected)


def test_a_damaged_image_ends_training_with_its_record(tmp_path, record, vocabulary, write_dataset):
    broken = record(5)
    broken["image"] = broken["image"][:-30]
    records = [broken if number == 5 else record(number) for number in range(8)]
    folder = write_dataset(tmp_path, records, shard_count=1)
    batches = pipeline.relation_dataset(
        shards.ShardReader(folder, "train"),
        target="relation",
        batch_size=8,
        vocabulary=vocabulary,
        training=True,
        image_size=8,
    )
    with pytest.raises(tf.errors.OpError, match="image of 'pair-5' cannot be decoded"):
        next(iter(batches))


def test_wrong_settings_are_named(make, reader):
    with pytest.raises(ValueError, match="unknown target 'colour'"):
        make(target="colour")
    with pytest.raises(ValueError, match="worker is"):
        make(worker=(2, 2))
    with pytest.raises(ValueError, match="make no batch of 91"):
        make(batch_size=91)


def test_a_shard_damaged_during_training_is_named(tmp_path, record, vocabulary, write_dataset):
    folder = write_dataset(tmp_path, [record(n) for n in range(8)], shard_count=1)
    batches = pipeline.relation_dataset(
        shards.ShardReader(folder, "train"),
        target="relation",
        batch_size=8,
        vocabulary=vocabulary,
        training=False,
    )
    path = next(folder.glob("*.tfrecord"))
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(tf.errors.OpError, match=f"{path.name}: no record 'pair-"):
        next(iter(batches))
