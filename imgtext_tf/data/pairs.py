"""Pairs of an image and a text as users have them, without a label: JSONL files and folders.

Files are read a record at a time, however many there are. A record that cannot be used comes as a
`BadRecord` that says why; the others are still good.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data.shard_files import BadRecord
from imgtext_tf.data.text import as_text, split_sentences

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
# Pictures, too, which nothing here decodes.
_OTHER_SUFFIXES = (".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".svg")
_TEXT_SUFFIX = ".txt"


class PairsError(untrusted.ShortError, ValueError):
    """An input that cannot be read at all; the message names it and the mend."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and a text.

    Attributes:
        id: names the pair in every result and error.
        image: the path of an image file, or its bytes.
        text: a text, which is split into sentences, or its sentences.
    """

    id: str
    image: str | os.PathLike | bytes
    text: str | Sequence[str]


Item = Pair | BadRecord


def read(path: str | os.PathLike, images_dir: str | os.PathLike | None = None) -> Iterator[Item]:
    """The pairs of a `.jsonl` file or of a folder, always in the same order.

    A JSONL file has one `{"image": path, "text": text or list of sentences, "id": name}` a line;
    other fields are left alone, and without an id it is the line's number. The images lie below
    one folder: a path that leads out of it makes a bad record. In a folder, and below
    it, every picture (`a/7.jpg`) has a text beside it (`a/7.txt`); the id is the path without its
    ending. A picture without a text, or a text without a picture, is a bad record.

    Args:
        path: the file or folder.
        images_dir: the folder that a JSONL's image paths are relative to; default the file's own.

    Raises:
        PairsError: if there is no such file or folder, or it is of another kind.
    """
    filesystem.must_be_local(path, "pairs to predict are read file by file; copy them here")
    path = pathlib.Path(path)
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise PairsError(f"{path}: no such file or folder")
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise PairsError(f"{path}: give a .jsonl file, or a folder of pictures with texts beside")
    return _of_jsonl(path, pathlib.Path(images_dir) if images_dir else path.parent)


def clean_sentences(text: str | Sequence[str]) -> tuple[str, ...]:
    """Splits a text, or takes a list of sentences, and drops the empty ones.

    Raises:
        TypeError: if it is neither.
        ValueError: if nothing is left, or a character cannot be written as UTF-8.
    """
    if isinstance(text, str):
        sentences = split_sentences(text)
    elif isinstance(text, list | tuple) and all(isinstance(part, str) for part in text):
        sentences = [" ".join(as_text(part).split()) for part in text]
    else:
        raise TypeError(f"the text must be a string or a list of strings, not {text!r:.80}")
    sentences = tuple(sentence for sentence in sentences if sentence.strip())
    if not any(any(map(str.isalnum, sentence)) for sentence in sentences):
        raise ValueError("the text is empty (no letter or digit)")
    return sentences


def printable(name: object) -> str:
    """A name that can be written as UTF-8 on one line, such as that of a file, which is bytes."""
    text = str(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in text)


def _of_jsonl(path: pathlib.Path, root: pathlib.Path) -> Iterator[Item]:
    for number, line in enumerate(untrusted.read_lines(path), start=1):
        if not line.strip():
            continue
        name = str(number)
        try:
            if len(line) > untrusted.MAX_LINE_BYTES:
                raise ValueError(f"has more than {untrusted.MAX_LINE_BYTES} bytes")
            record = untrusted.parse_json(line)
            if not isinstance(record, dict):
                raise ValueError("no JSON object ({...})")
            given = record.get("id")
            if isinstance(given, list | dict | bool):
                raise ValueError(f"the id {given!r:.80} is no name")
            name = printable(number if given is None or given == "" else given)
            yield Pair(name, untrusted.below(root, record["image"], absolute=True), record["text"])
        except KeyError as error:
            yield BadRecord(name, f"line {number} lacks the field {error}")
        except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON, too
            yield BadRecord(name, f"line {number}: {error}")


def _of_folder(folder: pathlib.Path) -> Iterator[Item]:
    for directory, below, files in os.walk(folder):
        below.sort()
        suffixes: dict[str, list[str]] = {}
        for file in files:
            stem, suffix = os.path.splitext(file)
            suffixes.setdefault(stem, []).append(suffix)
        for stem in sorted(suffixes):
            path = os.path.join(directory, stem)
            name = printable(os.path.relpath(path, folder).replace(os.sep, "/"))
            pictures = sorted(s for s in suffixes[stem] if s.lower() in IMAGE_SUFFIXES)
            others = sorted(s for s in suffixes[stem] if s.lower() in _OTHER_SUFFIXES)
            texts = [s for s in suffixes[stem] if s.lower() == _TEXT_SUFFIX]
            if len(pictures) == 1 and texts:
                try:
                    text = as_text(untrusted.read_bytes(path + texts[0])).lstrip("\ufeff")
                    yield Pair(name, path + pictures[0], text)
                except (OSError, ValueError) as error:
                    yield BadRecord(name, f"{path}{texts[0]}: {error}")
            elif pictures and texts:
                yield BadRecord(name, f"{path}: {len(pictures)} pictures stand beside one text")
            elif pictures:
                yield BadRecord(name, f"{path}{pictures[0]}: has no {stem}.txt beside it")
            elif others:
                yield BadRecord(name, f"{path}{others[0]}: no JPEG, PNG, GIF or BMP; convert it")
            elif texts:
                yield BadRecord(name, f"{path}{texts[0]}: has no picture beside it")
