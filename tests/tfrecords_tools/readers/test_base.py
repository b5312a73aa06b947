import numpy as np
import pytest

from tfrecords_tools.readers import base


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.jpg", "a/../../b.jpg", "C:\\x.jpg", "..\\x.jpg", "", None]
)
def test_paths_that_leave_the_image_folder_are_refused(path):
    with pytest.raises(ValueError, match="image path"):
        base.inside("/images", path)


def test_paths_below_the_image_folder_are_joined():
    assert base.inside("/images", "0/10170.jpg") == "/images/0/10170.jpg"


def test_bad_utf8_is_named_by_file_byte_and_mend(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": "caf\xe9"}')
    with pytest.raises(base.ReaderError, match=r"a\.json: byte 10 \(0xe9\) is not UTF-8.*iconv"):
        base.read_json(path)


def test_a_json_cut_short_is_named_by_line_and_mend(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a":\n [1, 2')
    with pytest.raises(base.ReaderError, match=r"a\.json: line 2, .*fetch it again"):
        base.read_json(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(base.ReaderError, match="nowhere.json"):
        base.read_json(tmp_path / "nowhere.json")


def test_jsonl_keeps_good_lines_and_names_bad_ones(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n\n{"n": "\xff"}\n{"n"\n[1]\n{"n": 2}')
    records = list(base.read_json_lines(path))
    good = [record for _, record in records if isinstance(record, dict)]
    bad = [record for _, record in records if isinstance(record, base.BadRecord)]
    assert good == [{"n": 1}, {"n": 2}]
    assert [record.id.rsplit(":", 1)[1] for record in bad] == ["3", "4", "5"]
    # Byte order mark 3, line 1 of 8 + "\r\n", the empty line 1, then byte 7 of line 3.
    assert "byte 21 (0xff)" in bad[0].reason


@pytest.mark.parametrize("text", ["", " \n ", "...", [], ["", " "], None, 3, ["a", 1], "a\ud800b"])
def test_texts_that_cannot_be_used(text):
    with pytest.raises((TypeError, ValueError)):
        base.clean_sentences(text)


def test_a_text_of_30000_words_is_legal():
    (sentence,) = base.clean_sentences("word " * 30_000)
    assert len(sentence.split()) == 30_000


def test_unrelated_draws_every_qualified_place_alike_and_no_other():
    others = [frozenset("ab"), frozenset("c"), frozenset("d"), frozenset("a"), frozenset("e")]
    counts = np.zeros(5)
    for seed in range(600):
        rng = np.random.default_rng(seed)
        chosen = base.draw_unrelated(frozenset("a"), others, 2, rng)
        assert len(set(chosen)) == 2
        counts[chosen] += 1
    # Places 1, 2 and 4 qualify: 600 draws of two give each 400 on average.
    assert counts[[0, 3]].sum() == 0
    assert np.abs(counts[[1, 2, 4]] - 400).max() < 60


def test_unrelated_finds_the_one_among_many_and_gives_what_there_is():
    others = [frozenset("a")] * 5000 + [frozenset("b")]
    rng = np.random.default_rng(0)
    assert base.draw_unrelated(frozenset("a"), others, 3, rng) == [5000]
    assert base.draw_unrelated(frozenset("ab"), others, 1, rng) == []


def test_ids_that_shards_cannot_hold_are_refused():
    for name in ("", "a\nb", "x" * 600):
        item = base.attempt(
            "line 1", base.Pair, name, "a.jpg", ("t",), 0, 0, "0", source="s", group="g"
        )
        assert isinstance(item, base.BadRecord) and "unprintable" in item.reason
