"""A folder of photos as vectors on disk: made once, brought up to date, searched many times.

An index is a folder of `index.json` (what made the vectors) and parts `part-000000.npz` (names,
sizes, times of change and vectors of some photos). A part is written whole or not at all, so that
a stopped update goes on behind its last part; photos that changed are embedded again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data import files

logger = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
_PART = 512


class ImageIndexError(untrusted.ShortError, ValueError):
    """An index that does not fit, or a folder without photos."""


@dataclasses.dataclass(frozen=True)
class ImageIndex:
    """The photos of an index.

    Attributes:
        root: the folder that the names are relative to.
        names: [N] paths below the root.
        vectors: [N, D] float32 of length 1.
    """

    root: pathlib.Path
    names: tuple[str, ...]
    vectors: np.ndarray

    def best(
        self, query: np.ndarray, count: int, *, leave_out: str | None = None
    ) -> list[tuple[str, float]]:
        """The photos nearest to a query: (name, score), best first, equal ones by name.

        Args:
            query: [D].
            count: most photos to return.
            leave_out: a name that is not returned, such as the query's.
        """
        if np.shape(query) != self.vectors.shape[1:]:
            raise ImageIndexError(f"a query of length {np.size(query)} for vectors of length "
                                  f"{self.vectors.shape[1]}: use the index's run")  # fmt: skip
        scores = self.vectors @ np.asarray(query, np.float32)
        order = np.lexsort((np.array(self.names), -scores))
        found = [(self.names[place], float(scores[place])) for place in order[: count + 1]]
        return [one for one in found if one[0] != leave_out][:count]


def update(
    folder: str | os.PathLike,
    root: str | os.PathLike,
    embed: Callable[[Sequence[pathlib.Path]], tuple[list[int], np.ndarray]],
    *,
    made_by: dict[str, Any],
    most_bad: float = 0.5,
    progress: Callable[[Iterable], Iterable] = iter,
) -> ImageIndex:
    """Embeds the photos below a folder that the index does not have yet.

    Args:
        folder: of the index; made where missing.
        root: of the photos; searched to any depth.
        embed: paths -> places of those that could be read, and their vectors [n, D]; zeros stand
            for a file that is no image, which is noted and not tried again.
        made_by: what the vectors depend on, JSON values.
        most_bad: share of the photos that may be no images, or unreadable; the index is kept, so
            that the same call with a larger share only counts again.
        progress: wraps the parts that are to be embedded.

    Returns:
        The index of the photos that are there now.

    Raises:
        ImageIndexError: if the index was made by something else, there are no photos, or too many
            of them are bad.
    """
    for path in (folder, root):
        filesystem.must_be_local(path, "photos are compared by name and time; copy them here")
    folder, root = pathlib.Path(folder), pathlib.Path(root).resolve()
    made_by = json.loads(json.dumps(made_by)) | {"root": str(root)}
    _claim(folder, made_by)
    there = _photos(root)
    if not there:
        raise ImageIndexError(f"{root}: has no photo ({', '.join(SUFFIXES)})")
    known = _read_parts(folder)
    todo = [name for name, stamp in there.items() if known.get(name, (None,))[0] != stamp]
    number = len(list(folder.glob("part-*.npz")))
    parts = [todo[start : start + _PART] for start in range(0, len(todo), _PART)]
    for part in progress(parts):
        good, vectors = embed([root / name for name in part])
        for place in sorted(set(range(len(part))) - set(good)):
            logger.warning(
                "%s: cannot be read now; the next update tries again", root / part[place]
            )
        for place, vector in zip(good, vectors, strict=True):
            if not np.any(vector):
                logger.warning("%s: is no image, left out of the index", root / part[place])
        names = [part[place] for place in good]
        if names:
            stamps = [there[name] for name in names]
            _write_part(folder / f"part-{number:06d}.npz", names, stamps, vectors)
            number += 1
    indexed = _read_parts(folder)
    _count_bad(indexed, root, there, most_bad)
    return _open(folder, root, indexed, there)


def _count_bad(
    known: dict[str, tuple], root: pathlib.Path, there: dict[str, tuple], most: float
) -> None:
    """Says how many photos are not in the index, and raises if they are more than a share."""
    bad = [
        name for name, stamp in there.items()
        if known.get(name, (None,))[0] != stamp or not np.any(known[name][1])
    ]  # fmt: skip
    if not bad:
        return
    text = (
        f"{root}: {len(bad)} of {len(there)} photos are no images or cannot be read, such as "
        f"{bad[0]}"
    )
    if len(bad) > most * len(there):
        raise ImageIndexError(f"{text}: more than {most:.0%}; mend them, or allow more")
    logger.warning("%s: left out", text)


def load(folder: str | os.PathLike) -> tuple[ImageIndex, dict[str, Any]]:
    """Opens an index as it is: the index, and what made it.

    Raises:
        ImageIndexError: if there is none.
    """
    folder = pathlib.Path(folder)
    if not (folder / "index.json").exists():
        raise ImageIndexError(f"{folder}: is no index; make one with --images=<folder of photos>")
    made_by = _description(folder / "index.json")
    root, known = pathlib.Path(made_by["root"]), _read_parts(folder)
    # Only what the parts name is looked at, and only below the root, whatever the index says it is.
    return _open(folder, root, known, _stamps(root, known)), made_by


def _description(path: pathlib.Path) -> dict[str, Any]:
    """What made an index.

    Raises:
        ImageIndexError: if the file is damaged.
    """
    try:
        content = untrusted.read_json(path)
        untrusted.need(content, {"root": str}, path)
        return content
    except untrusted.DamagedError as error:
        raise ImageIndexError(f"{error}; index the photos again in another folder") from error


def _open(
    folder: pathlib.Path,
    root: pathlib.Path,
    known: dict[str, tuple[tuple[int, int], np.ndarray]],
    there: dict[str, tuple[int, int]],
) -> ImageIndex:
    kept = [
        name for name in sorted(known)
        if known[name][0] == there.get(name) and np.any(known[name][1])
    ]  # fmt: skip
    if not kept:
        raise ImageIndexError(
            f"{folder}: none of its photos is in {root}: give --images to update it"
        )
    return ImageIndex(root, tuple(kept), np.stack([known[name][1] for name in kept]))


def _photos(root: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Name -> (bytes, time of change) of the photos below a folder, sorted by name."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    return _stamps(root, (path.relative_to(root).as_posix() for path in paths))


def _stamps(root: pathlib.Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Name -> (bytes, time of change) of those that are files below a folder."""
    found = {}
    for name in names:
        path = pathlib.PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            continue
        # A loop of links is none; what a link leads to may be a file.
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(root / path)
            if stat.S_ISREG(status.st_mode):
                found[name] = (status.st_size, status.st_mtime_ns)
    return found


