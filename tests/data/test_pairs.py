import json

import pytest

from imgtext_tf.data import pairs
from imgtext_tf.data.shards import BadRecord


def test_a_jsonl_gives_its_pairs_and_names_its_bad_lines(tmp_path):
    good = {"id": 7, "image": "a/7.jpg", "text": ["One.", "Two."], "label": "whatever"}
    lines = [
        b"\xef\xbb\xbf" + json.dumps(good).encode(),
        b"",
        b'{"image": "%s/8.jpg", "text": "\xc3\x89t\xc3\xa9."}' % str(tmp_path).encode(),
        b'{"image": "9.jpg", "text": "\xff"}',
        b'{"image": "9.jpg"',
        b"[1]",
        b'{"id": "no text", "image": "9.jpg"}',
        b'{"image": 3, "text": "x"}',
        b'{"image": "/etc/passwd", "text": "x"}',
        b'{"image": "../secret.jpg", "text": "x"}',
    ]
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\r\n".join(lines))
    items = list(pairs.read(path))
    assert items[:2] == [
        pairs.Pair("7", str(tmp_path / "a/7.jpg"), ["One.", "Two."]),
        pairs.Pair("3", str(tmp_path / "8.jpg"), "Été."),
    ]
    assert [item.id for item in items[2:]] == ["4", "5", "6", "no text", "8", "9", "10"]
    reasons = [item.reason for item in items[2:]]
    for reason, part in zip(
        reasons,
        ["can't decode byte 0xff", "line 5", "no JSON object", "'text'", "image path 3"]
        + ["leaves the image folder"] * 2,
        strict=True,
    ):
        assert part in reason
    (pair, *_) = pairs.read(path, tmp_path / "elsewhere")
    assert pair.image == str(tmp_path / "elsewhere" / "a/7.jpg")


def test_a_folder_gives_pictures_with_the_texts_beside_them(tmp_path):
    for name in ("b/2.PNG", "b/2.txt", "1.jpg", "1.txt", "3.jpg", "4.txt", "5.jpg", "5.gif"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"\ufeffText of {name}")
    (tmp_path / "5.txt").write_text("Two pictures.")
    (tmp_path / "6.jpg").write_text("")
    (tmp_path / "6.txt").write_bytes(b"\xe9")
    (tmp_path / "notes.md").write_text("neither")
    for name in ("7.webp", "7.txt", "8.TIFF"):
        (tmp_path / name).write_text("A picture that cannot be decoded.")
    items = list(pairs.read(tmp_path))
    assert items[0] == pairs.Pair("1", str(tmp_path / "1.jpg"), "Text of 1.txt")
    assert items[-1] == pairs.Pair("b/2", str(tmp_path / "b/2.PNG"), "Text of b/2.txt")
    bad = {item.id: item.reason for item in items if isinstance(item, BadRecord)}
    assert bad.keys() == {"3", "4", "5", "6", "7", "8"}
    assert "7.webp: no JPEG" in bad["7"] and "8.TIFF: no JPEG" in bad["8"]
    assert "no 3.txt" in bad["3"] and "no picture" in bad["4"]
    assert "2 pictures" in bad["5"] and "UTF-8" in bad["6"]


def test_inputs_that_are_none(tmp_path):
    (tmp_path / "in.csv").write_text("")
    for name, message in (("in.csv", "give a .jsonl"), ("nowhere", "no such file")):
        with pytest.raises(pairs.PairsError, match=message):
            pairs.read(tmp_path / name)


def test_ids_can_be_written_anywhere(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"id": "a\ud800\n\tb", "image": "x.jpg", "text": "x"}))
    (pair,) = pairs.read(path)
    assert pair.id == "a\\ud800  b"
