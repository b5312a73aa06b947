import json

import pytest

from tfrecords_tools.readers import base, jsonl

GOOD = {
    "id": "x1",
    "image": "a/b.jpg",
    "text": ["A dog.", " ", "A cat."],
    "label": "Bad Anchorage",
    "cmi": 1,
    "stat": "I",
    "source": "mine",
    "group": "g",
    "split": "val",
    "swaps": [[0, 2, "cat", "dog"]],
}


def read(tmp_path, *records):
    path = tmp_path / "data.v1.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return list(jsonl.pairs(path))


def test_all_fields(tmp_path):
    (pair,) = read(tmp_path, GOOD)
    assert pair == base.Pair(
        id="mine/x1",
        image_path=str(tmp_path / "a/b.jpg"),
        sentences=("A dog.", "A cat."),
        cmi=1,
        sc=-1,
        stat="I",
        source="mine",
        group="mine/g",
        split="val",
        swaps=((0, 2, "cat", "dog"),),
    )


def test_least_fields(tmp_path):
    record = {"image": "b.png", "text": "One. Two.", "cmi": 0, "sc": 1, "stat": "0"}
    (pair,) = read(tmp_path, record)
    assert pair.sentences == ("One.", "Two.")
    assert (pair.relation, pair.split, pair.source) == ("Interdependent", "", "data")
    assert (pair.id, pair.group) == ("data/data.v1.jsonl:1", "data/b.png")


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"image": "/a.jpg"}, "absolute"),
        ({"image": None}, "empty or no string"),
        ({"text": "  "}, "empty"),
        ({"text": 7}, "string or a list"),
        ({"label": "Nonsense"}, "unknown class 'Nonsense'"),
        ({"label": "Undefined"}, "unknown class"),
        ({"stat": "T"}, "but the record says {'stat': 'T'}"),
        ({"label": None}, "lacks the field 'sc'"),
        ({"label": None, "sc": 0}, "none of the eight classes"),
        ({"split": "dev"}, "split 'dev'"),
        ({"swaps": [[1, 2]]}, "unpack"),
        ({"id": "a\tb"}, "unprintable"),
    ],
)
def test_bad_records_say_what_is_wrong(tmp_path, change, reason):
    first, second = read(tmp_path, {**GOOD, **change}, GOOD)
    assert isinstance(second, base.Pair)
    assert isinstance(first, base.BadRecord)
    assert first.id.endswith("data.v1.jsonl:1") and reason in first.reason
