import json

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf.data import caption_batches, captions, precomputed, shards
from imgtext_tf.data.caption_batches import Features, Pixels
from imgtext_tf.data.captions import CaptionError, Captions, WordIds

TEXTS = ("a dog runs", "dogs run", "a red cat sits on the old wall", "cat", "the wall", "a boat")
SPLIT = Captions(TEXTS, np.array([0, 0, 1, 1, 1, 2], np.int32), ("x", "y", "z"))


def write_split(folder, split, count, *, first=0):
    records = []
    for number in range(first, first + count):
        pixels = np.full([8, 8, 3], 20 * number % 256, np.uint8)
        own = [
            f"caption {i} of picture number{number}" + " more" * i for i in range(number % 3 + 2)
        ]
        records.append(
            {
                "id": f"made/{number}",
                "image": tf.io.encode_png(pixels).numpy(),
                "image_id": f"{number:016x}",
                "height": 8,
                "width": 8,
                "source": "made",
                "group": f"made/{number}",
                "sentences": own,
                "sentence_ids": [f"{number}.{i}" for i in range(len(own))],
            }
        )
    path = shards.shard_path(folder, "made", split, 0, 1)
    return [shards.write_shard(path, "image_captions", records)]


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    infos = {
        "train": write_split(folder, "train", 7),
        "val": write_split(folder, "val", 3, first=7),
    }
    shards.write_manifest(
        folder, name="made", record_kind="image_captions", kind="synthetic", build={}, splits=infos
    )
    return [shards.ShardReader(folder, split) for split in infos]


def test_captions_of_shards_keep_their_images(readers):
    found = Captions.of_shards(readers[0])
    assert len(found.texts) == sum(n % 3 + 2 for n in range(7))
    for text, image in zip(found.texts, found.image_of, strict=True):
        assert f"number{image}" in text
    assert found.image_ids[2] == "made/2"
    first = Captions.of_shards(readers[0], per_image=1)
    assert len(first.texts) == 7 and all("caption 0" in text for text in first.texts)


def test_joined_splits_number_their_images_on(readers):
    parts = [Captions.of_shards(reader) for reader in readers]
    whole = Captions.joined(parts)
    for text, image in zip(whole.texts, whole.image_of, strict=True):
        assert f"number{image}" in text
    assert whole.image_ids[8] == "made/8"


def test_other_shards_are_refused(readers, monkeypatch):
    monkeypatch.setattr(readers[0], "record_kind", "relation")
    with pytest.raises(shards.ShardError, match="build_captions"):
        Captions.of_shards(readers[0])


def test_vocabulary_has_frequent_words_behind_the_boundaries():
    vocabulary = captions.vocabulary_of(SPLIT, min_count=2)
    assert vocabulary.words == ("<start>", "<end>", "a", "cat", "the", "wall")


def test_nltk_words_of_each_sentence():
    """The words that `nltk.word_tokenize` gives with its English model of sentences."""
    found = captions.words_of(["A man runs. He's 3.5 m tall!", "Mr. Ray ( left ) sits ."], "nltk")
    assert [[word.decode() for word in row] for row in found.to_list()] == [
        ["a", "man", "runs", ".", "he", "'s", "3.5", "m", "tall", "!"],
        ["mr.", "ray", "(", "left", ")", "sits", "."],
    ]


def test_word_ids_by_hand():
    vocabulary = captions.vocabulary_of(SPLIT, min_count=2)
    ids = WordIds.of(SPLIT, vocabulary, max_words=3)
    # <start> 2, <end> 3, a 4, cat 5, the 6, wall 7; unknown 1.
    expected = [[2, 4, 1, 1, 3], [2, 1, 1, 3, 0], [2, 5, 3, 0, 0]]
    np.testing.assert_array_equal(ids.padded(np.array([0, 1, 3])), expected)
    plain = WordIds.of(SPLIT, captions.Vocabulary(["a"]))
    np.testing.assert_array_equal(plain.padded(np.array([1, 3])), [[1, 1], [1, 0]])


def make_features():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Features((4,), lambda places: values[places])


