import pytest

from tfrecords_tools.readers import base, coco

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 2, "name": "bicycle", "supercategory": "vehicle"},
    {"id": 3, "name": "car", "supercategory": "vehicle"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
]
# Image id -> category ids; image 5 has no instances.
KINDS = {1: [1, 2], 2: [3], 3: [18], 4: [18, 1], 5: []}


def write(files, root, name, kinds=KINDS):
    images = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in kinds]
    captions = [
        {"id": 10 * number + i, "image_id": number, "caption": f" caption {i} of {number}\n"}
        for number in kinds
        for i in range(2)
    ]
    instances = [
        {"id": i, "image_id": number, "category_id": category}
        for number, categories in kinds.items()
        for i, category in enumerate(categories)
    ]
    folder = root / "annotations"
    files.json(folder / f"captions_{name}.json", {"images": images, "annotations": captions})
    files.json(
        folder / f"instances_{name}.json",
        {"images": images, "annotations": instances, "categories": CATEGORIES},
    )


def drawn(items):
    """(image of the caption, image of the pair) of all pairs."""
    pairs = [item for item in items if isinstance(item, base.Pair)]
    return {(int(p.sentences[0].split()[-1]), int(p.group.split("/")[-1])) for p in pairs}


def test_supercategory_sets_are_disjoint(tmp_path, files):
    write(files, tmp_path, "train2017")
    items = list(
        coco.uncorrelated(tmp_path, per_caption=5, split_fractions=(1.0, 0.0, 0.0), seed=1)
    )
    # person+vehicle | vehicle | animal | animal+person
    assert drawn(items) == {(1, 3), (2, 3), (2, 4), (3, 1), (3, 2), (4, 2)}
    dropped = [item for item in items if isinstance(item, base.Dropped)]
    assert [(item.id, item.reason) for item in dropped] == [
        ("train2017/5", "image without instances")
    ]
    pair = next(item for item in items if isinstance(item, base.Pair))
    assert pair.sentences == ("caption 0 of 1",)
    assert pair.image_path.endswith("/train2017/000000000003.jpg")
    assert (pair.relation, pair.split) == ("Uncorrelated", "train")


def test_a_caption_without_unrelated_image_is_dropped(tmp_path, files):
    write(files, tmp_path, "train2017", {1: [1], 2: [1, 2]})
    items = list(coco.uncorrelated(tmp_path, split_fractions=(1.0, 0.0, 0.0)))
    assert [item.reason for item in items] == ["caption without an unrelated image"] * 4


@pytest.mark.parametrize(
    "names, expected",
    [
        (["train2014", "val2014"], {"train": {"train"}, "val": {"val", "test"}}),
        (
            ["train2017", "val2017", "test2017"],
            {"train": {"train"}, "val": {"val"}, "test": {"test"}},
        ),
        (["train2017"], {"train": {"train", "val", "test"}}),
    ],
)
def test_splits_by_the_files_present(tmp_path, files, names, expected):
    for start, name in enumerate(names):
        kinds = {100 * start + i: [1, 3, 18][i % 3 : i % 3 + 1] for i in range(60)}
        write(files, tmp_path, name, kinds)
    found = {}
    split_of = {}
    for pair in coco.uncorrelated(tmp_path):
        name = pair.group.split("/")[1]
        found.setdefault(name.rstrip("0123456789"), set()).add(pair.split)
        # An image is in one split, whether it gives the text or the picture.
        for image in (int(pair.sentences[0].split()[-1]), int(pair.group.split("/")[-1])):
            assert split_of.setdefault(image, pair.split) == pair.split
    assert found == expected


def test_missing_and_wrong_files_are_named(tmp_path, files):
    with pytest.raises(base.ReaderError, match="no annotations/captions"):
        list(coco.uncorrelated(tmp_path))
    files.json(tmp_path / "annotations/captions_train2017.json", {"images": []})
    with pytest.raises(base.ReaderError, match="instances_train2017.json"):
        list(coco.uncorrelated(tmp_path))
    files.json(tmp_path / "annotations/instances_train2017.json", {"images": []})
    with pytest.raises(base.ReaderError, match="no field 'categories'"):
        list(coco.uncorrelated(tmp_path))


def test_real_annotations(kit):
    pairs = list(coco.uncorrelated(kit / "coco"))
    assert len([item for item in pairs if isinstance(item, base.Pair)]) > 100
