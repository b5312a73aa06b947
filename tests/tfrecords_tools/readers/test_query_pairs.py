"""Query-image pairs and n-grams of captions."""

import pytest

from tfrecords_tools.readers import base, query_pairs


def test_reads_pairs_of_all_splits(tmp_path):
    (tmp_path / "train.tsv").write_text("Red  Dog\ta.jpg\nred dog\ta.jpg\ncat\tb.jpg\n")
    (tmp_path / "validation.tsv").write_text("cat\tc.jpg\nbird\tb.jpg\n")
    queries, bad = query_pairs.group_by_image(query_pairs.read_pairs(tmp_path))
    assert queries == {
        "a.jpg": ("train", ["red dog"]),
        "b.jpg": ("val", ["cat", "bird"]),
        "c.jpg": ("val", ["cat"]),
    }
    assert bad == []


def test_damaged_lines_are_bad_records(tmp_path):
    lines = b"dog\ta.jpg\nno tab\n \tb.jpg\nx\ty\tz\n\xff\tc.jpg\n"
    (tmp_path / "train.tsv").write_bytes(lines)
    queries, bad = query_pairs.group_by_image(query_pairs.read_pairs(tmp_path))
    assert list(queries) == ["a.jpg"]
    assert [record.id.rsplit(":", 1)[1] for record in bad] == ["2", "3", "4", "5"]


def test_a_folder_without_pairs_is_named(tmp_path):
    with pytest.raises(base.ReaderError, match="no train.tsv"):
        list(query_pairs.read_pairs(tmp_path))


def test_ngrams_of_train_captions(tmp_path, files):
    def image(name, split, *captions):
        return {
            "filename": name,
            "split": split,
            "sentences": [{"raw": text, "sentid": f"{name}{i}"} for i, text in enumerate(captions)],
        }

    files.json(
        tmp_path / "captions.json",
        {
            "images": [
                image("a.jpg", "train", "A red dog runs.", "The red dog!"),
                image("b.jpg", "train", "a red dog, on the grass"),
                image("c.jpg", "val", "the green grass on the red grass"),
            ]
        },
    )
    found = query_pairs.caption_ngrams(tmp_path / "captions.json")
    assert found == {
        "a.jpg": ["dog", "red", "red dog"],
        "b.jpg": ["dog", "red", "red dog"],
        "c.jpg": ["red"],  # "grass" is of one train image only
    }
    every = query_pairs.caption_ngrams(tmp_path / "captions.json", least_images=1)
    assert "dog on the grass" not in every["b.jpg"] and "dog on the" not in every["b.jpg"]
    assert "grass" in every["b.jpg"]


def test_the_kit(kit):
    queries, bad = query_pairs.group_by_image(query_pairs.read_pairs(kit / "query_image_pairs"))
    assert not bad and len(queries) == 7000
    assert sum(len(own) for split, own in queries.values() if split == "train") == 128_639
