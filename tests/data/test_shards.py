"""Shards: deterministic, atomic, indexed; whatever is damaged is named."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from experiments import common_flags
from imgtext_tf import filesystem
from imgtext_tf.data import examples, pipeline, shards

PATH = "relations-train-{:05d}-of-00003.tfrecord"
MEND = "run the build command"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shard(folder, index=0):
    return shards.shard_path(folder, "relations", "train", index, 3)


@pytest.fixture
def copy(dataset, tmp_path):
    """A copy of the dataset that a test may damage."""
    return shutil.copytree(dataset, tmp_path / "copy")


def flip_byte(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


# Names and writing


def test_names_and_their_parts():
    path = shards.shard_path("d", "a-b", "val", 3, 12)
    assert path == os.path.join("d", "a-b-val-00003-of-00012.tfrecord")
    assert shards.parse_shard_name(path) == ("a-b", "val", 3, 12)
    with pytest.raises(ValueError, match="no shard name"):
        shards.shard_path("d", "a", "val", 12, 12)
    with pytest.raises(shards.ShardError, match="not named like"):
        shards.parse_shard_name("d/val.tfrecord")


def test_same_records_give_the_same_bytes_in_every_file(dataset, tmp_path, record, write_dataset):
    again = write_dataset(tmp_path / "again", [record(n) for n in range(90)])
    assert contents(again) == contents(dataset)
    assert {"manifest.json", "features.json", "dataset_info.json", "words-train.tsv"} <= set(
        contents(dataset)
    )


def test_another_process_writes_the_same_bytes(tmp_path, monkeypatch):
    """Python's random hash seed must not show."""
    program = (
        "import sys\n"
        "from imgtext_tf.data import shards\n"
        "r = [dict(id=f'r{n}', image=b'x', image_id='0', height=1, width=1, source='abc'[n % 3],\n"
        "          group='g', sentences=['zeta alpha beta gamma'], cmi=0, sc=0, stat='0',\n"
        "          relation='Uncorrelated') for n in range(5)]\n"
        "i = shards.write_shard(sys.argv[1] + '/a-train-00000-of-00001.tfrecord', 'relation', r)\n"
        "shards.write_manifest(sys.argv[1], name='a', record_kind='relation', kind='real',\n"
        "                      build={}, splits={'train': [i]})\n"
    )
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "argv", ["-", str(tmp_path / "here")])
    exec(program, {})
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "there")],
        env=os.environ | {"PYTHONHASHSEED": "7", "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=pathlib.Path(__file__).parents[2],
        check=True,
    )
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_tensorflow_reads_the_shard(dataset, record):
    data = tf.data.TFRecordDataset(shard(dataset, 1)).as_numpy_iterator()
    ids = [examples.from_bytes("relation", one)["id"] for one in data]
    assert ids == [f"pair-{n}" for n in range(1, 90, 3)]


def test_info_and_index_describe_the_records(tmp_path, record):
    # "It's red." has 2 words, "A dog runs, fast" 4, "Red!" 1.
    texts = [["It's red.", "A dog runs, fast"], ["Red!"]]
    records = [record(n) | {"sentences": text} for n, text in enumerate(texts)]
    records.insert(1, shards.BadRecord("photo-7", "truncated JPEG"))
    info = shards.write_shard(shard(tmp_path), "relation", records)
    assert info == shards.read_info(shard(tmp_path))
    assert (info.file, info.records) == (PATH.format(0), 2)
    assert info.bytes == os.path.getsize(shard(tmp_path))
    assert info.sha256 == filesystem.sha256_of(shard(tmp_path))
    assert info.classes == {"Uncorrelated": 1, "Interdependent": 1}
    assert info.sources == {"even": 1, "odd": 1}
    assert info.bad == [["photo-7", "truncated JPEG"]]
    index = shards.read_index(shard(tmp_path))
    first = len(examples.encode("relation", records[0]))
    assert index["offset"].tolist() == [0, first + 16]
    assert index["size"].tolist() == [first, len(examples.encode("relation", records[2]))]
    assert index["id"].tolist() == [b"pair-0", b"pair-1"]
    assert index["image_id"].tolist() == [one["image_id"].encode() for one in records[::2]]
    assert index["sentences"].tolist() == [2, 1]
    assert index["words"].tolist() == [6, 1]
    assert index["longest"].tolist() == [4, 1]
    assert index["word_counts"] == {"a": 1, "dog": 1, "fast": 1, "it's": 1, "red": 2, "runs": 1}


