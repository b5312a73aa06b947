"""Made-up records in the layouts that the data sets were published in."""

import json

import pytest

from imgtext_tf import relations
from tfrecords_tools.readers import base, relation_sets
from tfrecords_tools.readers.base import BadRecord, Dropped
from tfrecords_tools.readers.relation_sets import Record


def kinds(items):
    return [type(item) for item in items]


def test_every_mapping_names_a_class():
    labels = [*relation_sets.KRUK.values(), *relation_sets.VEMPALA.values()]
    assert set(labels) - {None} <= set(relations.RELATIONS)
    # What the mapping says of CMI and SC, metric by metric.
    for (contextual, semiotic), label in relation_sets.KRUK.items():
        if label:
            cmi, sc, _ = relations.METRICS_OF_RELATION[label]
            assert cmi == (contextual != "minimal")
            assert sc == (-1 if semiotic == "divergent" else 1)
    for (represented, _), label in relation_sets.VEMPALA.items():
        assert relations.METRICS_OF_RELATION[label][0] == int(represented)


def post(**changes):
    return {
        "id": "36946572_n", "semiotic": "parallel", "intent": "promote", "contextual": "close",
        "caption": "shine on", "orig_caption": "Shine on! #ATL", "url": "https://x/y.jpg",
    } | changes  # fmt: skip


def kruk(tmp_path, *posts, name="train_split_0.json"):
    (tmp_path / name).write_text(json.dumps(posts))
    return list(relation_sets.kruk(tmp_path / name))


def test_kruk(tmp_path):
    new = post(id=None, contextual=None) | {"filename": "b", "imgTxt": "transcendent"}
    new = {key: value for key, value in new.items() if value is not None}
    items = kruk(
        tmp_path,
        post(),
        new,
        post(id="c", contextual="minimal", semiotic="divergent"),
        post(id="d", contextual="near"),
        post(id="e", orig_caption="", caption=" "),
    )
    assert kinds(items) == [Record, Record, Dropped, BadRecord, BadRecord]
    assert items[0] == Record(
        id="36946572_n", image="36946572_n.jpg", text="Shine on! #ATL", label="Anchorage",
        group="36946572_n", split=items[0].split, url="https://x/y.jpg",
        original={"contextual": "close", "semiotic": "parallel", "intent": "promote"},
    )  # fmt: skip
    assert (items[1].id, items[1].label) == ("b", "Complementary")
    assert "unknown labels" in items[3].reason and "empty" in items[4].reason


def test_kruks_splits(tmp_path):
    posts = [post(id=f"p{number}") for number in range(300)]
    splits = [item.split for item in kruk(tmp_path, *posts)]
    assert set(splits) == {"train", "val"} and 15 < splits.count("val") < 50
    test = kruk(tmp_path, *posts[:3], name="val_split_0.json")
    assert {item.split for item in test} == {"test"}
    assert {item.split for item in kruk(tmp_path, *posts[:3], name="all.json")} == {""}


VEMPALA = (
    "tweet_id,text_is_represented,image_adds,image_adds_text_repr,image_adds_text_notrepr,"
    "image_notadds_text_repr,image_notadds_text_notrepr,,,"
    """
11,1,1,1,0,0,0,,,
12,0,1,0,1,0,0,,,
13,1,0,0,0,1,0,,,
14,0,0,0,0,0,1,,,
6.92094E+17,1,0,0,0,1,0,,,
15,"the tweet, ""in"" the row",1,1,1,0,0,0,,
16,1,1,0,1,0,0,,,
17,1,1,1,0,0,0,,,
"""
)


def test_vempala(tmp_path):
    (tmp_path / "textimage.csv").write_text(VEMPALA)
    tweets = "".join(f"{number}\tTweet &amp; more {number}\n" for number in range(11, 17))
    (tmp_path / "texts.tsv").write_text(tweets + "no tab\n")
    items = list(relation_sets.vempala(tmp_path / "textimage.csv", tmp_path / "texts.tsv"))
    assert kinds(items) == [BadRecord] + [Record] * 4 + [BadRecord] * 3 + [Dropped]
    labels = [item.label for item in items[1:5]]
    assert labels == ["Complementary", "Interdependent", "Illustration", "Uncorrelated"]
    assert items[1].text == "Tweet & more 11" and items[1].image == "11.jpg"
    reasons = [item.reason for item in items[5:]]
    for reason, part in zip(
        reasons, ("digits are lost", "unknown labels", "contradict", "without a text"), strict=True
    ):
        assert part in reason


