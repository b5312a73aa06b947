"""One folder, one build: what a folder of shards was begun with."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from imgtext_tf import filesystem
from imgtext_tf.data import files
from tfrecords_tools.build_settings import BuildError
from tfrecords_tools.readers import base

STATE = "build.json"

_LOG = logging.getLogger(__name__)


def claim(directory: str, fingerprint: str, settings: Mapping[str, Any]) -> None:
    """Writes `build.json`, or sees that the folder's build is this one.

    Args:
        directory: of the shards; exists.
        fingerprint: a digest of all that decides the shards' bytes.
        settings: the recorded flags, named where they are why it is another build.

    Raises:
        BuildError: if it is another one.
    """
    path = os.path.join(directory, STATE)
    state = {"fingerprint": fingerprint, "settings": dict(settings)}
    if not filesystem.exists(path):
        foreign = [name for name in filesystem.listdir(directory) if name.endswith(".tfrecord")]
        if foreign:
            raise BuildError(f"{directory}: holds {foreign[0]} of no known build; use another "
                             "--output_dir or remove it")  # fmt: skip
        files.write_json(path, state)
        return
    before = base.read_object(path)
    if before.get("fingerprint") == fingerprint:
        _LOG.info("going on with the build in %s", directory)
        return
    old = before.get("settings")
    old = old if isinstance(old, dict) else {}
    changed = [
        f"--{name}: {old.get(name)} -> {state['settings'].get(name)}"
        for name in sorted(set(old) | set(state["settings"]))
        if old.get(name) != state["settings"].get(name)
    ]
    other = f"flags ({'; '.join(changed)})" if changed else "raw data or seed"
    raise BuildError(
        f"{directory}: holds a build with other {other}; use the same flags, another --output_dir, "
        "or remove the folder"
    )