def test_a_shard_without_records_is_a_shard(tmp_path):
    info = shards.write_shard(shard(tmp_path), "relation", [shards.BadRecord("a", "b")])
    assert (info.records, info.bytes, info.classes) == (0, 0, {})


def test_a_very_long_text_is_counted_and_read_back(tmp_path, record):
    long = record(0) | {"sentences": ["word " * 30_000, "x" * 100_000]}
    shards.write_shard(shard(tmp_path), "relation", [long])
    index = shards.read_index(shard(tmp_path))
    assert index["words"].tolist() == [30_001] and index["longest"].tolist() == [30_000]
    assert index["word_counts"] == {"word": 30_000, "x" * 100_000: 1}


def test_info_is_none_until_both_files_stand(copy):
    os.remove(shards.index_path(shard(copy, 0)))
    os.remove(shard(copy, 1))
    assert shards.read_info(shard(copy, 0)) is None
    assert shards.read_info(shard(copy, 1)) is None
    assert shards.read_info(shard(copy, 2)) is not None


# Failures while writing


def test_a_failing_reader_leaves_no_file(tmp_path, record):
    def records():
        yield record(0)
        raise FileNotFoundError("photo.jpg")

    with pytest.raises(FileNotFoundError, match="photo.jpg"):
        shards.write_shard(shard(tmp_path), "relation", records())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
)
def test_a_full_disk_is_named_and_leaves_no_file(tmp_path, record, monkeypatch, failure):
    def write(self, data):
        raise failure

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", write)
    with pytest.raises(shards.ShardError, match=f"{PATH.format(0)}.*No space left.*free space"):
        shards.write_shard(shard(tmp_path), "relation", [record(0)])
    assert list(tmp_path.iterdir()) == []


def test_a_disk_full_at_the_index_leaves_a_shard_that_counts_as_missing(copy, record, monkeypatch):
    """The old index must not vouch for the new shard."""

    def write(path, data):
        raise shards.ShardError(f"{path}: No space left on device")

    monkeypatch.setattr("imgtext_tf.data.shard_files.write_file", write)
    with pytest.raises(shards.ShardError, match="index.npz"):
        shards.write_shard(shard(copy), "relation", [record(1)])
    assert shards.read_info(shard(copy)) is None
    monkeypatch.undo()
    with pytest.raises(shards.ShardError, match=f"{PATH.format(0)}.index.npz: missing"):
        shards.verify(copy)


def test_a_failed_rewrite_keeps_the_old_shard(copy, record):
    before = contents(copy)
    with pytest.raises(examples.ExampleError):
        shards.write_shard(shard(copy), "relation", [record(0), {"id": "no pair"}])
    assert contents(copy) == before


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs to mount")
def test_a_truly_full_disk(tmp_path, record):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        big = [record(n) | {"image": b"x" * 20_000, "id": str(n)} for n in range(8)]
        with pytest.raises(shards.ShardError, match=f"{PATH.format(0)}.*No space left"):
            shards.write_shard(shard(disk), "relation", big)
        assert list(disk.iterdir()) == []
        # Now the shard has room, but its index has not.
        (disk / "other").write_bytes(b"x" * 44_000)
        with pytest.raises(shards.ShardError, match="No space left"):
            shards.write_shard(shard(disk), "relation", [big[0]])
        assert shards.read_info(shard(disk)) is None
        (disk / "other").unlink()
        assert shards.write_shard(shard(disk), "relation", [big[0]]).records == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_path_is_named(tmp_path, record):
    (tmp_path / "file").write_text("")
    with pytest.raises(shards.ShardError, match="cannot be written"):
        shards.write_shard(shard(tmp_path / "file"), "relation", [record(0)])


