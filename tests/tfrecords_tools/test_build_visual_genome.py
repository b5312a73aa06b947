"""The build of Visual Genome: shards, splits, scaling, resuming, copies of one image."""

import dataclasses
import hashlib
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from imgtext_tf.data import examples, shards
from tfrecords_tools import build_visual_genome, region_shards
from tfrecords_tools.build_settings import BuildError
from tfrecords_tools.readers import base, visual_genome

COUNT = 12


@pytest.fixture
def settings(tmp_path, files):
    root = tmp_path / "vg"
    names = [f"{number}.jpg" for number in range(COUNT)]
    for number, name in enumerate(names):
        files.jpeg(root / name, number, size=(20, 40) if number % 2 else (30, 30))
    url = "https://x.org/VG_100K/{}"
    files.json(
        root / "image_data.json",
        [{"image_id": n, "url": url.format(name)} for n, name in enumerate(names)],
    )
    files.json(
        root / "region_descriptions.json",
        [{"id": n, "regions": [{"region_id": n, "phrase": f"thing {n}"}]} for n in range(COUNT)],
    )
    return build_visual_genome.Settings(
        output_dir=str(tmp_path / "out"),
        vg_dir=str(root),
        images_dir=str(root),
        split_sizes=(6, 2, 3),
        longest_side=32,
    )


def records_of(folder, split):
    reader = shards.ShardReader(folder, split)
    rows = np.arange(len(reader))
    return [examples.from_bytes("image_captions", data) for data in reader.read(rows)]


def test_builds_and_scales_to_the_longest_side(settings):
    report = build_visual_genome.run(settings)
    assert report["images"] == {"train": 6, "val": 2, "test": 3}
    assert report["dropped"] == {"image of no split": 1}
    shapes = set()
    for split in ("train", "val", "test"):
        for record in records_of(settings.output_dir, split):
            shapes.add((record["height"], record["width"]))
            assert tf.io.decode_jpeg(record["image"]).shape[:2] == (
                record["height"],
                record["width"],
            )
            assert record["sentences"] == [f"thing {record['id']}"]
    # 20 x 40 becomes 16 x 32; what is smaller stays as it is.
    assert shapes == {(16, 32), (30, 30)}


def test_the_same_data_give_the_same_bytes_and_a_stopped_build_goes_on(settings, tmp_path):
    build_visual_genome.run(settings)
    again = dataclasses.replace(settings, output_dir=str(tmp_path / "again"))
    build_visual_genome.run(again)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    whole = (tmp_path / "out" / "manifest.json").read_bytes()
    (tmp_path / "out" / "manifest.json").unlink()
    next((tmp_path / "out").glob("*val*.tfrecord")).unlink()
    build_visual_genome.run(settings)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == whole


def test_another_build_is_not_mixed_in(settings):
    build_visual_genome.run(settings)
    with pytest.raises(BuildError, match="other flags .--seed: 0 -> 5"):
        build_visual_genome.run(dataclasses.replace(settings, seed=5))


def test_of_copies_in_two_splits_the_one_in_test_stays(settings, files, tmp_path):
    shutil.copy(tmp_path / "vg" / "0.jpg", tmp_path / "vg" / "1.jpg")
    ids = [str(number) for number in range(COUNT)]
    files.json(
        tmp_path / "vg" / "splits.json",
        {"train": [1, *map(int, ids[4:])], "val": [2, 3], "test": [0]},
    )
    report = build_visual_genome.run(settings)
    assert report["images"] == {"train": 8, "val": 2, "test": 1}
    assert report["dropped"] == {"train image whose copy stands in test": 1}


def test_images_of_a_study_are_in_test(settings, tmp_path):
    study = tmp_path / "triplets.csv"
    study.write_text("triplet_id,query_id,target_id1,target_id2\n0,3,4,5\n")
    build_visual_genome.run(dataclasses.replace(settings, study_csv=str(study)))
    assert {record["id"] for record in records_of(settings.output_dir, "test")} == {"3", "4", "5"}


def test_a_study_is_read_as_csv(settings, tmp_path):
    study = tmp_path / "triplets.csv"
    study.write_text("triplet_id, query_id\n0,3\n")
    with pytest.raises(base.ReaderError, match="no column query_id"):
        build_visual_genome._splits(dataclasses.replace(settings, study_csv=str(study)), ["3"])
    study.write_text('triplet_id,query_id,target_id1,target_id2\r\n0,"3", 4 ,5\r\n')
    changed = dataclasses.replace(settings, study_csv=str(study))
    split_of = build_visual_genome._splits(changed, [str(number) for number in range(COUNT)])
    assert {one for one, split in split_of.items() if split == "test"} == {"3", "4", "5"}
    with pytest.raises(base.ReaderError, match="no image of the study, such as 3"):
        build_visual_genome._splits(changed, ["30", "31"])


def test_the_longest_side_is_met_exactly(settings, files, tmp_path):
    # By the shorter side, rounded first, 337 x 1024 would become 190 x 577.
    files.jpeg(tmp_path / "long.jpg", 0, size=(337, 1024))
    image = visual_genome.RegionImage("0", str(tmp_path / "long.jpg"), ("a",), ("0",), ())
    name = hashlib.sha256((tmp_path / "long.jpg").read_bytes()).hexdigest()[:16]
    task = region_shards.RegionTask("", [image], {image.image_path: name}, 576)
    (record,) = region_shards._records(task)
    assert (record["height"], record["width"]) == (190, 576)
    assert tf.io.decode_jpeg(record["image"]).shape == (190, 576, 3)


@pytest.mark.parametrize("side, shape", [(576, (40, 20)), (20, (20, 10)), (0, (40, 20))])
def test_a_photo_held_sideways_is_turned_upright(tmp_path, side, shape):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    pixels = np.zeros([20, 40, 3], np.uint8)
    pixels[:, 20:] = 255
    PIL.Image.fromarray(pixels).save(path, exif=exif)
    image = visual_genome.RegionImage("0", str(path), ("a",), ("0",), ())
    name = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    (record,) = region_shards._records(
        region_shards.RegionTask("", [image], {str(path): name}, side)
    )
    assert (record["height"], record["width"]) == shape
    found = tf.io.decode_jpeg(record["image"]).numpy()
    assert found.shape[:2] == shape
    half = shape[0] // 2
    assert found[: half - 2].mean() < 20 and found[half + 2 :].mean() > 235
