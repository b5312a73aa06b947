import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import relations
from imgtext_tf.data import examples, shards
from tfrecords_tools import build, build_settings, splits
from tfrecords_tools import plan as planning

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(raw, tmp_path):
    return build.Settings(
        output_dir=str(tmp_path / "out"),
        vist_dir=str(raw / "vist"),
        vist_images=str(raw / "photos"),
        karpathy_json=(str(raw / "karpathy.json"),),
        karpathy_images=(str(raw / "photos"),),
        ads_dir=str(raw / "ads"),
        ads_images=str(raw / "imagenet/train"),
        imagenet_dir=str(raw / "imagenet"),
        imagenet_summaries=str(raw / "imagenet/summaries.jsonl"),
        shards=3,
    )


@pytest.fixture
def own(tmp_path, files):
    """Settings for a JSONL of 20 pairs with images x0.jpg to x19.jpg."""
    lines = []
    for number in range(20):
        files.jpeg(tmp_path / f"x{number}.jpg", number)
        record = {"image": f"x{number}.jpg", "text": f"Text {number}.", "label": "Anchorage"}
        lines.append(json.dumps({**record, "id": str(number), "split": "train"}))
    (tmp_path / "own.jsonl").write_text("\n".join(lines) + "\n")
    return build.Settings(
        output_dir=str(tmp_path / "out"), jsonl=(str(tmp_path / "own.jsonl"),), shards=4
    )


def contents(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}


def records(directory, split):
    reader = shards.ShardReader(directory, split)
    return [examples.from_bytes("relation", d) for d in reader.read(np.arange(len(reader)))]


def test_a_data_set_has_the_name_it_is_given(own):
    build.run(dataclasses.replace(own, name="my_pairs"))
    manifest = shards.verify(own.output_dir, level="full")
    assert manifest["name"] == "my_pairs" and len(records(own.output_dir, "train")) == 20
    assert "my_pairs-train-00000-of-00004.tfrecord" in contents(own.output_dir)


def test_all_classes_are_built_and_no_image_or_text_stands_in_two_splits(settings):
    report = build.run(settings)
    shards.verify(settings.output_dir)
    seen = {}
    found = set()
    for split in ("train", "val", "test"):
        written = records(settings.output_dir, split)
        counts = {}
        for record in written:
            counts[record["relation"]] = counts.get(record["relation"], 0) + 1
            text = splits.normal_text(tuple(record["sentences"]))
            for key in (record["image_id"], text, record["group"]):
                assert seen.setdefault(key, split) == split
        assert counts == report["pairs"][split]
        found |= set(counts)
        ids = {record["id"] for record in written}
        if split != "train":
            path = pathlib.Path(settings.output_dir, f"balanced_{split}_ids.txt")
            chosen = path.read_text().splitlines()
            assert len(chosen) == len(set(chosen)) and set(chosen) <= ids
    assert found == set(relations.RELATIONS)
    manifest = shards.load_manifest(settings.output_dir)
    assert manifest["kind"] == "real"
    assert manifest["notes"]["positives that yield a negative"]["Complementary"]["share"] > 0.9
    # No path of the machine is published with the shards.
    assert str(pathlib.Path(settings.output_dir).parent) not in json.dumps(manifest)
    assert "Bad Illustration" in build.summary(report)


def test_image_bytes_pass_through_and_negatives_keep_their_swaps(settings, raw):
    build.run(settings)
    files = {path.read_bytes() for path in raw.rglob("*.jp*g")} | {
        path.read_bytes() for path in raw.rglob("*.JPEG")
    }
    for record in records(settings.output_dir, "train"):
        assert record["image"] in files
        assert (record["height"], record["width"]) == (8, 9)
        negative = record["relation"] in relations.NEGATIVE_OF.values()
        assert bool(record["swaps"]) == negative
        for sentence, _, _, new in map(json.loads, record["swaps"]):
            assert new in record["sentences"][sentence]


def test_command_line_and_two_processes_give_the_same_bytes(settings, tmp_path):
    build.run(settings)
    command = [sys.executable, "-m", "tfrecords_tools.build", "--processes=2"]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is not None and field.name not in ("processes", "output_dir", "swap_labelled"):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            command.append(f"--{field.name}={text}")
    command.append(f"--output_dir={tmp_path / 'two'}")
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Bad Anchorage" in done.stdout
    assert contents(tmp_path / "two") == contents(settings.output_dir)


