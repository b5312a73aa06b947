"""Paths that a file gives, and the bytes of files."""

from __future__ import annotations

import os
import pathlib
import re
import stat
from collections.abc import Iterator

from imgtext_tf import filesystem
from imgtext_tf.untrusted.messages import ShortError

MAX_FILE_BYTES = 2**29  # of an image or a text; annotations may be larger
MAX_LINE_BYTES = 2**26  # of a JSONL file


class DamagedError(ShortError, ValueError):
    """A file that cannot be used; the message names it and what is wrong."""


def below(root: str | os.PathLike, relative: object, *, absolute: bool = False) -> str:
    r"""Joins an image folder and a path that came from a file.

    Args:
        root: the folder.
        relative: what the file says.
        absolute: whether an absolute or remote path may stand there, if it leads below the root.

    Raises:
        ValueError: if the path is empty, no string, the root itself, or leaves it ("../", "/etc",
            "C:\\").
    """
    if not isinstance(relative, str) or not relative.strip() or "\0" in relative:
        raise ValueError(f"image path {relative!r:.80} is empty or no string")
    try:
        os.fsencode(relative)
    except UnicodeError:
        raise ValueError(f"image path {relative!r:.80} can be no file's name") from None
    if absolute and filesystem.SCHEME.match(relative):
        relative = relative.removeprefix(f"{os.fspath(root).rstrip('/')}/")
        if filesystem.SCHEME.match(relative):
            raise ValueError(f"image path {relative!r:.80} leaves the image folder {root}")
    elif absolute and os.path.isabs(relative):
        inside = os.path.relpath(os.path.normpath(relative), os.path.abspath(root))
        relative = relative if inside.startswith("..") else inside
    parts = pathlib.PurePosixPath(relative.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", relative):
        raise ValueError(
            f"image path {relative!r:.80} is absolute or leaves the image folder; name the folder "
            "that holds all images, and paths below it"
        )
    if not parts.parts:
        raise ValueError(f"image path {relative!r:.80} is the image folder itself")
    path = os.path.join(root, *parts.parts)
    try:
        filesystem.is_remote(path)
    except filesystem.RemoteError as error:
        raise ValueError(f"image path {relative!r:.80}: {error!s:.200}") from None
    return path


def size_of(path: str | os.PathLike) -> int:
    """The bytes of a regular file, local or remote.

    Raises:
        DamagedError: if it is no regular file.
        OSError: if it is missing.
    """
    if filesystem.is_remote(path):
        if filesystem.isdir(path):
            raise DamagedError(f"{path}: is no regular file")
        return filesystem.size(path)
    try:
        status = os.stat(path)
    except ValueError as error:  # NUL bytes, lone surrogates
        raise DamagedError(f"{os.fspath(path)!r:.80} can be no file's name") from error
    if not stat.S_ISREG(status.st_mode):
        raise DamagedError(f"{path}: is no regular file")
    return status.st_size


def read_bytes(path: str | os.PathLike, *, most: int | None = MAX_FILE_BYTES) -> bytes:
    """Reads a regular file: no device or pipe, which may never end.

    Args:
        path: of the file.
        most: bytes above which it is not read; None: however many it has.

    Raises:
        DamagedError: if it is no regular file, or too large.
        OSError: if it cannot be read.
    """
    size = size_of(path)
    if most is not None and size > most:
        raise DamagedError(f"{path}: has {size} bytes, more than {most}; split it")
    return filesystem.read_bytes(path)


def read_lines(path: str | os.PathLike, *, most: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """The lines of a file, as a stream; of one that is too long the first `most + 1` bytes."""
    with filesystem.open_binary(path) as file:
        while line := file.readline(most + 1):
            rest = line
            while len(rest) > most and not rest.endswith(b"\n"):
                rest = file.readline(most + 1)
            yield line