def batches(start, count, seed=3, **options):
    ids = WordIds.of(SPLIT, captions.vocabulary_of(SPLIT, min_count=1))
    found = caption_batches.training_batches(
        SPLIT, ids, make_features(), batch_size=2, seed=seed, start_step=start, num_steps=count,
        **options,
    )  # fmt: skip
    return [{name: value.numpy() for name, value in batch.items()} for batch in found]


def test_an_epoch_takes_each_caption_once_with_its_image():
    ids = WordIds.of(SPLIT, captions.vocabulary_of(SPLIT, min_count=1))
    seen = []
    for batch in batches(0, 3):
        np.testing.assert_array_equal(
            batch["image_features"], np.arange(12).reshape(3, 4)[batch["image_row"]]
        )
        for row, image in zip(batch["caption_ids"], batch["image_row"], strict=True):
            own = row[row != 0].tolist()
            caption = next(
                c for c in range(6) if ids.flat[ids.splits[c] : ids.splits[c + 1]].tolist() == own
            )
            assert SPLIT.image_of[caption] == image
            seen.append(caption)
    assert sorted(seen) == list(range(6))


def test_images_and_captions_of_a_batch_can_be_told():
    ids = WordIds.of(SPLIT, captions.vocabulary_of(SPLIT, min_count=1))
    told = caption_batches.training_ids(SPLIT, ids, batch_size=2, seed=3)
    for step, batch in enumerate(batches(0, 5)):
        names = [line.split(": ")[0] for line in told(step)]
        assert names == [SPLIT.image_ids[row] for row in batch["image_row"]]
        texts = [line.split(": ")[1] for line in told(step)]
        lengths = [len(row[row != 0]) for row in batch["caption_ids"]]
        plain = [len(text.split()) for text in texts]
        assert [a - b for a, b in zip(lengths, plain, strict=True)] == [lengths[0] - plain[0]] * 2


def test_a_batch_depends_on_seed_and_step_only():
    whole = batches(0, 8)
    for step, batch in enumerate(batches(5, 3), start=5):
        for name, value in batch.items():
            np.testing.assert_array_equal(value, whole[step][name])
    other = batches(0, 8, seed=4)
    assert any((a["image_row"] != b["image_row"]).any() for a, b in zip(whole, other, strict=True))


def test_batches_by_length_hold_captions_of_like_lengths():
    widths = [batch["caption_ids"].shape[1] for batch in batches(0, 3)]
    assert sorted(widths) == [4, 4, 10]  # the longest of each pair, <start> and <end> included


def test_every_caption_and_image_is_evaluated_once(readers):
    ids = WordIds.of(SPLIT, captions.vocabulary_of(SPLIT))
    places = [rows for rows, _ in caption_batches.caption_batches(ids, batch_size=4)]
    assert sorted(np.concatenate(places)) == list(range(6))
    assert places[0][0] == 2  # the longest first
    images = list(caption_batches.image_batches(make_features(), 3, batch_size=2))
    assert [len(rows) for rows, _ in images] == [2, 1]


def test_pixels_of_joined_splits(readers):
    source = Pixels(tuple(readers), 4, 1.0, {"crop": True, "flip": True})
    whole = Captions.joined([Captions.of_shards(reader) for reader in readers])
    ids = WordIds.of(whole, captions.vocabulary_of(whole, min_count=1))

    def at(start, count):
        return list(
            caption_batches.training_batches(
                whole, ids, source, batch_size=4, seed=1, start_step=start, num_steps=count
            )
        )

    for batch in at(0, 2):
        grey = batch["image"].numpy().mean(axis=(1, 2, 3)) * 255
        # One grey for each image; colour is left alone where not asked for, and the default asks.
        assert batch["image"].shape == (4, 4, 4, 3) and grey.shape == (4,)
    np.testing.assert_array_equal(at(0, 2)[1]["image"], at(1, 1)[0]["image"])
    plain = list(caption_batches.image_batches(source, 10, batch_size=4))
    shown = np.concatenate([batch["image"].numpy()[:, 0, 0, 0] for _, batch in plain]) * 255
    np.testing.assert_allclose(shown, 20 * np.arange(10), atol=1e-3)


