import json

import pytest

from imgtext_tf.data.antonyms import load_antonyms
from tfrecords_tools import convert, plan
from tfrecords_tools.readers import base, jsonl

POSTS = [
    {"id": "a", "semiotic": "parallel", "contextual": "close", "caption": "A dog", "url": "u/a"},
    {"id": "b", "semiotic": "additive", "contextual": "close", "caption": "A cat", "url": "u/b"},
    {"id": "c", "semiotic": "divergent", "contextual": "close", "caption": "A cup", "url": "u/c"},
    {"id": "b", "semiotic": "additive", "contextual": "close", "caption": "A cat", "url": "u/b"},
    {"id": "d", "semiotic": "none", "contextual": "close", "caption": "A pen", "url": "u/d"},
]


@pytest.fixture
def settings(tmp_path, files):
    (tmp_path / "val_split_0.json").write_text(json.dumps(POSTS))
    for number, name in enumerate("ab"):
        files.jpeg(tmp_path / "images" / f"{name}.jpg", number)
    (tmp_path / "images" / "c.jpg").write_bytes(b"")
    return convert.Settings(
        dataset="kruk",
        input=(str(tmp_path / "val_split_0.json"),),
        output=str(tmp_path / "kruk.jsonl"),
        images_dir=str(tmp_path / "images"),
        list_urls=str(tmp_path / "urls.tsv"),
    )


def test_what_is_written_is_read_by_the_build(settings, tmp_path):
    counts = convert.run(settings)
    assert counts == {
        "written": 2, "class Anchorage": 1, "class Complementary": 1, "bad": 1,
        "image is missing": 1, "dropped: id stands twice": 1,
    }  # fmt: skip
    pairs = list(jsonl.pairs(settings.output, settings.images_dir))
    assert [(pair.id, pair.relation, pair.split) for pair in pairs] == [
        ("kruk/a", "Anchorage", "test"),
        ("kruk/b", "Complementary", "test"),
    ]
    made = plan.make_plan([], load_antonyms(), labelled=pairs, seed=0)
    assert len(made.pairs["test"]) == 2
    record = json.loads((tmp_path / "kruk.jsonl").read_text().splitlines()[0])
    assert record["approximate"] and record["original"]["semiotic"] == "parallel"
    assert (tmp_path / "urls.tsv").read_text() == "c.jpg\tu/c\n"
    assert "unknown labels" in (tmp_path / "kruk.jsonl.bad.tsv").read_text()


def test_nothing_to_write_is_an_error(settings, tmp_path):
    (tmp_path / "empty").mkdir()
    changed = convert.dataclasses.replace(settings, images_dir=str(tmp_path / "empty"))
    with pytest.raises(base.ReaderError, match="--images_dir"):
        convert.run(changed)
    assert not (tmp_path / "kruk.jsonl").exists()


def test_vempala_needs_its_tweets(settings):
    changed = convert.dataclasses.replace(settings, dataset="vempala")
    with pytest.raises(base.ReaderError, match="--texts"):
        convert.run(changed)


def test_paths_that_lead_anywhere_are_bad_records_and_too_many_end_it(settings, tmp_path):
    posts = [post | {"url": f"https://x/{n}"} for n, post in enumerate(POSTS[:2])]
    tricks = [{"id": "../../up"}, {"id": "/etc/passwd"}, {"id": "a\tb"}, {"url": "u\n../x\tv"}]
    (tmp_path / "val_split_0.json").write_text(json.dumps(posts + [POSTS[2] | t for t in tricks]))
    for folder in (settings.images_dir, None):
        allowed = convert.dataclasses.replace(settings, images_dir=folder, max_bad_records=4 / 6)
        counts = convert.run(allowed)
        assert counts["bad"] == 4 and counts["written"] == 2
        assert len((tmp_path / "kruk.jsonl.bad.tsv").read_text().splitlines()) == 4
        for file in ("urls.tsv", "kruk.jsonl"):
            text = (tmp_path / file).read_text()
            assert ".." not in text and "/etc" not in text
    (tmp_path / "kruk.jsonl").unlink()
    with pytest.raises(plan.BadRecordsError, match="4 of 6 records are bad"):
        convert.run(convert.dataclasses.replace(settings, max_bad_records=0.6))
    assert not (tmp_path / "kruk.jsonl").exists()
