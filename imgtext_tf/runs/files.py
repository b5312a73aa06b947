"""The files of a run directory: written whole or not at all, read with care."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from imgtext_tf import filesystem, untrusted

# Errors of a disk that is full, over its quota, broken or not to be written.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


class RunError(untrusted.ShortError, RuntimeError):
    """A run directory is in use, belongs to other settings, or lacks a file."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path to write in the folder of `path`, which it becomes on success.

    On any failure the temporary file is removed and `path` is as it was.

    Raises:
        OSError: if the disk is full or broken, with path and mend in the message.
    """
    if filesystem.is_remote(path):
        with filesystem.staged(path) as staged:
            yield Path(staged)
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: Keras and matplotlib choose the format by it.
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise OSError(
            error.errno,
            f"{path} cannot be written ({error.strerror}): free space or mend the folder, then run "
            "the same command again; what was there before is as it was",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as JSON; paths become strings, NumPy numbers become numbers."""

    def default(item: Any) -> Any:
        return item.item() if isinstance(item, np.generic) else str(item)

    text = json.dumps(value, indent=2, ensure_ascii=False, default=default)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        RunError: if it is missing or no JSON.
    """
    try:
        return untrusted.parse_json(untrusted.read_bytes(path))
    except FileNotFoundError:
        folder = os.path.dirname(path)
        raise RunError(f"{path} is missing: is {folder} a run directory?") from None
    except ValueError as error:
        raise RunError(f"{path} is no JSON: {error}") from error


def read_field(path: str | os.PathLike, name: str) -> Any:
    """One field of a JSON file that holds an object.

    Raises:
        RunError: if the file is missing or no JSON, or has no such field.
    """
    content = read_json(path)
    if not isinstance(content, dict) or name not in content:
        raise RunError(
            f"{path} has no field {name!r}: copy it again from where the run was trained"
        )
    return content[name]


def read_words(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads a run's `vocabulary.txt`.

    Raises:
        RunError: if it is missing, no UTF-8 or cut short, or a word comes twice.
    """
    try:
        text = untrusted.read_bytes(path).decode("utf-8")
    except FileNotFoundError:
        raise RunError(f"{path} is missing: has this run been trained?") from None
    except ValueError as error:
        raise RunError(f"{path} is no vocabulary: {error}") from error
    words = text.split("\n")
    if words.pop() or len(set(words)) < len(words) or not all(words):
        raise RunError(f"{path} is cut short, or has an empty word or one that comes twice: copy "
                       "it again from where the run was trained")  # fmt: skip
    return tuple(words)


def refuse_link(path: Path) -> None:
    """Sees that writing to a path changes no file elsewhere.

    Raises:
        RunError: if it is a symbolic link.
    """
    if path.is_symlink():
        raise RunError(f"{path}: is a symbolic link, through which a file elsewhere would be "
                       "written; remove it")  # fmt: skip


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves a model as a `.keras` file, atomically."""
    with atomic_path(path) as temporary:
        model.save(temporary)
