"""What a training writes for TensorBoard."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from imgtext_tf import event_files

_MOST_BYTES = 64 * 2**20  # of the files of a board, before old points and pictures are left out


class Board:
    """Writes TensorBoard events into one directory; the event file is made at the first write.

    The directory's files stay bounded, see `event_files`.
    """

    def __init__(self, directory: str | os.PathLike):
        """Names the directory.

        Args:
            directory: where the event files go.
        """
        self._directory = str(directory)
        self._writer = None
        self._most_bytes = _MOST_BYTES

    def go_on(self, step: int) -> None:
        """Makes one file of what earlier processes wrote up to a step, without what came later."""
        self._close()
        event_files.compact(self._directory, last_step=step)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _events(self) -> contextlib.AbstractContextManager:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._directory)
        return self._writer.as_default()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by tag."""
        with self._events():
            for tag, value in values.items():
                tf.summary.scalar(tag, value, step=step)

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Writes a picture, [H, W, 3] uint8."""
        with self._events():
            tf.summary.image(tag, image[None], step=step)

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Writes a text in Markdown."""
        with self._events():
            tf.summary.text(tag, markdown, step=step)

    def flush(self) -> None:
        """Hands what was written to the file system, and leaves out old points if it is much."""
        if self._writer is None:
            return
        try:
            self._writer.flush()
        except tf.errors.OpError as error:
            raise OSError(
                f"{self._directory}: events cannot be written ({error.message}): free space or "
                "mend the folder, then run the same command again"
            ) from error
        if _size(self._directory) > self._most_bytes:
            self._close()
            event_files.compact(self._directory)
            # Twice what could not be left out, or each flush would write all of it anew.
            self._most_bytes = max(_MOST_BYTES, 2 * _size(self._directory))


def _size(directory: str) -> int:
    return sum(path.stat().st_size for path in event_files.files_of(directory))
