"""The flags of a builder from its settings dataclass: one field, one flag, one help text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

Settings = TypeVar("Settings")

# The flags belong to the module that calls: `--help` shows them as its own.
flags.disclaim_key_flags()


def define(
    settings: type,
    help_texts: Mapping[str, str],
    choices: Mapping[str, Sequence[str]],
    names: Collection[str] | None = None,
) -> None:
    """Defines a flag for each field; one without a default must be given.

    Args:
        settings: a dataclass of str, bool, int, float and tuple fields.
        help_texts: field -> help text.
        choices: field -> allowed values.
        names: of the fields that get a flag; None means all.
    """
    make: dict[str, Callable] = {
        "str": flags.DEFINE_string,
        "int": flags.DEFINE_integer,
        "float": flags.DEFINE_float,
        "bool": flags.DEFINE_bool,
    }
    for field in dataclasses.fields(settings):
        name = field.name
        if names is not None and name not in names:
            continue
        required = field.default is dataclasses.MISSING
        default, text = None if required else field.default, help_texts[name]
        if name in choices:
            flags.DEFINE_enum(name, default, choices[name], text, required=required)
        elif isinstance(default, tuple):
            flags.DEFINE_list(name, [str(value) for value in default], text)
        else:
            make[field.type.split(" ")[0]](name, default, text, required=required)


def read(settings: type[Settings], names: Collection[str] | None = None, **values: Any) -> Settings:
    """The settings that the command line gives.

    Args:
        settings: the dataclass.
        names: of the fields that have a flag; None means all.
        **values: of other fields.

    Raises:
        ValueError: if a list holds something else than numbers.
    """
    for field in dataclasses.fields(settings):
        if names is not None and field.name not in names:
            continue
        value = flags.FLAGS[field.name].value
        if isinstance(value, list):
            kind = {"tuple[int": int, "tuple[float": float}.get(field.type.split(",")[0], str)
            value = tuple(map(kind, value))
        values[field.name] = value
    return settings(**values)
