"""Flags from a settings dataclass: one field, one flag, one help text.

    if __name__ == "__main__":
        settings_flags.start(main, Settings, HELP, CHOICES)

Scripts define their flags where they are started, not where they are imported, so that scripts
whose flags have the same names can be imported together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from experiments import common_flags
from imgtext_tf.data import runners

Settings = TypeVar("Settings")

# The flags belong to the script that calls: `--help` shows them as its own.
flags.disclaim_key_flags()

RUNNER_HELP = {
    "processes": "Processes that make the shards; the bytes do not depend on it.",
    "runner": "What makes the shards: processes here, or an Apache Beam runner.",
    "beam_options": "Beam's options, such as runner=FlinkRunner; see docs/building_at_scale.md.",
}
RUNNER_CHOICES = {"runner": runners.RUNNERS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunnerSettings:
    """The settings of every script that works shard by shard; `RUNNER_HELP` says what they mean."""

    processes: int = 1
    runner: str = "local"
    beam_options: tuple[str, ...] = ()

    def shard_runner(self) -> runners.Runner:
        """What makes the shards.

        Raises:
            ValueError: if the flags do not go together.
        """
        return runners.Runner(self.runner, self.processes, self.beam_options)


def start(
    main: Callable[[list[str]], object],
    settings: type,
    help_texts: Mapping[str, str],
    choices: Mapping[str, Sequence[str]] | None = None,
    *,
    trains: bool = False,
) -> None:
    """Starts a script whose flags are the fields of its settings and those of `common_flags`.

    Args:
        main: of the script.
        settings: see `define`, as for the next two.
        help_texts: field -> help text.
        choices: field -> allowed values.
        trains: see `common_flags.run_main`.
    """
    define(settings, help_texts, choices)
    flags.adopt_module_key_flags(common_flags)
    flags.mark_flags_as_required(names_of(settings))
    common_flags.run_main(main, trains=trains)


def define(
    settings: type,
    help_texts: Mapping[str, str],
    choices: Mapping[str, Sequence[str]] | None = None,
    flag_values: flags.FlagValues = flags.FLAGS,
    names: Collection[str] | None = None,
) -> None:
    """Defines a flag for each field; those of `common_flags` get the field's default.

    Args:
        settings: a dataclass of str, bool, int, float and tuple fields.
        help_texts: field -> help text; not for the flags of `common_flags`.
        choices: field -> allowed values.
        flag_values: where the flags go.
        names: of the fields that get a flag; None means all.
    """
    for field in dataclasses.fields(settings):
        name, default = field.name, field.default
        if names is not None and name not in names:
            continue
        required = default is dataclasses.MISSING
        if isinstance(default, tuple):
            default = [str(value) for value in default]
        if name in flag_values:
            if not required:
                flag_values.set_default(name, default)
            continue
        text = help_texts.get(name) or flags.FLAGS[name].help
        where = {"flag_values": flag_values}
        default = None if required else default
        if name in (choices or {}):
            flags.DEFINE_enum(name, default, choices[name], text, **where)
        elif isinstance(default, list):
            flags.DEFINE_list(name, default, text, **where)
        elif required or isinstance(default, str):
            flags.DEFINE_string(name, default, text, **where)
        else:
            make = {
                bool: flags.DEFINE_bool,
                int: flags.DEFINE_integer,
                float: flags.DEFINE_float,
            }
            make[type(default)](name, default, text, **where)


def read(
    settings: type[Settings],
    flag_values: flags.FlagValues = flags.FLAGS,
    names: Collection[str] | None = None,
    **values: Any,
) -> Settings:
    """The settings that the command line gives.

    Args:
        settings: the dataclass.
        flag_values: where the flags were defined.
        names: of the fields that have a flag; None means all.
        **values: of other fields.

    Raises:
        app.UsageError: if a list holds something else than numbers.
    """
    for field in dataclasses.fields(settings):
        if names is not None and field.name not in names:
            continue
        value = flag_values[field.name].value
        if value is None and field.default is not dataclasses.MISSING:
            # A flag of `common_flags`, where the script did not call `define`.
            value = field.default
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
