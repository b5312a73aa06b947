"""The file systems behind `imgtext_tf.filesystem`: TensorFlow's own, and those of fsspec."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


class RemoteError(OSError):
    """A path that names no file system known here, or that must be a local one."""


class _TensorFlow:
    """The file systems that are built into TensorFlow."""

    def __init__(self) -> None:
        gfile = tf.io.gfile
        self.exists, self.isdir, self.makedirs = gfile.exists, gfile.isdir, gfile.makedirs
        self.remove, self.remove_tree = gfile.remove, gfile.rmtree

    def open(self, path: str) -> Any:
        return tf.io.gfile.GFile(path, "rb")

    def size(self, path: str) -> int:
        return tf.io.gfile.stat(path).length

    def listdir(self, path: str) -> list[str]:
        # Names of folders on object stores end with a slash.
        return [name.rstrip("/") for name in tf.io.gfile.listdir(path)]

    def upload(self, local: str, path: str) -> None:
        tf.io.gfile.copy(local, path, overwrite=True)

    def rename(self, old: str, new: str) -> None:
        tf.io.gfile.rename(old, new, overwrite=True)


class _Fsspec:
    """A file system of fsspec."""

    def __init__(self, system: Any) -> None:
        self._fs = system
        self.exists, self.isdir, self.size = system.exists, system.isdir, system.size
        self.remove = system.rm_file

    def open(self, path: str) -> Any:
        return self._fs.open(path, "rb")

    def listdir(self, path: str) -> list[str]:
        self._fs.invalidate_cache()  # others write there, too
        return [os.path.basename(name.rstrip("/")) for name in self._fs.ls(path, detail=False)]

    def makedirs(self, path: str) -> None:
        self._fs.makedirs(path, exist_ok=True)

    def remove_tree(self, path: str) -> None:
        self._fs.rm(path, recursive=True)

    def upload(self, local: str, path: str) -> None:
        self._fs.put_file(local, path)

    def rename(self, old: str, new: str) -> None:
        self._fs.mv(old, new)
        self._fs.invalidate_cache()


def system_of(path: str | os.PathLike) -> _TensorFlow | _Fsspec:
    """The file system of a remote path.

    Raises:
        RemoteError: if there is none for its scheme.
    """
    scheme = SCHEME.match(os.fspath(path))[1]
    if scheme in tf.io.gfile.get_registered_schemes():
        return _TensorFlow()
    try:
        import fsspec

        return _Fsspec(fsspec.filesystem(scheme))
    except (ImportError, ValueError) as error:
        raise RemoteError(
            f"{os.fspath(path)}: neither TensorFlow nor fsspec knows {scheme}:// here ({error}); "
            "pip install imgtext_tf[remote] and the scheme's own package, such as s3fs"
        ) from None


def open_raw(path: str) -> io.RawIOBase:
    """Opens a remote file for reading, without a buffer.

    Raises:
        OSError: if it cannot be read.
    """
    with as_os_error(path):
        system = system_of(path)
        return _Reader(path, system.open(path), system.size(path))


class _Reader(io.RawIOBase):
    """A remote file as Python knows files, and with its errors."""

    def __init__(self, path: str | os.PathLike, file: Any, length: int) -> None:
        super().__init__()
        self._path, self._file, self._length, self._place = path, file, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        with as_os_error(self._path):
            self._file.seek(self._place)
            data = self._file.read(max(0, min(len(buffer), self._length - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextlib.contextmanager
def as_os_error(path: str | os.PathLike) -> Iterator[None]:
    """Turns TensorFlow's errors into those that local files have."""
    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"{os.fspath(path)}: {error.message}") from error
    except tf.errors.OpError as error:
        raise OSError(f"{os.fspath(path)}: {error.message}") from error