def _read_parts(folder: pathlib.Path) -> dict[str, tuple[tuple[int, int], np.ndarray]]:
    """Name -> (stamp, vector); later parts win."""
    known = {}
    for path in sorted(folder.glob("part-*.npz")):
        try:
            part = untrusted.load_npz(path)
            names, stamps, vectors = (part[name] for name in ("names", "stamps", "vectors"))
            if vectors.ndim != 2 or not np.isfinite(vectors).all():
                raise ValueError(f"has vectors {vectors.shape} {vectors.dtype}, or not finite ones")
            if names.dtype.kind != "U" or stamps.shape != (len(names), 2):
                raise ValueError(f"has names {names.dtype} and stamps {stamps.shape}")
            for name, stamp, vector in zip(names.tolist(), stamps.tolist(), vectors, strict=True):
                known[name] = (tuple(stamp), vector)
        except (KeyError, TypeError, ValueError) as error:
            raise ImageIndexError(
                f"{path}: is damaged ({error}); delete it, and update the index with --images"
            ) from error
    if len({vector.shape for _, vector in known.values()}) > 1:
        raise ImageIndexError(f"{folder}: its parts have vectors of several lengths: index anew")
    return known


def _write_part(path: pathlib.Path, names: list[str], stamps: list, vectors: np.ndarray) -> None:
    arrays = {"names": np.array(names), "stamps": np.array(stamps), "vectors": vectors}
    with files.atomic(str(path)) as temporary, files.disk_errors(str(path)):
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)


def _claim(folder: pathlib.Path, made_by: dict[str, Any]) -> None:
    path = folder / "index.json"
    if path.exists():
        before = _description(path)
        # The folder of photos may have moved: names are relative to it.
        if before | {"root": made_by["root"]} != made_by:
            raise ImageIndexError(
                f"{folder}: was made with {before}, not {made_by}; use another --index, or delete "
                "this one"
            )
    files.write_json(str(path), made_by)
