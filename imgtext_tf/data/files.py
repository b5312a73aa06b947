"""Files of data sets: read from anywhere, written atomically to anywhere."""

from __future__ import annotations

import contextlib
import contextvars
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import tensorflow as tf

from imgtext_tf import filesystem, untrusted

# Ends the names of temporary files where other processes may write the same files.
writer: contextvars.ContextVar[str] = contextvars.ContextVar("writer", default="")


class ShardError(untrusted.ShortError, RuntimeError):
    """A shard, index or manifest that cannot be written, is missing or is damaged."""


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading; unbuffered where local, since `os.pread` does the work."""
    return filesystem.open_binary(path, buffered=False)


@contextlib.contextmanager
def atomic(path: str) -> Iterator[str]:
    """Yields a temporary local path that replaces `path` at the end, or vanishes on failure."""
    if filesystem.is_remote(path):
        with disk_errors(path), filesystem.staged(path) as temporary:
            yield temporary
        return
    temporary = f"{path}.tmp{writer.get()}"
    with disk_errors(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        yield temporary
        with disk_errors(path):
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


@contextlib.contextmanager
def disk_errors(path: str) -> Iterator[None]:
    """Turns what goes wrong in writing `path` into a `ShardError` that names it."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise ShardError(
            f"{path}: cannot be written ({error}); free space or mend the folder, then run the "
            "same command again"
        ) from error


def read_json(path: str) -> dict[str, Any]:
    """Reads a JSON file that holds one object, from anywhere.

    Raises:
        ShardError: if it cannot be read, or holds none.
    """
    try:
        with open_binary(path) as file:
            content = untrusted.parse_json(file.read())
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return content
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ShardError(f"{path}: cannot be read ({error}); remove it and run the same command "
                         "again") from error  # fmt: skip


def write_file(path: str, data: bytes) -> None:
    """Writes a file atomically.

    Raises:
        ShardError: if it cannot be written.
    """
    with atomic(path) as temporary, disk_errors(path), open(temporary, "wb") as file:
        file.write(data)


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Writes JSON atomically, with sorted keys: equal content gives equal bytes.

    Raises:
        ShardError: if it cannot be written.
    """
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_file(path, text.encode("utf-8"))
