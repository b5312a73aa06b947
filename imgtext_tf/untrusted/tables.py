"""Tables with a header, in UTF-8: CSV and its like."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Iterator

from imgtext_tf import filesystem
from imgtext_tf.untrusted.paths import DamagedError, size_of

_SENTINEL = "\0end\0"
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_table(
    path: str | os.PathLike,
    *,
    delimiter: str = ",",
    quoting: int = csv.QUOTE_MINIMAL,
    needed: Collection[str] = (),
    may_end: bool = False,
    header: list[str] | None = None,
) -> Iterator[tuple[int, dict[str, str] | str]]:
    """(line, row) of a UTF-8 table with a header, as a stream; a bad row comes as what is wrong.

    A row is bad if it is not UTF-8 or has not the header's columns.

    Args:
        path: of the file.
        delimiter: between columns.
        quoting: of the module `csv`.
        needed: columns that must be there.
        may_end: whether a row may end before the last column.
        header: an empty list, which gets the names of the columns.

    Raises:
        DamagedError: if the header is missing, lacks a column or names one twice, or a quote never
            ends: then rows were lost.
        OSError: if the file cannot be read.
    """
    csv.field_size_limit(max(csv.field_size_limit(), size_of(path) + len(_SENTINEL)))
    how = {"delimiter": delimiter, "quoting": quoting}
    # Bytes that are no UTF-8 are carried along, so that they cost their own row only.
    with filesystem.open_text(path, "utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(_ended(file), **how)
        try:
            header, start = [] if header is None else header, 1
            header += next(rows, [])
            named = [name for name in header if name]
            if len(set(named)) < len(named) or not named or header == [_SENTINEL]:
                raise DamagedError(f"{path}: the header {header!r:.200} is empty or names a column "
                                   "twice")  # fmt: skip
            if lacking := [name for name in needed if name not in header]:
                raise DamagedError(
                    f"{path}: no column {lacking[0]}; expected {', '.join(needed)}, found "
                    f"{header!r:.200}"
                )
            for values in rows:
                if values == [_SENTINEL]:
                    return
                if values and values[-1].endswith(_SENTINEL):
                    break
                start, line = rows.line_num, start + 1
                if values:
                    yield line, _row(header, values, may_end)
        except csv.Error as error:
            raise DamagedError(f"{path}, line {rows.line_num}: {error}") from None
    raise DamagedError(f"{path}: a quote that begins behind line {start} never ends; mend it")


def _ended(file: io.TextIOBase) -> Iterator[str]:
    """The lines, and a last one that is no row of its own inside a quote that never ends."""
    yield from file
    yield _SENTINEL


def _row(header: list[str], values: list[str], may_end: bool) -> dict[str, str] | str:
    left_out = header[len(values) :]
    if not any(left_out) or (may_end and len(left_out) == 1):
        values = values + [""] * len(left_out)
    if len(values) != len(header):
        return f"the row has {len(values)} columns, the header {len(header)}: {header!r:.200}"
    if any(not value.isascii() and _SURROGATE.search(value) for value in values):
        return "the row is not UTF-8; convert it, e.g. by iconv"
    return dict(zip(header, values, strict=True))
