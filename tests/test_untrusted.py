import functools
import os
import pathlib
import pickle
import types

import numpy as np
import pytest

from imgtext_tf import filesystem, untrusted


def rows(tmp_path, content: bytes, **how):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    return list(untrusted.read_table(path, **how))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_a_table_whatever_ends_its_last_line(tmp_path, end):
    found = rows(tmp_path, b'\xef\xbb\xbfa,b\r\n1,"x\ny"\n2,z' + end)
    assert [row for _, row in found] == [{"a": "1", "b": "x\ny"}, {"a": "2", "b": "z"}]
    assert found[0][0] == 2


def test_bad_rows_cost_themselves_only(tmp_path):
    found = [row for _, row in rows(tmp_path, b"a,b\n1\n1,2,3\n\xff,2\n1,2\n")]
    assert [isinstance(row, str) for row in found] == [True, True, True, False]
    assert "1 columns" in found[0] and "3 columns" in found[1] and "not UTF-8" in found[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header"),
        (b"a,a\n1,2\n", "names a column twice"),
        (b"a,c\n1,2\n", "no column b"),
        (b'a,b\n1,2\n3,"4\n5,6\n7,8\n', "quote that begins behind line 2 never ends"),
    ],
)
def test_a_table_that_lost_rows_is_refused(tmp_path, content, message):
    with pytest.raises(untrusted.DamagedError, match=message):
        rows(tmp_path, content, needed=("a", "b") if b"a,c" in content else ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deep"),
        ("[Infinity]", "Infinity is no JSON"),
        ('{"id": 1, "id": 2}', "'id' stands twice"),
        ("9" * 5000, "digits"),
        ('{"a": ', "line 1, column"),
        (b"\xff", "decode"),
    ],
)
def test_json_that_is_none(text, message):
    with pytest.raises(untrusted.DamagedError, match=message):
        untrusted.parse_json(text)


def test_json_as_tables_write_it():
    assert untrusted.parse_json(b'\xef\xbb\xbf{"a": NaN, "b": 1, "b": 1}') == {"a": None, "b": 1}


def test_absolute_paths_may_lead_below_the_root(tmp_path):
    inside = str(tmp_path / "a" / ".." / "1.jpg")
    assert untrusted.below(tmp_path, inside, absolute=True) == str(tmp_path / "1.jpg")
    for path in (inside, str(tmp_path.parent / "1.jpg"), f"{tmp_path}/../1.jpg"):
        with pytest.raises(ValueError, match="leaves the image folder"):
            untrusted.below(tmp_path, path, absolute=path != inside)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(untrusted.DamagedError, match="no regular file"):
            untrusted.read_bytes(path)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(untrusted.DamagedError, match="large: has 11 bytes, more than 10"):
        untrusted.read_bytes(tmp_path / "large", most=10)


def test_a_long_line_is_not_held(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100 + b"\nok\n" + b"y" * 30)
    assert list(untrusted.read_lines(tmp_path / "a", most=9)) == [b"x" * 10, b"ok\n", b"y" * 10]


@pytest.fixture
def remote():
    folder = f"ram://untrusted-{os.getpid()}"
    yield folder
    filesystem.remove_tree(folder)


def put(path, data):
    with filesystem.staged(path) as local:
        pathlib.Path(local).write_bytes(data)
    return path


def test_remote_files_are_read_with_the_same_care(remote):
    json = put(f"{remote}/a.json", b'{"x": 1}')
    assert untrusted.read_json(json) == {"x": 1}
    table = put(f"{remote}/a.csv", b"a,b\n1,2\n3\n")
    assert [type(row) for _, row in untrusted.read_table(table)] == [dict, str]
    lines = put(f"{remote}/a.jsonl", b"12345678\n9\n")
    assert list(untrusted.read_lines(lines, most=4)) == [b"12345", b"9\n"]
    assert untrusted.size_of(lines) == 11
    with pytest.raises(untrusted.DamagedError, match="a.json: has 8 bytes, more than 7"):
        untrusted.read_bytes(json, most=7)
    with pytest.raises(untrusted.DamagedError, match="is no regular file"):
        untrusted.read_bytes(remote)
    with pytest.raises(FileNotFoundError):
        untrusted.read_bytes(f"{remote}/none")
    for read in (untrusted.load_npz, untrusted.load_npy, untrusted.load_model):
        with pytest.raises(untrusted.DamagedError, match="a.json"):
            read(json)
        with pytest.raises(FileNotFoundError):
            read(f"{remote}/none")


def test_remote_arrays(remote):
    array = np.arange(6.0).reshape(2, 3)
    with filesystem.staged(f"{remote}/a.npy") as local:
        np.save(local, array)
    with filesystem.staged(f"{remote}/a.npz") as local:
        np.savez(local, x=array)
    for mmap in (False, True):
        np.testing.assert_array_equal(untrusted.load_npy(f"{remote}/a.npy", mmap=mmap), array)
    np.testing.assert_array_equal(untrusted.load_npz(f"{remote}/a.npz")["x"], array)
    damaged = filesystem.read_bytes(f"{remote}/a.npz")[:-30]
    with pytest.raises(untrusted.DamagedError, match="b.npz: is no archive"):
        untrusted.load_npz(put(f"{remote}/b.npz", damaged))


def test_paths_of_files_stay_below_a_remote_root():
    assert untrusted.below("gs://b/images", "a/1.jpg") == "gs://b/images/a/1.jpg"
    same = untrusted.below("gs://b/images", "gs://b/images/a/1.jpg", absolute=True)
    assert same == "gs://b/images/a/1.jpg"
    for path in ("../1.jpg", "/etc/passwd"):
        with pytest.raises(ValueError, match="leaves the image folder"):
            untrusted.below("gs://b/images", path)
    for path in ("gs://b/images2/1.jpg", "s3://b/images/1.jpg", "gs://b/images/../1.jpg"):
        with pytest.raises(ValueError, match="leaves the image folder"):
            untrusted.below("gs://b/images", path, absolute=True)
    for root in ("images", ""):
        with pytest.raises(ValueError, match="lost a slash"):
            untrusted.below(root, "gs://b/1.jpg")


@pytest.mark.parametrize("name", [".", "./", "././."])
def test_a_folder_is_no_image_in_itself(tmp_path, name):
    with pytest.raises(ValueError, match="is the image folder itself"):
        untrusted.below(tmp_path, name)


def test_a_message_of_a_long_name_keeps_its_beginning_and_end():
    assert untrusted.shortened("short") == "short" and untrusted.shortened(7) == "7"
    long = untrusted.shortened(f"a.json: {'x' * 10**6}; mend it")
    assert len(long) <= 1500 and long.startswith("a.json: xx") and long.endswith("xx; mend it")
    assert untrusted.shortened(long) == long
    error = pickle.loads(pickle.dumps(untrusted.DamagedError(f"a.json: {'x' * 10**6}; mend it")))
    assert isinstance(error, ValueError) and len(str(error)) <= 4000
    assert str(error).endswith("; mend it")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_never_ends_is_not_opened(tmp_path, kind):
    path = tmp_path / "a.keras"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="no regular file.*a.keras"):
        filesystem.open_binary(path)
    model = types.SimpleNamespace(name="m")
    for read in (
        untrusted.load_model, untrusted.load_npz, untrusted.load_npy, untrusted.read_json,
        untrusted.read_bytes, functools.partial(untrusted.load_weights, model),
    ):  # fmt: skip
        with pytest.raises((untrusted.DamagedError, OSError), match="a.keras.*no regular file"):
            read(path)


@pytest.mark.parametrize("content", [[], ["a"], "a", 7, None])
def test_what_has_no_fields_is_named(content):
    with pytest.raises(untrusted.DamagedError, match="x.json: holds .*no object"):
        untrusted.need(content, {"a": int}, "x.json")
