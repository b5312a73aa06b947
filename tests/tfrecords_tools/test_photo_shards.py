"""Photos to shards: no image in two splits, equal bytes, resumed builds; both commands."""

import json

import pytest

from imgtext_tf.data import examples, shards
from tfrecords_tools import build_labels, build_queries, photo_shards
from tfrecords_tools import plan as planning
from tfrecords_tools.build_settings import BuildError


@pytest.fixture
def raw(tmp_path, files):
    for number, name in enumerate("abcdef"):
        files.jpeg(tmp_path / "photos" / f"{name}.jpg", number)
    files.jpeg(tmp_path / "photos" / "copy.jpg", 0)  # of a.jpg
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    (pairs / "train.tsv").write_text(
        "dog\ta.jpg\nred dog\tb.jpg\ndog\tb.jpg\ncat\tc.jpg\ndog\tcopy.jpg\n"
    )
    (pairs / "validation.tsv").write_text("dog\td.jpg\n")
    (pairs / "test.tsv").write_text("dog\tcopy.jpg\ncat\te.jpg\n")
    return tmp_path


def settings(raw, **kwargs):
    return build_queries.Settings(
        str(raw / "out"), str(raw / "pairs"), str(raw / "photos"), **kwargs
    )


def records(folder, split):
    reader = shards.ShardReader(folder, split)
    found = [examples.from_bytes(reader.record_kind, r) for r in reader.read(range(len(reader)))]
    return {record["id"]: record for record in found}


def test_queries(raw):
    report = build_queries.run(settings(raw))
    assert report["photos"] == {"train": 2, "val": 1, "test": 2}
    assert report["dropped"] == {"train photo that stands in test, too": 1}
    train = records(raw / "out", "train")
    assert {name: record["queries"] for name, record in train.items()} == {
        "b.jpg": ["red dog", "dog"],
        "c.jpg": ["cat"],
    }
    assert train["b.jpg"]["image"] == (raw / "photos" / "b.jpg").read_bytes()
    assert shards.verify(raw / "out")["record_kind"] == "image_query"


def test_equal_bytes_and_a_resumed_build(raw):
    build_queries.run(settings(raw))
    before = {path.name: path.read_bytes() for path in (raw / "out").iterdir()}
    name = next(name for name in before if name.startswith("queries-train"))
    (raw / "out" / name).unlink()
    (raw / "out" / "manifest.json").unlink()
    build_queries.run(settings(raw))
    assert {path.name: path.read_bytes() for path in (raw / "out").iterdir()} == before
    with pytest.raises(BuildError, match="other flags .--seed: 0 -> 1"):
        build_queries.run(settings(raw, seed=1))


def test_captions_name_further_queries_of_train_photos_only(raw, files):
    image = [
        {
            "filename": f"{name}.jpg",
            "split": split,
            "sentences": [{"raw": text, "sentid": name}],
        }
        for name, split, text in (
            ("b", "train", "a small dog on green grass"),
            ("c", "train", "a small dog on green grass"),
            ("d", "val", "a small dog beside a cat on snow"),
            ("e", "test", "snow"),
        )
    ]
    files.json(raw / "captions.json", {"images": image})
    build_queries.run(settings(raw, captions_json=str(raw / "captions.json")))
    train, val = records(raw / "out", "train"), records(raw / "out", "val")
    assert "small dog" in train["b.jpg"]["more_queries"]
    assert "dog" not in train["b.jpg"]["more_queries"], "that is a query of a pair"
    # "cat" is a query of train photos; "snow" names no train photo, and "dog" was asked for.
    assert val["d.jpg"]["more_queries"] == ["cat", "small", "small dog"]


def test_too_many_bad_photos(raw):
    (raw / "photos" / "b.jpg").write_bytes(b"no image")
    with pytest.raises(planning.BadRecordsError, match="b.jpg"):
        build_queries.run(settings(raw))
    report = build_queries.run(settings(raw, max_bad_records=0.5))
    assert report["bad records"] == 1 and report["photos"]["train"] == 1
    assert (raw / "out" / "bad_records.tsv").read_text().startswith("b.jpg\t")
    with pytest.raises(BuildError, match="no photo"):
        photo_shards.write([], [], photo_shards.How(str(raw / "new"), "n", "image_query", "s", {}))


