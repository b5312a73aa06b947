"""Files behind a scheme are what local files are: bytes, folders, errors."""

import io
import json
import os
import pathlib

import numpy as np
import pytest

from imgtext_tf import filesystem

SCHEMES = ["ram", "memory"]


@pytest.fixture(params=SCHEMES)
def root(request):
    """A remote folder that is not there yet: of TensorFlow, and of fsspec."""
    if request.param == "memory":
        pytest.importorskip("fsspec", reason="fsspec is not installed: .[remote] brings it")
    folder = f"{request.param}://files-{os.getpid()}"
    yield folder
    filesystem.remove_tree(folder)


def put(path, data):
    with filesystem.staged(path) as local:
        pathlib.Path(local).write_bytes(data)


def test_a_file_there_and_back(root):
    path = f"{root}/a/b.txt"
    assert not filesystem.exists(root) and not filesystem.isdir(root)
    put(path, b"one\ntwo\n")
    put(path, b"one\nthree\n")
    assert filesystem.isfile(path) and not filesystem.isdir(path)
    assert filesystem.isdir(f"{root}/a") and not filesystem.isfile(f"{root}/a")
    assert filesystem.listdir(f"{root}/a") == ["b.txt"]
    assert filesystem.size(path) == 10 and filesystem.read_text(path) == "one\nthree\n"
    with filesystem.open_text(path) as lines:
        assert list(lines) == ["one\n", "three\n"]
    with filesystem.open_binary(path, buffered=False) as file:
        file.seek(4)
        assert (file.read(2), file.tell(), file.read(99), file.read(1)) == (b"th", 6, b"ree\n", b"")
        assert file.seek(-2, io.SEEK_END) == 8
    assert pathlib.Path(filesystem.local_copy(path)).read_bytes() == b"one\nthree\n"
    filesystem.remove(path)
    filesystem.remove(path)
    assert not filesystem.exists(path)


def test_numpy_and_json_read_what_was_staged(root):
    with filesystem.staged(f"{root}/x.npz") as local:
        np.savez(local, values=np.arange(5))
    with filesystem.open_binary(f"{root}/x.npz") as file, np.load(file) as arrays:
        assert arrays["values"].tolist() == [0, 1, 2, 3, 4]
    put(f"{root}/y.json", b'{"a": 1}')
    assert json.loads(filesystem.read_bytes(f"{root}/y.json")) == {"a": 1}


def test_a_folder_there_and_back(root, tmp_path):
    with filesystem.staged(f"{root}/kept") as local:
        (pathlib.Path(local) / "below").mkdir(parents=True)
        (pathlib.Path(local) / "one").write_bytes(b"1")
        (pathlib.Path(local) / "below" / "two").write_bytes(b"2")
    filesystem.download_tree(f"{root}/kept", tmp_path / "back")
    assert (tmp_path / "back" / "one").read_bytes() == b"1"
    assert (tmp_path / "back" / "below" / "two").read_bytes() == b"2"


def test_what_fails_leaves_the_old_file(root):
    put(f"{root}/z", b"old")
    with pytest.raises(KeyError), filesystem.staged(f"{root}/z") as local:
        pathlib.Path(local).write_bytes(b"new")
        raise KeyError
    assert filesystem.read_bytes(f"{root}/z") == b"old" and filesystem.listdir(root) == ["z"]


def test_errors_are_those_of_local_files(root):
    with pytest.raises(FileNotFoundError):
        filesystem.read_bytes(f"{root}/none")
    with pytest.raises(FileNotFoundError):
        filesystem.listdir(f"{root}/none")


def test_unknown_schemes_and_lost_slashes_make_no_local_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(filesystem.RemoteError, match="neither TensorFlow nor fsspec knows abc://"):
        filesystem.makedirs("abc://bucket/x")
    with pytest.raises(filesystem.RemoteError, match="lost a slash of gs://"):
        filesystem.makedirs(pathlib.Path("gs://bucket/x"))
    with pytest.raises(filesystem.RemoteError, match="lost a slash"):
        filesystem.exists(os.path.abspath("gs://bucket/x"))
    with pytest.raises(filesystem.RemoteError, match="must be a local path: it is mapped"):
        filesystem.must_be_local("ram://x", "it is mapped")
    filesystem.must_be_local(tmp_path, "it is mapped")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["..", "../up", "/etc"])
def test_no_name_of_a_remote_folder_leads_out_of_it(tmp_path, monkeypatch, name):
    system = type(filesystem.system_of("ram://x"))
    monkeypatch.setattr(system, "listdir", lambda self, path: ["", "a", name])
    monkeypatch.setattr(filesystem, "isdir", lambda path: True)
    with pytest.raises(OSError, match="no file's name"):
        filesystem.download_tree("ram://x", tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []
