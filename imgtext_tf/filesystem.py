"""Files anywhere: on a local disk, or behind a `scheme://` that TensorFlow or fsspec knows.

TensorFlow brings `gs://` and `ram://`; every other scheme (`s3://`, `hdfs://`, `memory://`, ...)
goes to fsspec, where that and the scheme's own package are installed. Paths are strings: `pathlib`
makes `gs://bucket` a local folder `gs:`, which is refused here. `os.path.join`, `dirname` and
`basename` do right with both.

Errors are `OSError`, whatever the file system.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from imgtext_tf.remote import SCHEME, RemoteError, as_os_error, open_raw, system_of

_MANGLED = re.compile(r"(?:.*/)?([A-Za-z][A-Za-z0-9+.-]+):/[^/]")
_BLOCK = 1 << 20


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path has a scheme, such as `gs://bucket/folder`.

    Raises:
        RemoteError: if it had one, and `pathlib` or `os.path.abspath` took a slash of it.
    """
    text = os.fspath(path)
    if SCHEME.match(text):
        return True
    if (match := _MANGLED.match(text)) and not os.path.lexists(text[: match.end(1) + 1]):
        raise RemoteError(f"{text}: is no local path, and lost a slash of {match[1]}://")
    return False


def must_be_local(path: str | os.PathLike, why: str) -> None:
    """Refuses a remote path where only a local one can do.

    Raises:
        RemoteError: with the reason.
    """
    if is_remote(path):
        raise RemoteError(f"{os.fspath(path)}: must be a local path: {why}")


# What is there -----------------------------------------------------------------------------------


def exists(path: str | os.PathLike) -> bool:
    """Whether there is a file or folder."""
    if not is_remote(path):
        return os.path.exists(path)
    with as_os_error(path):
        return system_of(path).exists(os.fspath(path))


def isdir(path: str | os.PathLike) -> bool:
    """Whether there is a folder."""
    if not is_remote(path):
        return os.path.isdir(path)
    with as_os_error(path):
        return system_of(path).isdir(os.fspath(path))


def isfile(path: str | os.PathLike) -> bool:
    """Whether there is a file."""
    return os.path.isfile(path) if not is_remote(path) else exists(path) and not isdir(path)


def size(path: str | os.PathLike) -> int:
    """The bytes of a file.

    Raises:
        OSError: if there is none.
    """
    if not is_remote(path):
        return os.stat(path).st_size
    with as_os_error(path):
        return system_of(path).size(os.fspath(path))


def listdir(path: str | os.PathLike) -> list[str]:
    """The names in a folder, sorted.

    Raises:
        OSError: if it is no folder, or has a name that leads out of it: object stores take any.
    """
    if not is_remote(path):
        return sorted(os.listdir(path))
    with as_os_error(path):
        names = sorted(filter(None, system_of(path).listdir(os.fspath(path))))
    if wrong := [name for name in names if name in (".", "..") or "/" in name or "\0" in name]:
        raise OSError(errno.EINVAL, f"holds {wrong[0]!r:.80}, no file's name", os.fspath(path))
    return names


def absolute(path: str | os.PathLike) -> str:
    """The path from the root; a remote one as it is."""
    return os.fspath(path) if is_remote(path) else os.path.abspath(path)


# Reading -----------------------------------------------------------------------------------------


def open_binary(path: str | os.PathLike, *, buffered: bool = True) -> BinaryIO:
    """Opens a file for reading.

    Args:
        path: of the file.
        buffered: read ahead; leave it off for `os.pread`, or for jumps from record to record.

    Raises:
        OSError: if it cannot be read, or is a pipe or a device, which may never end.
    """
    if not is_remote(path):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))
        return open(path, "rb", buffering=-1 if buffered else 0)
    file = open_raw(os.fspath(path))
    return io.BufferedReader(file, _BLOCK) if buffered else file


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hex.

    Raises:
        OSError: if it cannot be read.
    """
    with open_binary(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_text(path: str | os.PathLike, encoding: str = "utf-8", **how: Any) -> io.TextIOBase:
    """Opens a file for reading text; `how` as for `io.TextIOWrapper`."""
    return io.TextIOWrapper(open_binary(path), encoding, **how)


def read_bytes(path: str | os.PathLike) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: if it cannot be read.
    """
    with open_binary(path) as file:
        return file.read()


