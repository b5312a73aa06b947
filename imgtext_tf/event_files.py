"""TensorBoard event files that stay small: written anew with what is worth keeping.

Each start of a run opens a new event file, and what a killed run wrote after its last checkpoint is
written again. `compact` makes one file of a folder: every point once, none after the step that the
run goes on from, at most so many points and pictures a tag.
"""

from __future__ import annotations

import collections
import os
import pathlib
import time
from collections.abc import Iterator

import tensorflow as tf

from imgtext_tf import runs

_PREFIX = "events.out.tfevents."
_SCALARS, _OTHERS = 10_000, 20  # most points of a tag; of pictures and texts

_Event = tf.compat.v1.Event


def files_of(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The event files right in a folder, oldest first."""
    return sorted(pathlib.Path(folder).glob(f"{_PREFIX}*"))


def read(path: str | os.PathLike) -> Iterator[_Event]:
    """The events of a file, as far as it is whole: a killed process leaves half of one."""
    records = iter(tf.data.TFRecordDataset(os.fspath(path)))
    while True:
        try:
            yield _Event.FromString(next(records).numpy())
        except (StopIteration, tf.errors.DataLossError):
            return


def compact(folder: str | os.PathLike, *, last_step: int | None = None) -> None:
    """Writes the events of a folder into one file, and removes the others.

    Of a tag with more points than fit, every second one is left out, as often as it takes; the last
    one stays. Of pictures and texts the newest stay.

    Args:
        folder: of event files; nothing happens where there are none.
        last_step: later events are dropped; None keeps all.
    """
    old = files_of(folder)
    if not old:
        return
    found: dict[str, dict[int, _Event]] = collections.defaultdict(dict)
    for path in old:
        for event in read(path):
            if last_step is not None and event.step > last_step:
                continue
            for value in event.summary.value:
                one = _Event(wall_time=event.wall_time, step=event.step)
                one.summary.value.add().CopyFrom(value)
                found[value.tag][event.step] = one  # the newest of a step counts
    kept = [event for points in found.values() for event in _thinned(points)]
    kept.sort(key=lambda event: (event.step, event.wall_time))
    # Readers take the files in the order of names: before one that is begun in the same second.
    new = pathlib.Path(folder, f"{_PREFIX}{int(time.time()):010d}.-compact")
    with runs.atomic_path(new) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        version = _Event(wall_time=time.time(), file_version="brain.Event:2")
        for event in [version, *kept]:
            writer.write(event.SerializeToString())
    for path in old:
        if path != new:
            path.unlink(missing_ok=True)


def _thinned(points: dict[int, _Event]) -> list[_Event]:
    events = [points[step] for step in sorted(points)]
    plugin = events[-1].summary.value[0].metadata.plugin_data.plugin_name
    if plugin != "scalars":
        return events[-_OTHERS:]
    while len(events) > _SCALARS:
        events = events[::-2][::-1]
    return events
