import json
import shutil

import pytest

from tfrecords_tools.readers import base, vist


def test_stories_are_sorted_by_order_and_show_one_of_their_photos(raw):
    pairs = list(vist.complementary(raw / "vist", raw / "photos"))
    assert len(pairs) == 30
    pair = next(pair for pair in pairs if pair.id.startswith("vist-sis/s7/"))
    # Number 7 has the noun "wolf"; the file has the parts in the order 3, 0, 4, 1, 2.
    assert pair.sentences == tuple(f"Part {i} of tale 7 has a black wolf." for i in range(5))
    assert pair.image_path == str(raw / "photos/p07.jpg")
    assert (pair.relation, pair.group, pair.split) == ("Complementary", "vist/a7", "val")


def story(photos, **changes):
    """Five annotations of story "9" with these photos."""
    return [
        [
            {
                "story_id": "9",
                "album_id": "8",
                "photo_flickr_id": photo,
                "original_text": f"Sentence {order}.",
                "worker_arranged_photo_order": order,
                **changes,
            }
        ]
        for order, photo in enumerate(photos)
    ]


def write(root, files, annotations):
    for split in base.SPLITS:
        content = annotations if split == "train" else []
        files.json(root / f"sis/{split}.story-in-sequence.json", {"annotations": content})


def test_photos_on_disk_are_preferred_and_may_be_png_in_split_folders(tmp_path, files):
    write(tmp_path, files, story(["1", "2", "2", "3", "4"]))
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "images/train/3.png").write_bytes(b"x")
    (tmp_path / "images/2.JPG").write_bytes(b"x")
    pairs = list(vist.complementary(tmp_path, tmp_path / "images", images_per_story=9))
    assert sorted(pair.image_path for pair in pairs) == [
        str(tmp_path / "images/2.JPG"),
        str(tmp_path / "images/train/3.png"),
    ]
    # Any of the photos is drawn, by the seed.
    drawn = {
        next(vist.complementary(tmp_path, tmp_path / "images", seed=seed)).image_path
        for seed in range(20)
    }
    assert len(drawn) == 2


def test_a_story_without_photo_keeps_a_path_that_the_plan_reports(tmp_path, files):
    write(tmp_path, files, story(["1", "2", "3", "4", "5"]))
    (pair,) = vist.complementary(tmp_path, tmp_path / "images", images_per_story=3)
    assert not (tmp_path / pair.image_path).exists()


def test_bad_stories(tmp_path, files):
    annotations = story(["1", "2", "3", "4"])
    annotations += [[{**item[0], "story_id": "10"}] for item in story(["../1"] * 5)]
    annotations += [[{**item[0], "story_id": "11"}] for item in story("12345", original_text=" ")]
    broken = [[{**item[0], "story_id": "12"}] for item in story("12345")]
    del broken[2][0]["worker_arranged_photo_order"]
    annotations += [*broken, [{"album_id": "1"}], [], "x"]
    write(tmp_path, files, annotations)
    items = list(vist.complementary(tmp_path, tmp_path / "images"))
    assert all(isinstance(item, base.BadRecord) for item in items)
    reasons = {item.id: item.reason for item in items}
    assert "not 0 to 4" in reasons["vist-sis/9"]
    assert "leaves the image folder" in reasons["vist-sis/10"]
    assert "empty" in reasons["vist-sis/11"]
    assert "worker_arranged_photo_order" in reasons["vist-sis/12"]
    assert len(items) == 7


def test_descriptions(raw):
    pairs = list(vist.anchorage(raw / "vist", raw / "photos"))
    assert len(pairs) == len({pair.id for pair in pairs}) == 30
    path = raw / "vist/dii/test.description-in-isolation.json"
    first = json.loads(path.read_text())["annotations"][0][0]
    pair = next(pair for pair in pairs if pair.split == "test")
    assert pair.sentences == (first["original_text"],)
    assert pair.relation == "Anchorage"
    lower = list(vist.anchorage(raw / "vist", raw / "photos", text_field="text"))
    assert lower[0].sentences == (pairs[0].sentences[0].lower(),)


def test_a_tier_or_a_split_may_be_missing(raw):
    (raw / "vist/sis/val.story-in-sequence.json").unlink()
    splits = {pair.split for pair in vist.complementary(raw / "vist", raw / "photos")}
    assert splits == {"train", "test"}
    shutil.rmtree(raw / "vist/dii")
    assert list(vist.anchorage(raw / "vist", raw / "photos")) == []
    shutil.rmtree(raw / "vist/sis")
    for reader in (vist.complementary, vist.anchorage):
        with pytest.raises(base.ReaderError, match=r"train\..*json: No such file"):
            list(reader(raw / "vist", raw / "photos"))


def test_real_annotations(kit):
    photos = kit / "flickr8k/Flicker8k_Dataset"
    # The counts that the kit's README states.
    for reader, expected in (
        (vist.complementary, {"train": 2200, "val": 300, "test": 400}),
        (vist.anchorage, {"train": 15600, "val": 2400, "test": 3000}),
    ):
        counts = dict.fromkeys(base.SPLITS, 0)
        for pair in reader(kit / "vist", photos):
            counts[pair.split] += 1
        assert counts == expected
