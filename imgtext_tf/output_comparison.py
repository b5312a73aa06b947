"""Are two output folders of one command the same, bit for bit?

Files are compared byte by byte, but for what differs between any two runs of a command: clocks,
process ids and the folder's own name. Of those the content is compared: all arrays of `.npz` files
and `.keras` models, JSON and arrays without their times. Of checkpoints and mining pools the newest
counts.
"""

from __future__ import annotations

import io
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np

from imgtext_tf import untrusted

# Versions and process ids, log lines, events in the order of resumes: a run's story, no result.
_STORY = re.compile(r"(^|/)(lock|environment\.json|log\.txt[.\d]*|tensorboard/.*)$")
_NEWEST = re.compile(r"(^|/)(checkpoint/step-|mining/pool-)\d+\.npz$")
# Keys of JSON that hold a time, or where something lies; or the digest of a model's file, in which
# Keras writes when it was saved. The model itself is compared.
_CLOCKS = re.compile(r"(^|_)seconds$|^(environment|command|model_sha256)$|per_second")

# An object of a Keras configuration that stands in several places of it.
_SHARED = re.compile(rb'("shared_object_id": )(\d+)')


def files_of(folder: str | os.PathLike) -> dict[str, pathlib.Path]:
    """The files of an output folder that count: name -> path, sorted.

    The newest of a folder's checkpoints or mining pools has the name of the folder and `newest`.
    """
    root = pathlib.Path(folder)
    found: dict[str, pathlib.Path] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if not _STORY.search(name):
            newest = _NEWEST.search(name)
            found[f"{name.rsplit('/', 1)[0]}/newest" if newest else name] = path
    return found


def differences(one: str | os.PathLike, other: str | os.PathLike) -> list[str]:
    """What differs between two output folders: one line a difference, none where they are equal."""
    first, second = files_of(one), files_of(other)
    lines = [f"{name}: only in {one}" for name in first.keys() - second.keys()]
    lines += [f"{name}: only in {other}" for name in second.keys() - first.keys()]
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        read = _reader(name)
        if read is None:
            names = [str(folder).encode() for folder in (one, other)]
            data = [path.read_bytes() for path in (a, b)]
            if data[0].replace(names[0], b"{}") != data[1].replace(names[1], b"{}"):
                lines.append(f"{name}: other bytes")
            continue
        contents = [dict(read(path, str(folder))) for path, folder in ((a, one), (b, other))]
        lines += [f"{name}: {key}" for key in _unequal(*contents)]
    return sorted(lines)


def _reader(name: str) -> Callable[[pathlib.Path, str], Iterator[tuple[str, Any]]] | None:
    if name.endswith(("checkpoint/newest", ".npz")):
        return _arrays
    if name.endswith(".keras"):
        return _keras
    return _json if name.endswith(".json") else None


def _unequal(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other:
            yield f"{key} is in one only"
            continue
        a, b = one[key], other[key]
        if isinstance(a, np.ndarray):
            same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
            if not same:
                yield f"{key} differs"
        elif a != b:
            yield f"{key} is {a!r:.60} and {b!r:.60}"


def _arrays(path: pathlib.Path, folder: str) -> Iterator[tuple[str, Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            if name == "state":  # JSON, of checkpoints
                yield from _flat("state", untrusted.parse_json(str(arrays[name])))
            elif not _CLOCKS.search(name):
                yield name, arrays[name]


def _keras(path: pathlib.Path, folder: str) -> Iterator[tuple[str, Any]]:
    """The configuration and all weights; not the date in the file's metadata."""
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            if name.endswith(".h5"):
                with h5py.File(io.BytesIO(file.read(name))) as weights:
                    arrays: dict[str, np.ndarray] = {}
                    weights.visititems(
                        lambda key, item, arrays=arrays: arrays.update(
                            {key: item[()]} if isinstance(item, h5py.Dataset) else {}
                        )
                    )
                yield from arrays.items()
            elif not name.endswith("metadata.json"):
                yield name, _numbered(file.read(name))


def _numbered(config: bytes) -> bytes:
    """Keras names shared objects by their addresses: which are the same counts, not where."""
    numbers: dict[bytes, int] = {}
    return _SHARED.sub(
        lambda found: b"%s%d" % (found[1], numbers.setdefault(found[2], len(numbers))), config
    )


def _json(path: pathlib.Path, folder: str) -> Iterator[tuple[str, Any]]:
    text = path.read_text(encoding="utf-8").replace(folder, "{}")
    yield from _flat("", untrusted.parse_json(text))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(path of keys, value) of all leaves but times; NaN as text, so that it equals itself."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not _CLOCKS.search(key):
                yield from _flat(f"{prefix}/{key}", inner)
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for place, inner in enumerate(value):
            yield from _flat(f"{prefix}/{place}", inner)
    else:
        yield prefix, repr(value) if isinstance(value, float) else value