def test_labels(raw):
    info = raw / "info"
    info.mkdir()
    (info / "synsets.txt").write_text("n1 dog, hound\nn2 cat\n")
    (info / "train_filelist_google.txt").write_text("a.jpg 0\nb.jpg 0\n")
    (info / "val_filelist.txt").write_text("c.jpg 1\n")
    out = raw / "labels"
    build_labels.run(build_labels.Settings(str(out), str(raw / "photos"), webvision_dir=str(info)))
    assert records(out, "val")["c.jpg"]["positives"] == ["n2"]
    assert json.loads((out / "labels.json").read_text())["labels"] == [
        {"id": "n1", "terms": ["dog", "hound"]},
        {"id": "n2", "terms": ["cat"]},
    ]
    with pytest.raises(BuildError, match="give one of"):
        build_labels.run(build_labels.Settings(str(out), str(raw / "photos")))


def test_queries_of_webvision(raw, files):
    info = raw / "webvision" / "info"
    files.json(raw / "webvision" / "google" / "q0001.json", [{"title": "My Dog!", "tags": ["pet"]}])
    files.jpeg(raw / "webvision" / "google" / "q0001" / "a.jpg", 1)
    files.jpeg(raw / "webvision" / "google" / "q0002" / "b.jpg", 2)
    tagged = [{"title": "", "tags": ["Red Dog"]}]
    files.json(raw / "webvision" / "flickr" / "q0003.json", tagged)
    files.jpeg(raw / "webvision" / "flickr" / "q0003" / "c.jpg", 3)
    info.mkdir()
    (info / "synsets.txt").write_text("n1 dog\n")
    (info / "train_filelist_google.txt").write_text("google/q0001/a.jpg 0\ngoogle/q0002/b.jpg 0\n")
    (info / "train_meta_list_google.txt").write_text("google/q0001.json 1\ngoogle/q0001.json 1\n")
    (info / "train_filelist_flickr.txt").write_text("flickr/q0003/c.jpg 0\n")
    (info / "train_meta_list_flickr.txt").write_text("flickr/q0003.json 1\n")
    (info / "val_filelist.txt").write_text("")
    (info / "queries_flickr.txt").write_text("3 Puppy\n")
    (info / "queries_google.txt").write_text("1 Hound dog\n2 dog\n")
    made = build_queries.Settings(
        str(raw / "wv"), None, str(raw / "webvision"), webvision_dir=str(info), val_share=0.0
    )
    build_queries.run(made)
    one = records(raw / "wv", "train")["google/q0001/a.jpg"]
    assert (one["queries"], one["more_queries"]) == (["hound dog"], ["my dog!", "pet"])
    two = records(raw / "wv", "train")["flickr/q0003/c.jpg"]
    assert (two["queries"], two["more_queries"]) == (["puppy"], ["red dog"])
    with pytest.raises(BuildError, match="give --pairs_dir or"):
        build_queries.run(build_queries.Settings(str(raw / "x"), None, str(raw)))


def test_openimages_labels(raw):
    folder = raw / "oi"
    folder.mkdir()
    head = "ImageID,Source,LabelName,Confidence\n"
    (folder / "class-descriptions.csv").write_text("/m/1,Dog\n/m/2,Cat\n")
    (folder / "train-annotations-human-imagelabels.csv").write_text(
        head + "a,v,/m/1,1\na,v,/m/2,0\nb,v,/m/1,1\n"
    )
    (folder / "test-annotations-human-imagelabels.csv").write_text(head + "c,v,/m/2,1\n")
    out = raw / "labels"
    build_labels.run(
        build_labels.Settings(
            str(out), str(raw / "photos"), openimages_dir=str(folder), least_positives=2
        )
    )
    one = records(out, "train")["a"]
    assert (one["positives"], one["negatives"]) == (["/m/1"], ["/m/2"])
    found = json.loads((out / "labels.json").read_text())["labels"]
    assert [(x["id"], x["train_positives"], x["trainable"]) for x in found] == [
        ("/m/1", 2, True),
        ("/m/2", 0, False),
    ]
