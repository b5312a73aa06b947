"""Flags from a settings dataclass: one field, one flag, one help text.

Scripts define their flags where they are started, not where they are imported, so that scripts
whose flags have the same names can be imported together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from experiments import common_flags

Settings = TypeVar("Settings")


def define(
    settings: type,
    help_texts: Mapping[str, str],
    choices: Mapping[str, Sequence[str]] | None = None,
    flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Defines a flag for each field; those of `common_flags` get the field's default.

    Args:
        settings: a dataclass of str, bool, int, float and tuple fields.
        help_texts: field -> help text; not for the flags of `common_flags`.
        choices: field -> allowed values.
        flag_values: where the flags go.
    """
    for field in dataclasses.fields(settings):
        name, default = field.name, field.default
        required = default is dataclasses.MISSING
        if isinstance(default, tuple):
            default = [str(value) for value in default]
        if name in flag_values:
            if not required:
                flag_values.set_default(name, default)
            continue
        text, where = help_texts[name], {"flag_values": flag_values}
        if name in (choices or {}):
            flags.DEFINE_enum(name, default, choices[name], text, **where)
        elif isinstance(default, list):
            flags.DEFINE_list(name, default, text, **where)
        elif required or isinstance(default, str):
            flags.DEFINE_string(name, None if required else default, text, **where)
        else:
            make = {
                bool: flags.DEFINE_bool,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
            }
            make[type(default)](name, default, text, **where)


def read(settings: type[Settings], flag_values: flags.FlagValues = flags.FLAGS) -> Settings:
    """The settings that the command line gives.

    Raises:
        app.UsageError: if a list holds something else than numbers.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = flag_values[field.name].value
        if isinstance(field.default, tuple):
            if "str" in str(field.type):
                value = tuple(value)
            else:
                kind = float if "float" in str(field.type) else int
                value = common_flags.numbers(field.name, value, kind)
        values[field.name] = value
    return settings(**values)


def names_of(settings: type) -> list[str]:
    """The names of the fields that have no default: flags that must be given."""
    return [f.name for f in dataclasses.fields(settings) if f.default is dataclasses.MISSING]
