"""What is logged while a run directory is at work, in a file of it that rotates."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
from collections.abc import Iterator

_BYTES, _FILES = 2**20, 3  # of one file; older ones beside it: log.txt.1 and so on


class _Handler(logging.handlers.RotatingFileHandler):
    """Told apart from other handlers of the program; a full disk costs the log, not the run."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Leaves the line out: it stands on standard error as well."""


@contextlib.contextmanager
def written(path: str | os.PathLike) -> Iterator[None]:
    """Appends all log lines of a block to a file; not if an outer block does so already.

    Args:
        path: of the file, made at the first line.
    """
    root = logging.getLogger()
    if any(isinstance(handler, _Handler) for handler in root.handlers):
        yield
        return
    handler = _Handler(path, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with contextlib.suppress(OSError):  # a full disk again
            handler.close()
