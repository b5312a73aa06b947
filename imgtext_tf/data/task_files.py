"""Tasks of `runners` as bytes that hold data only: dataclasses of plain values, in JSON."""

from __future__ import annotations

import dataclasses
import importlib
import json
from typing import Any

from imgtext_tf import untrusted

_TUPLE, _DICT, _CLASS, _FIELDS = "tuple", "dict", "class", "fields"


def to_bytes(task: Any) -> bytes:
    """A dataclass, of a module, of strings, numbers, lists, tuples, dicts and such dataclasses.

    Raises:
        TypeError: if a value is of another kind.
    """
    return json.dumps(_plain(task), allow_nan=False).encode("ascii")


def from_bytes(data: bytes) -> Any:
    """The equal of what `to_bytes` was given.

    Raises:
        ValueError: if the bytes are none of its.
    """
    try:
        return _value(untrusted.parse_json(data))
    except (AttributeError, ImportError, KeyError, TypeError) as error:
        raise ValueError(f"this is no task: {error}") from error


def _plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(one) for one in value]}
    if isinstance(value, dict):
        return {_DICT: [[_plain(key), _plain(one)] for key, one in value.items()]}
    if dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {_CLASS: f"{type(value).__module__}:{type(value).__qualname__}", _FIELDS: fields}
    raise TypeError(f"{value!r:.80} can be no part of a task")


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(one) for one in plain]
    if not isinstance(plain, dict):
        return plain
    if _TUPLE in plain:
        return tuple(_value(one) for one in plain[_TUPLE])
    if _DICT in plain:
        return {_value(key): _value(one) for key, one in plain[_DICT]}
    module, _, name = plain[_CLASS].partition(":")
    kind = getattr(importlib.import_module(module), name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise TypeError(f"{plain[_CLASS]} is no dataclass")
    return kind(**{field: _value(one) for field, one in plain[_FIELDS].items()})
