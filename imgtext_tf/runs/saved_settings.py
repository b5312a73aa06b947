"""The settings that a run was begun with: read, restored, compared with those of now."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from imgtext_tf import untrusted
from imgtext_tf.runs.files import RunError, read_json

# Settings that a resumed run may change: they choose how long to train and what to report.
MAY_CHANGE = frozenset({"run_dir", "max_steps", "eval_only", "eval_every", "eval_steps"})


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a run's `settings.json`: script, module, settings.

    Raises:
        RunError: if it is missing or lacks one of them.
    """
    content = read_json(path)
    try:
        if not isinstance(content, dict):
            raise ValueError(f"{path}: holds no JSON object")
        untrusted.need(content, {"module": str, "settings": dict}, path)
    except ValueError as error:
        raise RunError(f"{error}; no run of ours wrote it") from None
    return content


def restored(kind: type, values: Mapping[str, Any], path: str | os.PathLike) -> Any:
    """Settings as a run's file has them: lists become tuples.

    Args:
        kind: the dataclass of the settings.
        values: of its fields.
        path: the file, for errors.

    Raises:
        RunError: naming the file and the setting that is unknown or of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    found = {}
    for name, value in values.items():
        value = tuple(value) if isinstance(value, list) else value
        default = fields[name].default if name in fields else dataclasses.MISSING
        wanted = (int, float) if isinstance(default, float) else type(default)
        free = default is None or value is None or default is dataclasses.MISSING
        if name not in fields or not (free or isinstance(value, wanted)):
            raise RunError(f"{path}: the setting {name!r:.80} is {value!r:.80}; a run of another "
                           "version, or a damaged file")  # fmt: skip
        found[name] = value
    try:
        return kind(**found)
    except TypeError as error:
        raise RunError(f"{path}: {error}") from error


def compare(before: Mapping, now: Mapping, may_change: Collection[str], path: Path) -> None:
    """Raises RunError if settings differ in more than the names in `may_change`."""
    differences = [
        f"  {name}: {before.get(name, 'absent')!r} before, {now.get(name, 'absent')!r} now"
        for name in sorted({*before, *now} - set(may_change))
        if before.get(name, "absent") != now.get(name, "absent")
    ]
    if differences:
        raise RunError(
            "\n".join([f"{path} holds a run with other settings:", *differences,
                       "Use the same settings to resume it, or choose another run directory."])
        )  # fmt: skip
