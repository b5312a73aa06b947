"""WebVision 1.0: `info/` lists of images and labels, synsets, and, where there, their queries.

    info/synsets.txt                       "n01440764 tench, Tinca tinca", line i is label i
    info/train_filelist_{google,flickr,all}.txt   "google/q0001/x.jpg 0"
    info/val_filelist.txt                  "val000001.jpg 0", below val_images_256/
    info/queries_{google,flickr}.txt       "1 tench": the query of folder q0001
    info/train_meta_list_*.txt             "google/q0001.json 1": the file and the place from 1

The labels of test_filelist.txt were never published: val stands for the paper's test images. Of
the meta files the titles and tags are read.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping

from imgtext_tf import filesystem
from tfrecords_tools.readers import base

_VAL_FOLDER = "val_images_256"


@dataclasses.dataclass(frozen=True)
class Synset:
    """A label: its id and its terms, the most usual one first."""

    wnid: str
    terms: tuple[str, ...]


def read_synsets(folder: str | os.PathLike) -> list[Synset]:
    """The labels in their order.

    Raises:
        base.ReaderError: if the list is missing or a line holds no id and terms.
    """
    path = os.path.join(folder, "synsets.txt")
    synsets = []
    for name, line in base.read_lines(path):
        wnid, _, terms = ("" if isinstance(line, base.BadRecord) else line).partition(" ")
        names = tuple(term.strip() for term in terms.split(",") if term.strip())
        if not names:
            raise base.ReaderError(f"{name}: expected 'n01440764 tench, Tinca tinca', got {line!r}")
        synsets.append(Synset(wnid, names))
    if not synsets:
        raise base.ReaderError(f"{path}: is empty")
    return synsets


def read_files(
    folder: str | os.PathLike, images_dir: str | os.PathLike, *, part: str = ""
) -> Iterator[tuple[str, str, str, int] | base.BadRecord]:
    """Yields (split, name, path, label) of the images with labels: splits "train" and "val".

    Args:
        folder: `info`.
        images_dir: what the paths are relative to.
        part: "google", "flickr" or "all"; empty for all there is.

    Raises:
        base.ReaderError: if a list is missing or cannot be read.
    """
    labels = len(read_synsets(folder))
    for path in _train_lists(folder, part):
        yield from _read_list(path, images_dir, "train", labels)
    validation = os.path.join(folder, "val_filelist.txt")
    below = os.path.join(images_dir, _VAL_FOLDER)
    below = below if filesystem.isdir(below) else images_dir
    yield from _read_list(validation, below, "val", labels)


def _train_lists(folder: str | os.PathLike, part: str) -> list[str]:
    parts = [part] if part else ["all", "google", "flickr"]
    paths = [os.path.join(folder, f"train_filelist_{name}.txt") for name in parts]
    found = [path for path in paths if filesystem.exists(path)]
    if not found:
        raise base.ReaderError(f"{paths[0]}: no such list; mend --webvision_dir")
    # "all" holds the other two.
    return found[:1] if "_all" in found[0] else found


def _read_list(
    path: str, images_dir: str | os.PathLike, split: str, labels: int
) -> Iterator[tuple[str, str, str, int] | base.BadRecord]:
    for name, line in base.read_lines(path):
        if isinstance(line, base.BadRecord):
            yield line
            continue
        relative, _, label = line.strip().rpartition(" ")
        try:
            base.checked_name(relative, "image path")
            if not 0 <= int(label) < labels:
                raise ValueError(f"label {label} is not below {labels}")
            yield split, relative, base.inside(images_dir, relative), int(label)
        except ValueError as error:
            yield base.BadRecord(name, str(error))


def read_queries(folder: str | os.PathLike) -> dict[str, str]:
    """Number -> text of the searches that the images were found by; none where not given.

    Raises:
        base.ReaderError: if a line holds no number and text.
    """
    texts = {}
    for part in ("google", "flickr"):
        path = os.path.join(folder, f"queries_{part}.txt")
        for name, line in base.read_lines(path) if filesystem.exists(path) else ():
            number, _, text = str(line).strip().partition(" ")
            if not number.isdigit() or not text.strip():
                raise base.ReaderError(f"{name}: expected '1 tench', found {line!r:.80}")
            texts[number] = text.strip()
    return texts


def query_of(path: str, queries: Mapping[str, str]) -> str | None:
    """The query of an image by its folder: "google/q0001/x.jpg" was found by query 1."""
    folder = path.split("/")[-2] if "/" in path else ""
    return queries.get(folder[1:].lstrip("0")) if folder.startswith("q") else None


def read_meta(
    folder: str | os.PathLike, *, part: str = "google"
) -> Iterator[tuple[str, list[str]]]:
    """(image path as in the file list, its title and tags) where the meta files are there.

    Raises:
        base.ReaderError: if lists do not go together, or a meta file is missing.
    """
    lists = [os.path.join(folder, f"train_{kind}_{part}.txt") for kind in ("filelist", "meta_list")]
    if not filesystem.exists(lists[1]):
        return
    files, metas = (list(_strict_lines(path)) for path in lists)
    if len(files) != len(metas):
        raise base.ReaderError(f"{lists[1]}: {len(metas)} lines for {len(files)} of the file list")
    root, opened = os.path.dirname(filesystem.absolute(folder)), {}
    for file, meta in zip(files, metas, strict=True):
        path, _, place = meta.rpartition(" ")
        try:
            if path not in opened:
                candidates = [
                    base.inside(root, path),
                    base.inside(os.path.join(root, f"{part}_json"), path[len(part) + 1 :]),
                ]
                found = next(filter(filesystem.exists, candidates), candidates[0])
                opened = {path: base.read_json(found)}
            texts = _texts_of(opened[path], int(place))
        except base.MALFORMED as error:
            raise base.ReaderError(f"{lists[1]}: {meta!r:.80}: {base.fault(error)}") from None
        yield file.rpartition(" ")[0], texts


def _strict_lines(path: str) -> Iterator[str]:
    for _, line in base.read_lines(path):
        if isinstance(line, base.BadRecord):
            raise base.ReaderError(line.reason)
        yield line


def _texts_of(entries: list[dict], place: int) -> list[str]:
    """Title and tags of the entry at a place, counted from 1."""
    if not 1 <= place <= len(entries):
        raise ValueError(f"there is no entry {place} of {len(entries)}")
    entry = entries[place - 1]
    tags = entry.get("tags") or []
    if not isinstance(tags, list):
        raise TypeError(f"tags {tags!r:.80} are no list")
    return [base.checked_text(text) for text in [entry.get("title") or "", *tags] if text]
