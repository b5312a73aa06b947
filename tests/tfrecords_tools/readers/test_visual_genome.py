"""Visual Genome's layout with all its traps, and the splits."""

import collections
import gzip
import zipfile

import pytest

from tfrecords_tools.readers import base, visual_genome
from tfrecords_tools.readers.base import BadRecord, Dropped
from tfrecords_tools.readers.visual_genome import RegionImage

URL = "https://cs.stanford.edu/people/rak248/{}/{}.jpg"


@pytest.fixture
def release(tmp_path, files):
    root = tmp_path / "vg"
    data = [
        {"image_id": 1, "url": URL.format("VG_100K_2", 1), "width": 8, "height": 9},
        {"id": 2, "url": URL.format("VG_100K", 2) + "?x=1", "width": 8, "height": 9},
        {"image_id": 3, "url": URL.format("VG_100K", 3)},
        {"image_id": 4, "url": URL.format("VG_100K", 4)},
        {"image_id": 5},
    ]
    regions = [
        {
            "id": 1,
            "regions": [
                {"region_id": 11, "image_id": 1, "phrase": " the clock  is green ", "x": 4},
                {"region_id": 12, "image_id": 1, "phrase": " . "},
                {"id": 13, "phrase": "shade along the street"},
            ],
        },
        {"image_id": 2, "regions": [{"phrase": "a dog"}]},
        {"id": 3, "regions": []},
        {"id": 9, "regions": [{"phrase": "no such image"}]},
        {"id": 2, "regions": [{"phrase": "again"}]},
        {"id": 4, "regions": [{"image_id": 1, "phrase": "of another image"}]},
        {"id": 4, "regions": [{"region_id": 7}]},
    ]
    objects = [
        {"image_id": 1, "objects": [
            {"synsets": ["tree.n.01"], "names": ["trees"], "w": 1}, {"synsets": [], "names": ["x"]},
            {"synsets": "['clock.n.01']", "names": ["clock"]}, {"names": ["y"]}]},
        {"id": 2, "objects": []},
    ]  # fmt: skip
    files.json(root / "image_data.json", data)
    files.json(root / "region_descriptions.json", regions)
    files.json(root / "objects.json", objects)
    files.jpeg(root / "VG_100K_2" / "1.jpg", 1)
    files.jpeg(root / "2.jpg", 2)
    return root


def test_reads_a_release(release):
    dropped = collections.Counter()
    items = list(visual_genome.read_images(release, release, dropped=dropped))
    images = {item.id: item for item in items if isinstance(item, RegionImage)}
    assert set(images) == {"1", "2"}
    one = images["1"]
    assert one.sentences == ("the clock is green", "shade along the street")
    assert one.sentence_ids == ("11", "13")
    assert one.objects == ("tree.n.01", "clock.n.01")
    # In the url's folder where it is there, else directly in the image folder.
    assert one.image_path == str(release / "VG_100K_2" / "1.jpg")
    assert images["2"].image_path == str(release / "2.jpg")
    assert images["2"].sentence_ids == ("2.0",) and images["2"].objects == ()
    assert dropped == {"region without a word": 1, "object without a synset": 2}


def test_names_what_is_bad(release):
    items = list(visual_genome.read_images(release, release))
    bad = " | ".join(f"{item.id} {item.reason}" for item in items if isinstance(item, BadRecord))
    for part in (
        "image_data.json[4] lacks the field 'url'",
        "region_descriptions.json[3] image 9 does not stand in image_data.json",
        "region_descriptions.json[4] image 2 stands twice",
        "region_descriptions.json[5] a region of image 1 stands under 4",
        "region_descriptions.json[6] lacks the field 'phrase'",
    ):
        assert part in bad
    dropped = {item.id: item.reason for item in items if isinstance(item, Dropped)}
    assert dropped["3"] == "image without a region description"


@pytest.mark.parametrize(
    "content, problem",
    [("{}", "no list of records"), ('[{"id": 1},', "cut short"), ("[1]", "no object")],
)
def test_a_damaged_file_is_named(release, content, problem):
    (release / "image_data.json").write_text(content)
    with pytest.raises(base.ReaderError, match=f"image_data.json: .*{problem}"):
        list(visual_genome.read_images(release, release))


def test_a_missing_file_is_named(release):
    (release / "region_descriptions.json").unlink()
    with pytest.raises(base.ReaderError, match="region_descriptions.json"):
        list(visual_genome.read_images(release, release))


def test_drawn_splits_have_the_sizes_and_depend_on_seed_and_ids_only():
    ids = [str(number) for number in range(50)]
    split_of = visual_genome.draw_splits(ids, (20, 5, 10), seed=1, study=["7", "8"])
    assert collections.Counter(split_of.values()) == {"train": 20, "val": 5, "test": 10}
    assert split_of["7"] == split_of["8"] == "test"
    assert split_of == visual_genome.draw_splits(ids[::-1], (20, 5, 10), seed=1, study=["8", "7"])
    assert split_of != visual_genome.draw_splits(ids, (20, 5, 10), seed=2, study=["7", "8"])
    with pytest.raises(base.ReaderError, match="--split_sizes"):
        visual_genome.draw_splits(ids, (80_000, 10_000, 10_000), seed=1)