CITE = (
    "|Index|q10_resp|q1_resp|q2_resp|q3_resp|q4_resp|q5_resp|q6_resp|q7_resp|q8_resp|q9_resp"
    "|qimg|stim_id|stim_txt|complement"
    """
0|0||layer of sauce|True|True|False|False|False|False|False||1.png|31372|Heat oven to 375 "F".|Heat
1|1||the jelly|False|True|True|False|False|False|False||pbj_5_0.jpg|4556_5|Use a&#160;knife.|
2|2||tea|True|False|False|True|False|False|False||magic-tea_6_0.jpg|138_6|Enjoy it.|
3|3||dough|True|False|True|False|False|True|False||magic-tea_7_1.jpg|138_7|Knead it.|
4|4||dough|maybe|False|True|False|False|True|False||x_7_1.jpg|138_7|Knead it.|
5|5|too short
"""
)


def test_cite(tmp_path):
    (tmp_path / "data.csv").write_text(CITE)
    items = list(relation_sets.cite(tmp_path / "data.csv"))
    assert kinds(items) == [Record] * 4 + [BadRecord] * 2
    labels = [item.label for item in items[:4]]
    assert labels == ["Complementary", "Uncorrelated", "Complementary", "Illustration"]
    assert [item.group for item in items[:4]] == ["1.png", "pbj", "magic-tea", "magic-tea"]
    assert items[0].text == 'Heat oven to 375 "F".' and items[1].text == "Use a\xa0knife."
    assert "True or False" in items[4].reason and "columns" in items[5].reason


CLUE_HEADER = (
    "caption url Visible Subjective Action Story Meta Irrelevant Other When Where How Comment"
)
CLUE = [
    ('a "typical" bus station', "http://x/a.jpg", "1000000000", ""),
    ("stunning\u2028in this top", "http://x/a.jpg", "0100000000", "nice"),
    ("junk", "http://x/c", "0000010000", ""),
    ("junk again", "http://x/c", "1000010000", ""),
    ("text", "http://x/d", "0000001000", "text"),
    ("odd", "http://x/d", "2000001000", ""),
]


def test_clue(tmp_path):
    lines = [CLUE_HEADER.split()] + [[text, url, *marks, note] for text, url, marks, note in CLUE]
    (tmp_path / "data.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    items = list(relation_sets.clue(tmp_path / "data.tsv"))
    assert kinds(items) == [Record] * 3 + [Dropped] * 2 + [BadRecord]
    labels = [item.label for item in items[:3]]
    assert labels == ["Anchorage", "Complementary", "Uncorrelated"]
    # Two captions of one image: one file, one group, two records.
    assert items[0].image == items[1].image != items[2].image
    assert items[0].group == items[1].group and items[0].id != items[1].id
    assert items[0].text == 'a "typical" bus station' and items[0].url == "http://x/a.jpg"
    assert [item.reason for item in items[3:5]] == [
        "Irrelevant beside another relation",
        "no relation",
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["Visible", "Meta"], "Anchorage"),
        (["Visible", "Story"], "Complementary"),
        (["Action"], "Anchorage"),
        (["Irrelevant", "Other"], "Uncorrelated"),
        (["Other"], None),
        ([], None),
    ],
)
def test_labels_of_clue(labels, expected):
    assert relation_sets.clue_label(labels) == expected


def test_a_missing_file_says_so(tmp_path):
    for read in (relation_sets.kruk, relation_sets.cite, relation_sets.clue):
        with pytest.raises(base.ReaderError, match="docs/data.md shows the layout"):
            list(read(tmp_path / "absent.json"))
