"""A remote folder as a local one, for what only knows local folders: Keras, TensorBoard, figures.

A remote run directory is worked on in a local copy, which is sent back whenever a state is complete
(a checkpoint, a result, the end). Files are sent in the order in which they were written, so that
the remote folder is at any moment as the local one was at some moment, and a run whose machine is
lost goes on elsewhere as one that was killed.
"""

from __future__ import annotations

import atexit
import logging
import os
import pathlib
import shutil
import tempfile

from imgtext_tf import filesystem

# Large, and only needed by who goes on with a training.
_LATER = ("checkpoint", "tensorboard")
_OWN = "lock"  # of this machine

logger = logging.getLogger(__name__)


class Mirror:
    """A remote folder and its local copy.

    Attributes:
        remote: the remote folder.
        path: the local copy; removed when the process ends.
    """

    def __init__(self, remote: str) -> None:
        """Copies what is there, but for checkpoints and TensorBoard's files."""
        self.remote = remote.rstrip("/")
        self._folder = tempfile.mkdtemp(prefix="imgtext_tf-run-")
        self.path = pathlib.Path(self._folder, os.path.basename(self.remote))
        self.path.mkdir()
        self._known: dict[str, tuple[int, int]] = {}
        self._fetch("", skip=_LATER)

    def complete(self) -> None:
        """Copies the rest, too."""
        for name in _LATER:
            self._fetch(name)

    def push(self) -> None:
        """Sends what changed, and removes there what was removed here.

        Raises:
            OSError: if it cannot be written there.
        """
        found = {
            path.relative_to(self.path).as_posix(): _stamp(path)
            for path in self.path.rglob("*")
            if path.is_file() and not path.name.startswith(".tmp-") and path.name != _OWN
        }
        for name in sorted(found, key=found.get):
            if self._known.get(name) != found[name]:
                filesystem.upload(self.path / name, f"{self.remote}/{name}")
                self._known[name] = found[name]
        for name in [name for name in self._known if name not in found]:
            filesystem.remove(f"{self.remote}/{name}")
            del self._known[name]

    def close(self) -> None:
        """Sends what changed, and removes the local copy if all is there."""
        try:
            self.push()
        except OSError as error:
            logger.error("%s: %s; what is not there is in %s", self.remote, error, self.path)
            return
        shutil.rmtree(self._folder, ignore_errors=True)

    def _fetch(self, below: str, skip: tuple[str, ...] = ()) -> None:
        remote, local = os.path.join(self.remote, below), self.path / below
        if not filesystem.isdir(remote):
            return
        for name in filesystem.listdir(remote):
            place = os.path.join(below, name)
            if name in skip or place in self._known:
                continue
            if filesystem.isdir(f"{self.remote}/{place}"):
                self._fetch(place)
                continue
            local.mkdir(parents=True, exist_ok=True)
            with filesystem.open_binary(f"{self.remote}/{place}") as source:
                with open(self.path / place, "wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            self._known[place] = _stamp(self.path / place)


_MIRRORS: dict[str, Mirror] = {}


def local(path: str | os.PathLike) -> pathlib.Path:
    """The local folder that stands for a folder: itself, or its copy, one a process."""
    if not filesystem.is_remote(path):
        return pathlib.Path(path)
    path = os.fspath(path).rstrip("/")
    for remote, mirror in _MIRRORS.items():
        if path == remote or path.startswith(f"{remote}/"):
            return mirror.path / path[len(remote) + 1 :]
    mirror = _MIRRORS[path] = Mirror(path)
    atexit.register(mirror.close)
    logger.warning("%s is not locked: no other machine may write it now", path)
    return mirror.path


def complete(path: pathlib.Path) -> None:
    """Fetches checkpoints and TensorBoard's files, if a local path is in a copy."""
    if mirror := _of(path):
        mirror.complete()


def push(path: pathlib.Path) -> None:
    """Sends what changed, if a local path is in a copy."""
    if mirror := _of(path):
        mirror.push()


def _of(path: pathlib.Path) -> Mirror | None:
    return next((m for m in _MIRRORS.values() if path.is_relative_to(m.path)), None)


def _stamp(path: pathlib.Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
