import pytest

from tfrecords_tools.readers import base, imagenet


def test_one_random_image_a_concept_with_its_summary(raw, files):
    folder = raw / "imagenet/train/n00000003"
    for number in range(2, 6):
        files.jpeg(folder / f"n00000003_{number}.JPEG", 500 + number)
    (folder / "notes.txt").write_text("no image")
    summaries = raw / "imagenet/summaries.jsonl"
    chosen = set()
    for seed in range(30):
        pairs = list(imagenet.illustration(raw / "imagenet", summaries, seed=seed))
        assert len(pairs) == 20
        assert [pair.group for pair in pairs] == [f"imagenet/n{i:08d}" for i in range(20)]
        chosen.add(pairs[3].image_path)
    assert len(chosen) == 5
    pair = pairs[4]
    assert pair.sentences == ("Concept 4 is a large thing.", "It has no other name.")
    assert (pair.relation, pair.split) == ("Illustration", "")
    more = list(imagenet.illustration(raw / "imagenet/train", summaries, images_per_concept=3))
    assert len(more) == 22


def test_concepts_without_image_or_article_are_dropped_and_bad_lines_named(tmp_path):
    (tmp_path / "train").mkdir()
    path = tmp_path / "s.jsonl"
    path.write_text(
        '{"wnid": "n1", "summary": "A text."}\n{"wnid": "n2", "title": null, "summary": null}\n'
        '{"wnid": "../n3", "summary": "A text."}\n{"summary": "A text."}\nno json\n'
    )
    items = list(imagenet.illustration(tmp_path, path))
    assert [type(item) for item in items] == [base.Dropped] * 2 + [base.BadRecord] * 3
    assert items[0].reason == "concept without an image"
    assert items[1].reason == "concept without an article"
    with pytest.raises(base.ReaderError, match="nowhere"):
        list(imagenet.illustration(tmp_path / "nowhere", path))
