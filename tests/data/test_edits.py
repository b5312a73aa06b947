import re

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import relations
from imgtext_tf.data import edits, examples, shards
from imgtext_tf.data.antonyms import KEPT, load_antonyms
from imgtext_tf.data.edits import Edit, EditedReader
from imgtext_tf.data.keyword_swaps import swap

TEXTS = [
    ("A tall man in a red hat stands in front of an old car.", "A woman sleeps."),
    ("Two small black dogs run into the water, and a big one is outside.",),
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Three records: an anchorage, its swapped text, and one with another image."""
    folder = tmp_path_factory.mktemp("edits")
    records = []
    for number, relation in enumerate(("Anchorage", "Bad Anchorage", "Complementary")):
        cmi, sc, stat = relations.METRICS_OF_RELATION[relation]
        image = tf.io.encode_png(np.full([3, 4, 3], number // 2, np.uint8)).numpy()
        records.append(
            {
                "id": f"r{number}", "image": image, "image_id": f"image{number // 2}",
                "height": 3, "width": 4, "source": "test", "group": "g",
                "sentences": ["one two three", "four"][: number + 1], "cmi": cmi, "sc": sc,
                "stat": stat, "relation": relation,
                "swaps": ['[0, 4, "to", "two"]'] if number == 1 else [],
            }
        )  # fmt: skip
    path = shards.shard_path(folder, "relations", "test", 0, 1)
    infos = [shards.write_shard(path, "relation", records)]
    shards.write_manifest(
        folder, name="relations", record_kind="relation", kind="synthetic", build={},
        splits={"test": infos}, notes={},
    )  # fmt: skip
    return shards.ShardReader(folder, "test")


@pytest.mark.parametrize("path", [None, edits.UNSEEN_PATH])
@pytest.mark.parametrize("seed", range(5))
def test_restore_undoes_swap(path, seed):
    antonyms = load_antonyms(path)
    for text in TEXTS:
        swapped, swaps = swap(text, antonyms, np.random.default_rng(seed))
        assert swaps and tuple(swapped) != text
        assert edits.restore(swapped, swaps[::-1]) == text


@pytest.mark.parametrize("seed", range(3))
def test_marks_show_both_texts(seed):
    for text in TEXTS:
        swapped, swaps = swap(text, load_antonyms(), np.random.default_rng(seed))
        marked = edits.marked(swapped, swaps[::-1])
        assert tuple(re.sub(r" \[[^]]*\]", "", one) for one in marked) == tuple(swapped)
        for index, _, old, new in swaps:
            assert f"{new} [{old}]" in marked[index]
        assert sum(one.count("[") for one in marked) == len(swaps)


@pytest.mark.parametrize("swaps", [[(0, 1, "x", "one")], [(3, 0, "x", "one")], [(0, 90, "x", "o")]])
def test_swaps_that_are_not_there(swaps):
    with pytest.raises(ValueError, match=f"sentence {swaps[0][0]} has no"):
        edits.restore(["one two"], swaps)


def test_texts_and_swaps_of_a_split(reader):
    found = list(edits.texts(reader))
    assert found[0] == (("one two three",), ())
    assert found[1] == (("one two three", "four"), ((0, 4, "to", "two"),))
    assert edits.restore(*found[1]) == ("one to three", "four")


def test_edited_records(reader):
    edited = EditedReader(
        reader,
        [
            Edit("same", 0),
            Edit("text", 1, "Anchorage", ("a longer sentence than before", "and more")),
            Edit("image", 0, image_row=2),
        ],
    )
    same, text, image = (
        examples.from_bytes("relation", data) for data in edited.read(np.array([0, 1, 2]))
    )
    before = [examples.from_bytes("relation", data) for data in reader.read(np.arange(3))]
    assert same == before[0] | {"id": "same"}
    assert text["sentences"] == ["a longer sentence than before", "and more"]
    assert (text["relation"], text["sc"], text["swaps"]) == ("Anchorage", 1, [])
    assert text["image"] == before[1]["image"]
    assert (image["image"], image["image_id"]) == (before[2]["image"], "image1")
    assert (image["sentences"], image["relation"]) == (before[0]["sentences"], "Anchorage")


def test_the_index_tells_what_the_records_hold(reader):
    edited = EditedReader(
        reader, [Edit("a", 1, "Anchorage", ("one two", "three")), Edit("b", 2, image_row=0)]
    )
    index = edited.index
    assert len(edited) == 2
    assert index["id"].tolist() == [b"a", b"b"]
    assert index["relation"].tolist() == [b"Anchorage", b"Complementary"]
    assert index["image_id"].tolist() == [b"image0", b"image0"]
    assert [index[name][0] for name in ("sentences", "words", "longest")] == [2, 3, 2]
    # The reader's own index is as it was.
    assert reader.index["id"].tolist() == [b"r0", b"r1", b"r2"]
    assert reader.index["words"].tolist() == [3, 4, 4]


def test_unseen_keywords_share_no_word_with_those_of_training():
    def words(antonyms):
        texts = [t for e in antonyms.entries if e.kind != KEPT for t in (e.keyword, *e.opposites)]
        return set(re.findall(r"\w+", " ".join(texts)))

    shared = words(load_antonyms()) & words(load_antonyms(edits.UNSEEN_PATH))
    assert not shared - {"a", "an", "the", "of", "in", "on", "to", "at", "with", "from"}
    assert len(load_antonyms(edits.UNSEEN_PATH)) > 200