# Manifest


def test_manifest_sums_its_shards(dataset):
    manifest = shards.load_manifest(dataset)
    train = manifest["splits"]["train"]
    assert (manifest["name"], manifest["kind"], manifest["build"]) == (
        "relations",
        "synthetic",
        {"seed": 1},
    )
    assert train["records"] == 90 and [one["records"] for one in train["shards"]] == [30] * 3
    assert train["sources"] == {"even": 45, "odd": 45}
    # 90 = 11 * 8 + 2: the first two relations have one more.
    assert sorted(train["classes"].values()) == [11] * 6 + [12] * 2
    assert train["bytes"] == sum(os.path.getsize(shard(dataset, n)) for n in range(3))


def test_words_are_counted_by_falling_count_over_the_train_split_only(tmp_path, record):
    infos = {}
    for split, text in (("train", "b a a c b"), ("val", "only here")):
        path = shards.shard_path(tmp_path, "relations", split, 0, 1)
        one = record(0) | {"sentences": [text], "id": split}
        infos[split] = [shards.write_shard(path, "relation", [one])]
    shards.write_manifest(
        tmp_path, name="relations", record_kind="relation", kind="real", build={}, splits=infos
    )
    assert (tmp_path / "words-train.tsv").read_text() == "a\t2\nb\t2\nc\t1\n"


def test_an_id_twice_is_refused_across_splits(tmp_path, record):
    infos = {}
    for split in ("train", "test"):
        path = shards.shard_path(tmp_path, "relations", split, 0, 1)
        infos[split] = [shards.write_shard(path, "relation", [record(4)])]
    with pytest.raises(shards.ShardError, match="'pair-4' occurs twice"):
        shards.write_manifest(
            tmp_path, name="relations", record_kind="relation", kind="real", build={}, splits=infos
        )


def test_tfds_files_name_shards_and_fields(dataset):
    info = json.loads((dataset / "dataset_info.json").read_text())
    assert info["splits"][0]["shardLengths"] == ["30", "30", "30"]
    fields = json.loads((dataset / "features.json").read_text())["featuresDict"]["features"]
    assert set(fields) == set(examples.KINDS["relation"])


# Verification


@pytest.mark.parametrize("place", [0, 500, -1])
def test_a_flipped_byte_in_a_shard_is_named(copy, place):
    flip_byte(copy / PATH.format(2), place)
    shards.verify(copy, level="size")  # cannot see it
    with pytest.raises(shards.ShardError, match=f"{PATH.format(2)}: damaged.*{MEND}"):
        shards.verify(copy)


def test_a_flipped_byte_in_an_index_is_named_at_any_level(copy):
    flip_byte(copy / (PATH.format(1) + ".index.npz"), 300)
    with pytest.raises(shards.ShardError, match=f"{PATH.format(1)}.*{MEND}"):
        shards.verify(copy, level="size")


def test_a_missing_shard_is_named_when_a_reader_opens(copy):
    os.remove(copy / PATH.format(1))
    with pytest.raises(shards.ShardError, match=f"{PATH.format(1)}: missing; {MEND}"):
        shards.ShardReader(copy, "train")


def test_a_shortened_shard_is_named_when_a_reader_opens(copy):
    path = copy / PATH.format(0)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(shards.ShardError, match=f"{PATH.format(0)}: has .* bytes"):
        shards.ShardReader(copy, "train")


def test_changed_word_counts_are_named(copy):
    flip_byte(copy / "words-train.tsv", 0)
    with pytest.raises(shards.ShardError, match="words-train.tsv: damaged"):
        shards.verify(copy, level="size")


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("splits", "train", "records"), 91, "totals of split 'train'"),
        (("splits", "train", "classes", "Anchorage"), 1, "totals of split 'train'"),
        (("splits", "train", "shards", 1, "sha256"), "0" * 64, f"{PATH.format(1)}.*sha256"),
        (("splits", "train", "shards", 1, "file"), PATH.format(2), "in the place of"),
        (("splits", "train", "shards", 1), {"file": "x"}, "no manifest"),
        (("words",), {}, "no manifest"),
    ],
)
def test_a_wrong_manifest_is_named(copy, keys, value, message):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    entry = manifest
    for key in keys[:-1]:
        entry = entry[key]
    entry[keys[-1]] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(shards.ShardError, match=message):
        shards.verify(copy)


