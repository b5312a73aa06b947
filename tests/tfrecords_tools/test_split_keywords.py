import dataclasses

import pytest

from imgtext_tf.data.antonyms import KEPT, load_antonyms
from tfrecords_tools import split_keywords


@pytest.fixture
def settings(tmp_path):
    return split_keywords.Settings(str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv"))


def test_both_lists_can_be_read_and_share_nothing_but_kept_phrases(settings):
    first, second = split_keywords.run(settings)
    whole = load_antonyms()
    parts = [load_antonyms(path) for path in (settings.first, settings.second)]
    assert [len(part) for part in parts] == [first, second]
    assert first + second == len(whole) and abs(first - second) < 0.2 * len(whole)

    def texts(part):
        return {t for e in part.entries if e.opposites for t in (e.keyword, *e.opposites)}

    assert not texts(parts[0]) & texts(parts[1])
    kept = [[e for e in part.entries if e.kind == KEPT] for part in (*parts, whole)]
    assert kept[0] == kept[1] == kept[2] != []
    entries = {e.keyword: e for part in parts for e in part.entries}
    assert entries == {e.keyword: e for e in whole.entries}


def test_the_division_is_seeded(settings, tmp_path):
    split_keywords.run(settings)
    first = (tmp_path / "a.tsv").read_bytes()
    split_keywords.run(settings)
    assert (tmp_path / "a.tsv").read_bytes() == first
    split_keywords.run(dataclasses.replace(settings, seed=1))
    assert (tmp_path / "a.tsv").read_bytes() != first


def test_bad_input(settings):
    with pytest.raises(ValueError, match="must lie in"):
        split_keywords.run(dataclasses.replace(settings, fraction=2.0))
    with pytest.raises(FileNotFoundError):
        split_keywords.run(dataclasses.replace(settings, antonyms="absent.tsv"))