def test_a_stopped_build_goes_on_at_the_first_missing_shard(own, monkeypatch):
    build.run(own)
    whole = contents(own.output_dir)
    again = dataclasses.replace(own, output_dir=own.output_dir + "2")
    written = []
    write = shards.write_shard

    def stop_at_third(path, *args):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(os.path.basename(path))
        return write(path, *args)

    monkeypatch.setattr(shards, "write_shard", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        build.run(again)
    assert not os.path.exists(os.path.join(again.output_dir, "manifest.json"))
    # A shard whose index was not written yet counts as missing, one that was cut short, too.
    os.remove(os.path.join(again.output_dir, written[0] + ".index.npz"))
    path = pathlib.Path(again.output_dir, written[1])
    path.write_bytes(path.read_bytes()[:-7])
    monkeypatch.setattr(shards, "write_shard", write)
    build.run(again)
    assert contents(again.output_dir) == whole
    # Once whole, nothing is written again.
    monkeypatch.setattr(shards, "write_shard", None)
    build.run(again)
    assert contents(again.output_dir) == whole


def test_a_folder_holds_one_build_only(own, tmp_path, files):
    build.run(own)
    with pytest.raises(build.BuildError, match=r"--seed: 0 -> 1"):
        build.run(dataclasses.replace(own, seed=1))
    files.jpeg(tmp_path / "x3.jpg", 99)
    with pytest.raises(build.BuildError, match="other raw data"):
        build.run(own)
    os.remove(os.path.join(own.output_dir, "build.json"))
    with pytest.raises(build.BuildError, match="no known build"):
        build.run(own)


def test_too_many_bad_records_stop_the_build_before_a_shard_is_written(own, tmp_path):
    (tmp_path / "x9.jpg").unlink()
    with pytest.raises(planning.BadRecordsError, match=r"1 of 20 records are bad"):
        build.run(own)
    assert [path.name for path in pathlib.Path(own.output_dir).iterdir()] == ["bad_records.tsv"]


def test_bad_images_are_listed_when_allowed(own, tmp_path):
    path = tmp_path / "x7.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    (tmp_path / "x8.jpg").write_bytes(b"no image")
    (tmp_path / "x9.jpg").unlink()
    with pytest.raises(planning.BadRecordsError, match="3 of 20"):
        build.run(dataclasses.replace(own, max_bad_records=0.1))
    assert not os.path.exists(os.path.join(own.output_dir, "manifest.json"))
    report = build.run(dataclasses.replace(own, max_bad_records=0.15))
    assert report["bad records"] == 3
    # What was written, not what was planned.
    assert report["pairs"]["train"] == {"Anchorage": 17}
    assert "no pair in split val" in build.summary(report)
    ids = {record["id"] for record in records(own.output_dir, "train")}
    assert ids == {f"own/{number}" for number in range(20)} - {"own/7", "own/8", "own/9"}
    bad = pathlib.Path(own.output_dir, "bad_records.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in bad] == ["own/7", "own/8", "own/9"]
    assert "truncated" in bad[0] and "x9.jpg" in bad[2]


def command(settings, **process):
    """Runs the command on the settings' JSONL."""
    flags = [f"--output_dir={settings.output_dir}", f"--jsonl={settings.jsonl[0]}"]
    return subprocess.run(
        [sys.executable, "-m", "tfrecords_tools.build", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        **process,
    )


def test_the_command_names_what_is_bad_and_fails(own, tmp_path):
    (tmp_path / "x9.jpg").unlink()
    with open(tmp_path / "own.jsonl", "ab") as file:
        file.write(b'{"image": "x0.jpg", "text": "caf\xe9", "label": "Anchorage"}\n')
        file.write(b'{"image": "x0.jpg", "text": " ", "label": "Anchorage"}\n')
    done = command(own)
    assert done.returncode == 1
    assert "3 of 22 records are bad" in done.stderr and "Traceback" not in done.stderr
    for reason in ("x9.jpg: No such file", "is not UTF-8", "the text is empty"):
        assert reason in done.stderr


def test_the_command_on_a_full_disk_fails_and_leaves_no_half_file(own):
    def small_files_only():  # What writing more gives is an OSError, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

    done = command(own, preexec_fn=small_files_only)
    assert done.returncode == 1
    assert "error: " in done.stderr and "Traceback" not in done.stderr
    left = contents(own.output_dir)
    assert not [name for name in left if "tfrecord" in name or "tmp" in name]
    assert "manifest.json" not in left
    build.run(dataclasses.replace(own, shards=None))  # as the command does
    shards.verify(own.output_dir)


def test_strange_but_legal_records(own, tmp_path, files):
    files.jpeg(tmp_path / "tiny.jpg", 1, size=(1, 1))
    grey = tf.zeros([8000, 8000, 1], tf.uint8)
    (tmp_path / "huge.png").write_bytes(tf.io.encode_png(grey).numpy())
    with open(tmp_path / "own.jsonl", "ab") as file:
        for image, text in [("tiny.jpg", "word " * 30_000), ("huge.png", "É 漢字 text")]:
            record = {"image": image, "text": text, "label": "Anchorage", "split": "train"}
            file.write(json.dumps({**record, "id": image}).encode() + b"\n")
        file.write(b'{"image": "x0.jpg", "text": "caf\xe9", "label": "Anchorage"}\n')
        file.write(b'{"image": "../x0.jpg", "text": "a", "label": "Anchorage"}\n')
    report = build.run(dataclasses.replace(own, max_bad_records=0.1))
    assert report["bad records"] == 2
    by_id = {record["id"]: record for record in records(own.output_dir, "train")}
    assert len(by_id) == 22
    assert by_id["own/tiny.jpg"]["height"] == 1
    assert len(by_id["own/tiny.jpg"]["sentences"][0].split()) == 30_000
    assert (by_id["own/huge.png"]["height"], by_id["own/huge.png"]["width"]) == (8000, 8000)
    bad = pathlib.Path(own.output_dir, "bad_records.tsv").read_text()
    assert "is not UTF-8" in bad and "leaves the image folder" in bad


def test_resize_shrinks_the_shorter_side_only_where_it_is_longer(own, tmp_path, files):
    files.jpeg(tmp_path / "x0.jpg", 5, size=(40, 80))
    build.run(dataclasses.replace(own, resize=20))
    by_id = {record["id"]: record for record in records(own.output_dir, "train")}
    shrunk, kept = by_id["own/0"], by_id["own/1"]
    assert (shrunk["height"], shrunk["width"]) == (20, 40)
    assert tf.io.decode_jpeg(shrunk["image"]).shape == (20, 40, 3)
    assert kept["image"] == (tmp_path / "x1.jpg").read_bytes()


def test_an_image_that_changes_while_building_stops_it(own, tmp_path, files, monkeypatch):
    claim = build.claim

    def change(*args):
        files.jpeg(tmp_path / "x2.jpg", 77)
        return claim(*args)

    monkeypatch.setattr(build, "claim", change)
    with pytest.raises(build.BuildError, match="x2.jpg: changed while building"):
        build.run(own)


def test_limit_takes_a_share(settings):
    small = build.run(dataclasses.replace(settings, limit=0.4, shards=1))
    few = sum(sum(counts.values()) for counts in small["pairs"].values())
    all_of_it = dataclasses.replace(settings, output_dir=settings.output_dir + "2", shards=1)
    many = sum(sum(counts.values()) for counts in build.run(all_of_it)["pairs"].values())
    assert 0.15 * many < few < 0.65 * many


def test_bytes_do_not_depend_on_where_the_raw_data_lies(own, tmp_path):
    path = tmp_path / "x7.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    build.run(dataclasses.replace(own, max_bad_records=0.1))
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in (*tmp_path.glob("x*.jpg"), tmp_path / "own.jsonl"):
        file.rename(moved / file.name)
    there = dataclasses.replace(
        own,
        max_bad_records=0.1,
        jsonl=(str(moved / "own.jsonl"),),
        output_dir=own.output_dir + "2",
    )
    build.run(there)
    assert contents(there.output_dir) == contents(own.output_dir)


def test_a_wrong_list_of_antonyms_is_named(own, tmp_path):
    (tmp_path / "a.tsv").write_text("red\tgreen\n")
    for name in ("a.tsv", "missing.tsv"):
        with pytest.raises(build.BuildError, match=name):
            build.run(dataclasses.replace(own, antonyms=str(tmp_path / name)))


def test_caps_flag():
    assert build.parse_caps("none") == {}
    assert build.parse_caps("table1")["Uncorrelated"] == 60_000
    assert build.parse_caps("Bad Anchorage=5, Anchorage=7") == {"Bad Anchorage": 5, "Anchorage": 7}
    for text in ("Anchorage", "Anchor=3", "Anchorage=-1"):
        with pytest.raises(build.BuildError, match="Class=n"):
            build.parse_caps(text)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"vist_dir": "x"}, "--vist_dir needs --vist_images"),
        ({"mapped": ("x",)}, "needs --mapping"),
        ({"karpathy_json": ("x",)}, "one --karpathy_images"),
        ({"limit": 0.0}, "--limit"),
        ({"processes": 0}, "at least 1"),
    ],
)
def test_flags_that_do_not_go_together(own, change, reason):
    with pytest.raises(build.BuildError, match=reason):
        build.run(dataclasses.replace(own, **change))


def test_every_setting_has_a_flag_and_a_help_text():
    assert set(build_settings.HELP) == {field.name for field in dataclasses.fields(build.Settings)}
