"""What goes wrong with files: strategies of hypothesis that damage bytes, JSON and lines."""

import copy
import json

from hypothesis import strategies as st

# What stands in place of a JSON value; text between marks goes into the file as it is.
RAW = {
    "@nan@": "NaN",
    "@infinity@": "-Infinity",
    "@huge number@": "1e999",
    "@giant integer@": "9" * 5000,
    "@deep list@": "[" * 100_000 + "]" * 100_000,
    "@deep object@": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "@twice@": '{"id": 1, "id": 2}',
}
VALUES = [
    *RAW, None, True, -1, 0, 10**30, 2.5, "", " ", "../../../up.jpg", "/etc/passwd", "C:\\x.jpg",
    "a\0b.jpg", "x" * 5000, "\ud800", "\u2028\u0007", "\ufeff", [], {}, [[[]]], {"a": {"b": []}},
    ["../up.jpg"], "é" * 300, ".", "..",
]  # fmt: skip
INSERTED = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\n", b"\r", b"\t", b",", b"]", b"}", b"[" * 99_999,
    b"\xed\xa0\x80", b"../", b"9" * 6000, b"x" * 200_000, b"NaN", b'"\n\n"',
]  # fmt: skip


@st.composite
def damaged_bytes(draw, data: bytes) -> bytes:
    """Bits flipped, a piece cut out, put in or doubled, another encoding, or nothing left."""
    place = draw(st.integers(0, max(0, len(data) - 1)))
    length = draw(st.integers(1, 64))
    kind = draw(st.sampled_from("flip cut drop insert double recode empty".split()))
    if kind == "flip" and data:
        broken = bytearray(data)
        for bit in draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=8)):
            broken[bit // 8] ^= 1 << bit % 8
        return bytes(broken)
    if kind == "cut":
        return data[:place]
    if kind == "drop":
        return data[:place] + data[place + length :]
    if kind == "insert":
        return data[:place] + draw(st.sampled_from(INSERTED)) + data[place:]
    if kind == "double":
        return data[:place] + data[place : place + length] * 2 + data[place + length :]
    if kind == "recode":
        return data.decode("latin-1").encode(draw(st.sampled_from(["utf-16", "utf-8-sig"])))
    return draw(st.sampled_from([b"", b"\n", b" ", b"\0" * 100, b"null", b"[]", b"{}", b"0"]))


def _places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for number in range(len(value)):
            yield from _places(value[number], (*path, number))


def written(value) -> bytes:
    """JSON with what no writer of JSON would write."""
    text = json.dumps(value)
    for mark, raw in RAW.items():
        text = text.replace(f'"{mark}"', raw)
    return text.encode()


@st.composite
def damaged_json(draw, data: bytes) -> bytes:
    """One value of a JSON document is another one, is gone, or stands twice."""
    value = copy.deepcopy(json.loads(data))
    *path, last = draw(st.sampled_from(list(_places(value))[1:] or [("",)]))
    if not isinstance(value, dict | list) or last == "":
        return written(draw(st.sampled_from(VALUES)))
    parent = value
    for step in path:
        parent = parent[step]
    kind = draw(st.sampled_from(["value", "value", "value", "gone", "twice", "key"]))
    if kind == "value":
        parent[last] = draw(st.sampled_from(VALUES))
    elif kind == "gone":
        del parent[last]
    elif isinstance(parent, list):
        parent.append(parent[last])
    else:
        key = draw(st.sampled_from([v for v in VALUES if isinstance(v, str)]))
        parent[key] = parent.pop(last) if kind == "key" else copy.deepcopy(parent[last])
    return written(value)


@st.composite
def damaged_lines(draw, data: bytes) -> bytes:
    """One line is damaged, as JSON where it is JSON."""
    lines = data.split(b"\n")
    number = draw(st.integers(0, len(lines) - 1))
    is_json = lines[number].startswith(b"{")
    lines[number] = draw((damaged_json if is_json else damaged_bytes)(lines[number]))
    return b"\n".join(lines)


def damaged(name: str, data: bytes) -> st.SearchStrategy[bytes]:
    """A damaged version of a file, by the ending of its name."""
    if name.endswith(".json"):
        return st.one_of(damaged_json(data), damaged_json(data), damaged_bytes(data))
    if name.endswith((".jsonl", ".csv", ".tsv", ".txt", ".vec")):
        return st.one_of(damaged_lines(data), damaged_bytes(data))
    return damaged_bytes(data)