def test_joined_features():
    one, two = make_features(), Features((4,), lambda places: -np.ones([len(places), 4]))
    found = Features.joined([(one, 3), (two, 2)]).read(np.array([4, 0, 2, 3]))
    np.testing.assert_array_equal(found[:, 0], [-1, 0, 8, -1])


# Precomputed features ----------------------------------------------------------------------------


def write_precomputed(folder, features, lines, split="train"):
    np.save(folder / f"{split}_ims.npy", features)
    (folder / f"{split}_caps.txt").write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6)])
def test_precomputed_five_captions_an_image(tmp_path, shape):
    features = np.random.default_rng(0).normal(size=shape).astype("float32")
    write_precomputed(tmp_path, features, [f"caption {i}" for i in range(20)], "dev")
    found = precomputed.read_precomputed(tmp_path, "val")
    np.testing.assert_array_equal(found.captions.image_of, np.arange(20) // 5)
    np.testing.assert_array_equal(found.read(np.array([3, 1])), features[[3, 1]])


def test_precomputed_rows_that_repeat_are_one_image(tmp_path):
    features = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    write_precomputed(tmp_path, np.repeat(features, 5, axis=0), [f"c {i}" for i in range(15)])
    found = precomputed.read_precomputed(tmp_path, "train")
    np.testing.assert_array_equal(found.captions.image_of, np.arange(15) // 5)
    assert found.features.shape == (3, 6)
    np.testing.assert_array_equal(found.read(np.array([2, 0])), features[[2, 0]])


def test_precomputed_one_caption_an_image(tmp_path):
    features = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    write_precomputed(tmp_path, features, [f"c {i}" for i in range(6)])
    found = precomputed.read_precomputed(tmp_path, "train")
    np.testing.assert_array_equal(found.captions.image_of, np.arange(6))


def test_precomputed_rows_have_as_many_captions_as_one_says(tmp_path):
    write_precomputed(tmp_path, np.eye(3, dtype=np.float32), [f"c {i}" for i in range(6)])
    found = precomputed.read_precomputed(tmp_path, "train", captions_per_row=2)
    np.testing.assert_array_equal(found.captions.image_of, [0, 0, 1, 1, 2, 2])
    first = found.captions.first(1)
    assert first.texts == ("c 0", "c 2", "c 4") and first.image_of.tolist() == [0, 1, 2]
    for all_ in (0, 9):
        assert found.captions.first(all_).texts == found.captions.texts


@pytest.mark.parametrize(
    ("features", "lines", "message"),
    [
        (np.ones((4, 2)), ["a"] * 7, "7 captions for 4 rows"),
        (np.ones((4, 2)), ["a"] * 3, "3 captions for 4 rows"),
        (np.ones((4, 2)), ["a"] * 8, "one or 5 a row"),
        (np.ones(4), ["a"] * 4, "not .N, D."),
        (np.ones((2, 2), int), ["a"] * 4, "int64"),
        (np.ones((2, 2)), ["a", " ", "b", "c"], "line 2 is empty"),
    ],
)
def test_precomputed_shapes_that_do_not_fit(tmp_path, features, lines, message):
    write_precomputed(tmp_path, features, lines)
    with pytest.raises(CaptionError, match=message):
        precomputed.read_precomputed(tmp_path, "train")
    with pytest.raises(CaptionError, match="test_ims.npy"):
        precomputed.read_precomputed(tmp_path, "test")


def test_scan_vocabulary(tmp_path):
    ids = {"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3, "dog": 4, ",": 5}
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"word2idx": ids, "idx2word": {}, "idx": 6}))
    vocabulary = precomputed.read_scan_vocabulary(path)
    assert [vocabulary.id_of(word) for word in ("<start>", "<end>", "dog", ",")] == [2, 3, 4, 5]
    path.write_text(json.dumps({"word2idx": ids | {"cat": 9}}))
    with pytest.raises(CaptionError, match="gaps"):
        precomputed.read_scan_vocabulary(path)
