"""How every reader opens a file."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from imgtext_tf import untrusted
from imgtext_tf.data.shards import BadRecord

# How much larger than its archive an annotation file may be: JSON packs to a tenth or less.
_EXPANSION, _SMALL = 60, 2**20


class ReaderError(untrusted.ShortError):
    """A raw source that cannot be read at all; the message names the file and the mend."""


def decode(path: str | os.PathLike, data: bytes, *, offset: int = 0) -> str:
    """Decodes strict UTF-8 (a byte order mark is skipped).

    Raises:
        ReaderError: names the file, the byte and the mend.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReaderError(
            f"{path}: byte {offset + error.start} (0x{data[error.start]:02x}) is not UTF-8; find "
            "the file's encoding and convert it, e.g. `iconv -f latin1 -t utf-8`"
        ) from None


def read_bytes(path: str | os.PathLike, *, most: int | None = None) -> bytes:
    """Reads a file of at most so many bytes.

    Raises:
        ReaderError: if it cannot be read.
    """
    try:
        return untrusted.read_bytes(path, most=most)
    except OSError as error:
        raise ReaderError(_missing(path, error)) from None
    except untrusted.DamagedError as error:
        raise ReaderError(str(error)) from None


def read_packed(path: str | os.PathLike) -> bytes:
    """Reads a file; one that ends in .gz, or in .zip with one JSON file inside, comes unpacked.

    Raises:
        ReaderError: if it cannot be read or unpacked, or is a bomb.
    """
    data, name = read_bytes(path), os.fspath(path)
    most = _EXPANSION * len(data) + _SMALL
    try:
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
                return _at_most(file, most, path)
        if not name.endswith(".zip"):
            return data
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # A Mac puts files of its own beside it.
            found = [
                one for one in archive.namelist() if one.endswith(".json") and "__MACOSX" not in one
            ]
            if len(found) != 1:
                raise ReaderError(f"{path}: holds {found}, not one JSON file; unpack it")
            with archive.open(found[0]) as file:
                return _at_most(file, most, path)
    except ReaderError:
        raise
    except Exception as error:  # whatever the unpackers trip over
        raise ReaderError(damaged(path, error)) from None


def _at_most(file: BinaryIO, most: int, path: str | os.PathLike) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise ReaderError(f"{path}: unpacks to more than {most} bytes; if it should, unpack it")
    return data


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        ReaderError: if it is missing, not UTF-8, or no JSON.
    """
    try:
        return untrusted.parse_json(decode(path, read_bytes(path)))
    except untrusted.DamagedError as error:
        raise ReaderError(damaged(path, error)) from None


def read_object(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Raises:
        ReaderError: if it does not.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ReaderError(f"{path}: holds no JSON object ({{...}})")
    return value


def damaged(path: str | os.PathLike, error: Exception) -> str:
    """What to say of a file that cannot be parsed."""
    return f"{path}: {error}; the file is damaged or cut short: fetch it again"


def read_table(
    path: str | os.PathLike, **how: Any
) -> Iterator[tuple[str, dict[str, str] | BadRecord]]:
    """Yields (record name, row) of a table with a header; a bad row comes as a `BadRecord`.

    Args:
        path: of the file.
        **how: see `untrusted.read_table`.

    Raises:
        ReaderError: if the file cannot be read.
    """
    try:
        for line, row in untrusted.read_table(path, **how):
            name = f"{path}:{line}"
            yield name, BadRecord(name, row) if isinstance(row, str) else row
    except OSError as error:
        raise ReaderError(_missing(path, error)) from None
    except untrusted.DamagedError as error:
        raise ReaderError(str(error)) from None


def _missing(path: str | os.PathLike, error: OSError) -> str:
    return f"{path}: {error.strerror or error}; docs/data.md shows the layout expected"


def read_lines(path: str | os.PathLike) -> Iterator[tuple[str, str | BadRecord]]:
    """Yields (record name, line) of a UTF-8 text file, empty lines left out.

    A line that is not UTF-8 comes as a `BadRecord`, for the other lines are still good.

    Raises:
        ReaderError: if the file cannot be read.
    """
    offset = 0
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        name = f"{path}:{number}"
        try:
            text = decode(path, line, offset=offset).rstrip("\r")
            if text.strip():
                yield name, text
        except ReaderError as error:
            yield name, BadRecord(name, str(error))
        offset += len(line) + 1


def read_json_lines(path: str | os.PathLike) -> Iterator[tuple[str, dict | BadRecord]]:
    """Yields (record name, object) of a JSONL file; a bad line comes as a `BadRecord`.

    Raises:
        ReaderError: if the file cannot be read.
    """
    for name, line in read_lines(path):
        if isinstance(line, BadRecord):
            yield name, line
            continue
        try:
            record = untrusted.parse_json(line)
        except untrusted.DamagedError as error:
            yield name, BadRecord(name, f"no JSON: {error}")
            continue
        if isinstance(record, dict):
            yield name, record
        else:
            yield name, BadRecord(name, "no JSON object ({...})")
