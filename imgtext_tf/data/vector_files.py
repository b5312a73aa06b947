"""Files of word vectors, looked through before gensim reads them.

gensim takes memory for whatever a file announces, and where a `.bin` file ends inside a word it
looks for the end of that word for ever.
"""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path
from typing import BinaryIO

from imgtext_tf import untrusted

_LONGEST_LINE, _LONGEST_WORD, _LONGEST_NGRAM = 2**20, 2**16, 50
_CHUNK = 2**20
_EXPANSION = 20
FASTTEXT_MAGIC = 793712314  # how binary files of fastText begin, since 2017


def open_text(path: Path) -> BinaryIO:
    """Opens a text file of vectors, unpacked if its name ends in .gz."""
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")


def read_line(file: BinaryIO) -> bytes:
    """The next line; nothing at the end.

    Raises:
        ValueError: if it is too long for a word with its numbers.
    """
    line = file.readline(_LONGEST_LINE + 1)
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"a line has more than {_LONGEST_LINE} bytes")
    return line


def check_size(path: Path, words: int | None, limit: int | None) -> None:
    """Counts the lines of a text file.

    Args:
        path: of the file.
        words: that its first line announces; None where it announces nothing.
        limit: words that are wanted; None for all.

    Raises:
        ValueError: if the header announces more than there are, or a line is too long.
    """
    wanted = words if limit is None or words is None else min(words, limit)
    with open_text(path) as file:
        lines = -(words is not None)
        while read_line(file):
            lines += 1
            if limit is not None and lines >= limit:
                break
    if wanted is not None and lines < wanted:
        raise ValueError(f"it announces {words} words and has {lines}")


def check_widths(path: Path, dim: int, has_header: bool) -> None:
    """Sees that every line has as many numbers as the first.

    Raises:
        ValueError: naming the line that has not.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            found = len(line.rstrip().split(b" ")) - 1
            if found != dim and not (has_header and number == 1):
                raise ValueError(f"line {number} has {found} numbers and not {dim}")


def check_binary(path: str | os.PathLike) -> None:
    """Sees that a `.bin` file of fastText holds what its header announces.

    Raises:
        ValueError: if it does not.
        struct.error: if it ends in its header.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:

        def unpack(form: str) -> tuple:
            return struct.unpack(form, file.read(struct.calcsize(form)))

        first, second = unpack("=2i")
        new = first == FASTTEXT_MAGIC
        dim = unpack("=2i")[0] if new else first
        numbers = unpack("=10i")
        bucket, shortest, longest = numbers[6:9]
        unpack("=d")
        words, _, _, _ = unpack("=3iq")
        pruned = unpack("=q")[0] if new else 0
        if not 0 <= words <= size // 10 or pruned > size // 8:
            raise ValueError(f"it announces {words} words in {size} bytes")
        if dim < 1 or bucket < 0 or not 0 <= shortest <= longest <= _LONGEST_NGRAM:
            raise ValueError(f"it announces vectors of {dim} numbers, {bucket} buckets of n-grams "
                             f"of {shortest} to {longest} letters")  # fmt: skip
        _skip_words(file, words)
        file.seek(8 * max(pruned, 0), os.SEEK_CUR)
        for name in ("vectors", "output"):
            if name == "output" and file.tell() == size:
                return  # files for reading only
            if new:
                unpack("=?")
            rows, columns = unpack("=2q")
            if rows < 0 or columns < 0 or file.tell() + 4 * rows * columns > size:
                raise ValueError(f"it announces {name} of {rows} x {columns} in {size} bytes")
            if name == "vectors" and (rows, columns) != (words + bucket, dim):
                raise ValueError(f"it has {rows} x {columns} vectors of {words} words and {bucket} "
                                 "buckets")  # fmt: skip
            file.seek(4 * rows * columns, os.SEEK_CUR)


def check_word2vec(path: str | os.PathLike) -> None:
    """Sees that a binary file of word2vec, packed or not, can hold what its header announces.

    Raises:
        ValueError: if it cannot.
    """
    size = untrusted.size_of(path)
    # Packed numbers are hardly smaller.
    most = _EXPANSION * size if os.fspath(path).endswith(".gz") else size
    with open_text(Path(path)) as file:
        header = file.readline(_LONGEST_WORD).split()
    words, dim = (int(number) for number in header) if len(header) == 2 else (0, 0)
    if words < 1 or dim < 1 or words * (4 * dim + 2) > most:
        raise ValueError(f"it announces {words} words of {dim} numbers in {size} bytes")


def _skip_words(file: BinaryIO, words: int) -> None:
    """Leaves the file behind the list of words: each with a zero, its count and its kind."""
    chunk, place = b"", 0
    for _ in range(words):
        while (end := chunk.find(b"\0", place)) < 0 or len(chunk) < end + 10:
            if len(chunk) - place > _LONGEST_WORD or not (more := file.read(_CHUNK)):
                raise ValueError("its list of words is cut short")
            chunk, place = chunk[place:] + more, 0
        place = end + 10
    file.seek(place - len(chunk), os.SEEK_CUR)
