"""JSON, parsed strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from imgtext_tf.untrusted.paths import DamagedError, read_bytes

_SHOWN = 500


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        for name, value in pairs:
            if members[name] != value:
                raise DamagedError(f"the field {name!r:.80} stands twice with two values")
    return members


def _constant(name: str) -> None:
    """NaN is what tables write for a missing value: null. Infinity is no value at all."""
    if name != "NaN":
        raise DamagedError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant)


def parse_json(text: str | bytes) -> Any:
    """Parses JSON strictly: one value a field, no Infinity; NaN is null.

    Raises:
        DamagedError: saying what is wrong and where.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return _DECODER.decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise json_fault(error) from None


def parse_one(text: str, position: int) -> tuple[Any, int]:
    """Parses the JSON value at a place of a text: the value, and the place behind it."""
    try:
        return _DECODER.raw_decode(text, position)
    except (ValueError, RecursionError) as error:
        raise json_fault(error) from None


def json_fault(error: Exception) -> DamagedError:
    """What a JSON parser tripped over, in words."""
    if isinstance(error, json.JSONDecodeError):
        return DamagedError(f"line {error.lineno}, column {error.colno}: {error.msg}")
    if isinstance(error, RecursionError):
        return DamagedError("its lists or objects are nested too deep")
    return DamagedError(f"{error!s:.{_SHOWN}}")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Raises:
        DamagedError: naming the file.
        OSError: if it cannot be read.
    """
    data = read_bytes(path, most=None)
    try:
        value = parse_json(data)
    except DamagedError as error:
        raise DamagedError(f"{path}: is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{path}: holds no JSON object ({{...}})")
    return value


def need(content: Mapping[str, Any], kinds: Mapping[str, type | tuple], path: object) -> None:
    """Sees that an object has these fields, of these types (a bool is no number).

    Raises:
        DamagedError: naming the file and the field.
    """
    if not isinstance(content, Mapping):
        raise DamagedError(f"{path}: holds {content!r:.80}, no object with fields")
    for name, kind in kinds.items():
        if name not in content:
            raise DamagedError(f"{path}: lacks the field {name!r}")
        value = content[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DamagedError(f"{path}: the field {name!r} holds {value!r:.80}")