def read_text(path: str | os.PathLike) -> str:
    """A file of UTF-8 with its line ends as they are; raises what `read_bytes` raises."""
    return read_bytes(path).decode("utf-8")


def local_copy(path: str | os.PathLike) -> str:
    """A local path with the bytes of a file: its own, or that of a copy, one a process.

    For libraries that open files by themselves: gensim, Keras, memory maps.

    Raises:
        OSError: if it cannot be read.
    """
    return _downloaded(os.fspath(path)) if is_remote(path) else os.fspath(path)


@functools.lru_cache(maxsize=None)
def _downloaded(path: str) -> str:
    target = os.path.join(_scratch(), uuid.uuid4().hex, os.path.basename(path))
    os.makedirs(os.path.dirname(target))
    with open_binary(path) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, _BLOCK)
    return target


def download_tree(path: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Copies a folder's files into a local one; nothing happens where there is no folder.

    Raises:
        OSError: if one cannot be read or written.
    """
    if not isdir(path):
        return
    os.makedirs(folder, exist_ok=True)
    for name in listdir(path):
        source, target = os.path.join(path, name), os.path.join(folder, name)
        if isdir(source):
            download_tree(source, target)
            continue
        with open_binary(source) as file, open(target, "wb") as written:
            shutil.copyfileobj(file, written, _BLOCK)


# Writing -----------------------------------------------------------------------------------------


def makedirs(path: str | os.PathLike) -> None:
    """Makes a folder and those above it, where missing."""
    if not is_remote(path):
        os.makedirs(path, exist_ok=True)
        return
    with as_os_error(path):
        system_of(path).makedirs(os.fspath(path))


def remove(path: str | os.PathLike) -> None:
    """Removes a file, if it is there."""
    if not is_remote(path):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    elif exists(path):
        with as_os_error(path):
            system_of(path).remove(os.fspath(path))


def remove_tree(path: str | os.PathLike) -> None:
    """Removes a folder and all in it, if it is there."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
    elif isdir(path):
        with as_os_error(path):
            system_of(path).remove_tree(os.fspath(path))


def upload(local: str | os.PathLike, path: str | os.PathLike) -> None:
    """Copies a local file to a remote path, which has the old bytes or all of the new ones.

    Raises:
        OSError: if it cannot be written.
    """
    path = os.fspath(path)
    temporary = f"{path}.tmp-{uuid.uuid4().hex}"  # others may write the same file
    with as_os_error(path):
        system = system_of(path)
        system.makedirs(os.path.dirname(path))
        try:
            system.upload(os.fspath(local), temporary)
            system.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                system.remove(temporary)
            raise


def upload_tree(folder: str | os.PathLike, path: str | os.PathLike) -> None:
    """Copies the files of a local folder to a remote one, one after the other."""
    for directory, _, names in sorted(os.walk(folder)):
        below = os.path.relpath(directory, folder)
        target = os.fspath(path) if below == "." else os.path.join(path, below)
        for name in sorted(names):
            upload(os.path.join(directory, name), os.path.join(target, name))


@contextlib.contextmanager
def staged(path: str | os.PathLike) -> Iterator[str]:
    """Yields a local path to write in place of a remote one, uploaded at the end, not on failure.

    The name stays the same: libraries choose formats by it.
    """
    with tempfile.TemporaryDirectory(prefix="imgtext_tf-") as folder:
        local = os.path.join(folder, os.path.basename(path))
        yield local
        (upload_tree if os.path.isdir(local) else upload)(local, path)


@functools.cache
def _scratch() -> str:
    """A folder for copies, removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="imgtext_tf-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
