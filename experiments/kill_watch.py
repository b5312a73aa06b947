"""Sees temporary files the moment they are begun: inotify of Linux, below a folder."""

from __future__ import annotations

import ctypes
import os
import pathlib
import select
import struct
import threading

_CREATE, _MOVED_TO, _IS_DIRECTORY = 0x100, 0x80, 0x40000000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name


class Watch:
    """Notes every temporary file begun below a folder, until it is closed.

    A temporary file has "tmp" in its name or is hidden; what is written whole gets its name later.

    Attributes:
        names: of the temporary files, in the order they were begun.
    """

    def __init__(self, folder: pathlib.Path):
        """Starts watching.

        Args:
            folder: exists; folders below it are watched as they come.

        Raises:
            OSError: where there is no inotify: not on Linux, or too many watches.
        """
        self.names: list[str] = []
        self._new = threading.Condition()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.inotify_init1(os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot be started")
        self._folders: dict[int, pathlib.Path] = {}
        self._found: set[pathlib.Path] = set()  # by looking, so their event may still come
        self._add(folder)
        self._root = folder
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, number: int, *, seconds: float) -> bool:
        """Waits until so many temporary files were begun; False if it took longer."""
        with self._new:
            return self._new.wait_for(lambda: len(self.names) >= number, seconds)

    def close(self) -> None:
        """Ends the watching."""
        self._closed.set()
        self._thread.join()
        os.close(self._file)

    def _add(self, folder: pathlib.Path) -> None:
        mask = _CREATE | _MOVED_TO
        number = self._libc.inotify_add_watch(self._file, os.fsencode(folder), mask)
        if number >= 0:  # else it is gone already
            self._folders[number] = folder

    def _read(self) -> None:
        while not self._closed.is_set():
            if not select.select([self._file], [], [], 0.1)[0]:
                continue
            data, start = os.read(self._file, 1 << 16), 0
            while start < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, start)
                start += _EVENT.size + length
                name = os.fsdecode(data[start - length : start].rstrip(b"\0"))
                path = self._folders.get(watch, self._root) / name
                if path in self._found:
                    self._found.discard(path)
                else:
                    self._note(path, mask)

    def _note(self, path: pathlib.Path, mask: int) -> None:
        if mask & _IS_DIRECTORY:
            self._add(path)
            # What came into it before it was watched; what came while it is looked at, is seen
            # both ways.
            for inner in path.glob("*") if path.is_dir() else ():
                if inner not in self._found:
                    self._found.add(inner)
                    self._note(inner, _CREATE | (_IS_DIRECTORY if inner.is_dir() else 0))
        if mask & _CREATE and ("tmp" in path.name or path.name.startswith(".")):
            with self._new:
                self.names.append(path.name)
                self._new.notify_all()