def test_a_manifest_that_lacks_a_shard_is_named(copy):
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["splits"]["train"]["shards"][2]
    path.write_text(json.dumps(manifest))
    with pytest.raises(shards.ShardError, match="in the place of"):
        shards.verify(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_or_missing_manifest_is_named(tmp_path, text):
    with pytest.raises(shards.ShardError, match="manifest.json: missing"):
        shards.load_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(shards.ShardError, match="manifest.json: no manifest"):
        shards.load_manifest(tmp_path)


def test_every_fault_is_listed_at_once(copy):
    for index in (0, 2):
        os.remove(copy / PATH.format(index))
    with pytest.raises(shards.ShardError, match="00000-of-00003(.|\n)*00002-of-00003"):
        shards.verify(copy)


def test_an_unknown_split_is_named(dataset):
    with pytest.raises(shards.ShardError, match=r"no split 'dev', only \['train'\]"):
        shards.ShardReader(dataset, "dev")


# Reading


def test_reader_gives_any_rows_in_any_order(dataset, record):
    reader = shards.ShardReader(dataset, "train")
    assert len(reader) == 90
    rows = np.array([89, 0, 31, 30, 0])
    found = [examples.from_bytes("relation", data) for data in reader.read(rows)]
    # Shard s holds the records s, s + 3, ...
    expected = [record(number) for number in (89, 0, 4, 1, 0)]
    assert found == [one | {"swaps": []} for one in expected]
    assert reader.index["id"][rows].tolist() == [one["id"].encode() for one in expected]
    assert reader.index["shard"][rows].tolist() == [2, 0, 1, 1, 0]
    assert reader.read(np.array([], int)) == []


@pytest.mark.parametrize("row", [-1, 90])
def test_reader_refuses_rows_out_of_range(dataset, row):
    with pytest.raises(IndexError, match=str(row)):
        shards.ShardReader(dataset, "train").read(np.array([row]))


def test_reader_names_file_and_record_where_a_shard_changed_under_it(copy):
    reader = shards.ShardReader(copy, "train")
    path = copy / PATH.format(1)
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(shards.ShardError, match=f"{PATH.format(1)}: no record 'pair-4'"):
        reader.read(np.array([31]))
    path.unlink()
    with pytest.raises(shards.ShardError, match=f"{PATH.format(1)}: cannot be read"):
        reader.read(np.array([31]))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"cmi", b"cmj", "not a record of kind 'relation': it has no field 'cmi'"),
        (b"pair-4", b"pair-5", "'pair-5', which is none of its index"),
    ],
)
def test_reader_names_the_record_that_tensorflow_cannot_use(copy, old, new, what):
    """Sizes and indexes are as they should be, so only its bytes tell."""
    reader = shards.ShardReader(copy, "train")
    path = copy / PATH.format(1)
    content = path.read_bytes()
    start = int(reader.index["offset"][31])
    end = start + int(reader.index["size"][31])
    path.write_bytes(content[:start] + content[start:end].replace(old, new) + content[end:])
    dataset = pipeline.relation_dataset(
        reader, target="cmi", batch_size=90, vocabulary=None, training=False, image_size=8
    )
    place = rf"{PATH.format(1)}: record 1 \('pair-4', byte {start}\) is "
    with pytest.raises(tf.errors.OpError, match=f"{place}{what}.*{MEND}") as caught:
        list(dataset)
    assert common_flags.data_fault(caught.value).endswith("goes on at missing shards")


def test_reader_works_on_a_remote_file_system(dataset):
    """A path with a scheme goes through tf.io.gfile; "file://" stands for a bucket here."""
    local = shards.ShardReader(dataset, "train")
    remote = shards.ShardReader(f"file://{dataset}", "train")
    rows = np.array([3, 77, 40])
    assert remote.read(rows) == local.read(rows)
