"""What a training writes for TensorBoard."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


class Board:
    """Writes TensorBoard events into one directory; the event file is made at the first write."""

    def __init__(self, directory: str | os.PathLike):
        """Names the directory.

        Args:
            directory: where the event files go.
        """
        self._directory = str(directory)
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
        """Hands what was written to the file system."""
        if self._writer is not None:
            self._writer.flush()
