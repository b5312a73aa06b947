import dataclasses
import json

import pytest

from imgtext_tf.data import examples, shards
from imgtext_tf.data.captions import Captions
from tfrecords_tools import build_captions, caption_plan
from tfrecords_tools.build_settings import BuildError
from tfrecords_tools.plan import BadRecordsError


@pytest.fixture
def source(tmp_path, files):
    """COCO in small: folders, restval, six and seven captions, a train caption of a test image."""
    images = []
    splits = ("train", "restval", "val", "test", "train", "restval", "val", "test")
    for number, split in enumerate(splits):
        folder = "val2014" if split != "train" else "train2014"
        files.jpeg(tmp_path / "images" / folder / f"{number}.jpg", number)
        texts = [f"caption {i} of {number}" for i in range(5 + number % 3)]
        if number == 4:
            texts[0] = "Caption 0 of 3!"
        images.append(
            {
                "filepath": folder,
                "filename": f"{number}.jpg",
                "split": split,
                "sentences": [{"raw": t, "sentid": 10 * number + i} for i, t in enumerate(texts)],
            }
        )
    files.json(tmp_path / "dataset_coco.json", {"dataset": "coco", "images": images})
    return caption_plan.Settings(
        output_dir=str(tmp_path / "out"),
        karpathy_json=str(tmp_path / "dataset_coco.json"),
        karpathy_images=str(tmp_path / "images"),
    )


def test_an_image_once_with_all_its_captions(source):
    report = build_captions.run(source)
    assert report["images"] == {"train": 4, "val": 2, "test": 2}
    assert report["dropped"]["train caption that stands in val or test"] == 1
    manifest = shards.verify(source.output_dir, level="full")
    assert manifest["record_kind"] == "image_captions" and manifest["name"] == "coco"
    reader = shards.ShardReader(source.output_dir, "train")
    records = [examples.from_bytes("image_captions", data) for data in reader.read(range(4))]
    # The file's order; 5, 6 and 7 captions.
    assert [r["id"][-5:] for r in records] == ["0.jpg", "1.jpg", "4.jpg", "5.jpg"]
    assert [len(r["sentences"]) for r in records] == [5, 6, 5, 7]
    assert records[1]["sentence_ids"] == [str(10 + i) for i in range(6)]
    assert reader.texts == [r["sentences"] for r in records]
    assert len(Captions.of_shards(reader, per_image=5).texts) == 20


def test_same_input_same_bytes(source, tmp_path):
    build_captions.run(source)
    again = dataclasses.replace(source, output_dir=str(tmp_path / "again"), processes=2)
    build_captions.run(again)
    for path in sorted((tmp_path / "out").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_stopped_build_goes_on_and_another_is_refused(source, tmp_path):
    build_captions.run(source)
    whole = (tmp_path / "out" / "manifest.json").read_bytes()
    shard = next((tmp_path / "out").glob("coco-train*.tfrecord"))
    shard.unlink()
    (tmp_path / "out" / "manifest.json").unlink()
    build_captions.run(source)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == whole
    with pytest.raises(BuildError, match="--captions_per_image: 0 -> 5"):
        build_captions.run(dataclasses.replace(source, captions_per_image=5))


def test_settings_change_what_is_kept(source, tmp_path):
    few = dataclasses.replace(
        source, output_dir=str(tmp_path / "few"), captions_per_image=5, restval=False,
        drop_shared_captions=False,
    )  # fmt: skip
    report = build_captions.run(few)
    assert report["images"]["train"] == 2 and report["captions"]["train"] == 10
    assert report["dropped"] == {
        "caption above --captions_per_image": 4,
        "image that stands twice, or in another split": 0,
    }


def test_a_picture_of_two_splits_stays_in_the_test_split(source, tmp_path):
    train = tmp_path / "images" / "train2014" / "0.jpg"
    train.write_bytes((tmp_path / "images" / "val2014" / "3.jpg").read_bytes())
    report = build_captions.run(source)
    assert report["images"] == {"train": 3, "val": 2, "test": 2}
    assert report["dropped"]["image that stands twice, or in another split"] == 1


def test_bad_records_are_listed_or_stop_the_build(source, tmp_path):
    (tmp_path / "images" / "train2014" / "0.jpg").unlink()
    (tmp_path / "images" / "val2014" / "2.jpg").write_bytes(b"no jpeg")
    data = json.loads((tmp_path / "dataset_coco.json").read_text())
    data["images"][3]["sentences"] = [{"raw": "..."}]
    (tmp_path / "dataset_coco.json").write_text(json.dumps(data))
    with pytest.raises(BadRecordsError, match="no such file"):
        build_captions.run(source)
    report = build_captions.run(dataclasses.replace(source, max_bad_records=0.5))
    assert report["bad records"] == 3 and report["images"] == {"train": 3, "val": 1, "test": 1}
    listed = (tmp_path / "out" / caption_plan.BAD_RECORDS).read_text()
    assert "0.jpg: no such file" in listed and "has no caption" in listed
