import itertools

import pytest

from tfrecords_tools.readers import base, karpathy


def test_content_stems_fold_inflections_and_leave_out_stop_words():
    # "a", "the", "over" are stop words; running -> run, dogs -> dog.
    assert karpathy.content_stems("A DOG runs over the dogs' 2 running fences") == {
        "dog",
        "run",
        "fenc",
    }


def test_pairs_share_no_content_word_and_no_split(raw):
    name, images, bad = karpathy.read_images(raw / "karpathy.json", raw / "photos")
    assert (name, len(images), bad) == ("tiny", 30, [])
    by_path = {image["image_path"]: image for image in images}
    by_sentence = {key: image for image in images for key, _ in image["captions"]}
    pairs = list(karpathy.uncorrelated(raw / "karpathy.json", raw / "photos", per_caption=2))
    assert len(pairs) == 30 * 2 * 2
    assert len({pair.id for pair in pairs}) == 120
    for pair in pairs:
        a = by_sentence[pair.id.split("@")[0].removeprefix("tiny/")]
        b = by_path[pair.image_path]
        assert a["split"] == b["split"] == pair.split
        words = [
            karpathy.content_stems(" ".join(text for _, text in image["captions"]))
            for image in (a, b)
        ]
        assert not words[0] & words[1]
        assert pair.relation == "Uncorrelated"


def test_images_that_share_a_word_in_any_caption_are_never_paired(tmp_path, files):
    def image(name, *captions):
        sentences = [{"raw": text, "sentid": f"{name}{i}"} for i, text in enumerate(captions)]
        return {"filename": name, "split": "restval", "sentences": sentences}

    images = [
        image("a", "one dog", "grass field"),
        image("b", "birds", "a field"),
        image("c", "ships"),
    ]
    files.json(tmp_path / "k.json", {"images": images})
    pairs = list(karpathy.uncorrelated(tmp_path / "k.json", tmp_path, per_caption=5))
    drawn = {(pair.sentences[0], pair.group) for pair in pairs}
    assert drawn == {
        ("one dog", "k/c"),
        ("grass field", "k/c"),
        ("birds", "k/c"),
        ("a field", "k/c"),
        ("ships", "k/a"),
        ("ships", "k/b"),
    }
    assert {pair.split for pair in pairs} == {"train"}


def test_bad_images_are_records_and_a_wrong_file_is_an_error(tmp_path, files):
    good = {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "x"}]}
    bad = [{**good, "filename": "../a.jpg"}, {**good, "split": "dev"}, {"filename": "b.jpg"}, 7]
    files.json(tmp_path / "k.json", {"images": [good, *bad]})
    _, images, records = karpathy.read_images(tmp_path / "k.json", tmp_path)
    assert len(images) == 1
    assert [record.id[-2] for record in records] == ["1", "2", "3", "4"]
    files.json(tmp_path / "k.json", {"annotations": []})
    with pytest.raises(base.ReaderError, match="images"):
        karpathy.read_images(tmp_path / "k.json", tmp_path)


def test_the_draw_follows_the_seed(raw):
    def ids(seed):
        return [
            p.id for p in karpathy.uncorrelated(raw / "karpathy.json", raw / "photos", seed=seed)
        ]

    assert ids(1) == ids(1) != ids(2)


def test_real_captions(kit):
    path = kit / "flickr8k"
    items = karpathy.uncorrelated(path / "dataset_flickr8k.json", path / "Flicker8k_Dataset")
    pairs = [item for item in itertools.islice(items, 200) if isinstance(item, base.Pair)]
    assert len(pairs) > 150 and {pair.split for pair in pairs} == {"train"}