def test_a_file_of_splits(tmp_path, files):
    files.json(tmp_path / "s.json", {"train": [1, 2], "test": [3]})
    assert visual_genome.read_splits(tmp_path / "s.json") == {
        "1": "train",
        "2": "train",
        "3": "test",
    }
    files.json(tmp_path / "s.json", {"train": [1], "test": [1]})
    with pytest.raises(base.ReaderError, match="image 1 stands in train and in test"):
        visual_genome.read_splits(tmp_path / "s.json")
    files.json(tmp_path / "s.json", {"training": [1]})
    with pytest.raises(base.ReaderError, match="expected lists"):
        visual_genome.read_splits(tmp_path / "s.json")


def test_the_kit(kit):
    items = list(
        visual_genome.read_images(kit / "visual_genome", kit / "flickr8k" / "Flicker8k_Dataset")
    )
    assert len(items) == 7000 and all(isinstance(item, RegionImage) for item in items)
    assert all(len(item.sentences) == 5 for item in items)
    split_of = visual_genome.read_splits(kit / "visual_genome" / "splits.json")
    assert collections.Counter(split_of.values()) == {"train": 5200, "val": 800, "test": 1000}


def test_a_study_larger_than_test_is_refused():
    ids = [str(number) for number in range(50)]
    with pytest.raises(base.ReaderError, match="3 images and test only 2"):
        visual_genome.draw_splits(ids, (20, 5, 2), seed=1, study=["7", "8", "9"])
    # Images that are not there take no place.
    visual_genome.draw_splits(ids, (20, 5, 2), seed=1, study=["7", "8", "no such"])


def test_the_files_may_be_packed(release):
    whole = list(visual_genome.read_images(release, release))
    with zipfile.ZipFile(release / "region_descriptions.json.zip", "w") as archive:
        archive.write(release / "region_descriptions.json", "region_descriptions.json")
        archive.writestr("__MACOSX/._region_descriptions.json", "x")
    (release / "objects.json.gz").write_bytes(
        gzip.compress((release / "objects.json").read_bytes())
    )
    for name in ("region_descriptions.json", "objects.json"):
        (release / name).unlink()
    packed = list(visual_genome.read_images(release, release))
    assert [one for one in packed if isinstance(one, RegionImage)] == [
        one for one in whole if isinstance(one, RegionImage)
    ]
    data = (release / "region_descriptions.json.zip").read_bytes()
    (release / "region_descriptions.json.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(base.ReaderError, match="json.zip: .*damaged or cut short"):
        list(visual_genome.read_images(release, release))


def test_packed_files_that_are_bombs_or_locked_are_named(tmp_path):
    bomb = b"[" + bytes(2_000_000) + b"]"
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(bomb))
    for name in ("bomb.json.zip", "locked.json.zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.json", bomb if name.startswith("bomb") else "[]")
    for name in ("bomb.json.gz", "bomb.json.zip"):
        with pytest.raises(base.ReaderError, match=f"{name}: unpacks to more than"):
            base.read_packed(tmp_path / name)
    data = bytearray((tmp_path / "locked.json.zip").read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + place] |= 1  # "encrypted"
    (tmp_path / "locked.json.zip").write_bytes(data)
    with pytest.raises(base.ReaderError, match="locked.json.zip: .*encrypted"):
        base.read_packed(tmp_path / "locked.json.zip")


@pytest.mark.parametrize(
    "value, names",
    [
        (["jack-o'-lantern.n.02"], ["jack-o'-lantern.n.02"]),
        ("[\"men's_room.n.01\", 'room.n.01']", ["men's_room.n.01", "room.n.01"]),
        ("tree.n.01", ["tree.n.01"]),
        ([" tree.n.01 ", "", "tree"], ["tree.n.01"]),
        ("[]", []),
        ("", []),
        (None, []),
    ],
)
def test_synsets_of_every_form(value, names):
    assert visual_genome._synsets(value) == names


def test_damaged_synsets_and_second_lists_of_objects_are_named(release, files):
    objects = [
        {"image_id": 1, "objects": [{"synsets": "['tree.n.01'"}]},
        {"image_id": 2, "objects": None},
        {"id": 2, "objects": [{"synsets": ["dog.n.01"]}]},
        {"image_id": 4, "objects": [{"synsets": [{"name": "x"}]}]},
    ]
    files.json(release / "objects.json", objects)
    items = list(visual_genome.read_images(release, release))
    bad = {item.id.rsplit("/", 1)[1]: item.reason for item in items if isinstance(item, BadRecord)}
    assert "are no list" in bad["objects.json[0]"]
    assert "image 2 stands twice" in bad["objects.json[2]"]
    assert "objects.json[3]" in bad and "objects.json[1]" not in bad
    assert {item.objects for item in items if isinstance(item, RegionImage)} == {()}


def test_an_image_is_found_in_the_other_folder(release, files):
    # As where both archives were unpacked into one folder.
    (release / "VG_100K").mkdir()
    (release / "VG_100K_2" / "1.jpg").rename(release / "VG_100K" / "1.jpg")
    files.json(
        release / "image_data.json",
        [{"image_id": 1, "url": URL.format("VG_100K_2", 1)}, {"image_id": 2, "url": "2.jpg"}],
    )
    items = visual_genome.read_images(release, release)
    paths = {item.id: item.image_path for item in items if isinstance(item, RegionImage)}
    assert paths == {"1": str(release / "VG_100K" / "1.jpg"), "2": str(release / "2.jpg")}
