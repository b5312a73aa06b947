"""One contract for all search back ends."""

import json

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import search

SIZE, DIM = 1500, 64


def of_clusters(count, seed, clusters=40):
    """Vectors around some centres, as embeddings of images lie, of lengths other than 1."""
    centres = np.random.default_rng(1).normal(size=[clusters, DIM])
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(clusters, size=count)] + 0.5 * rng.normal(size=[count, DIM])
    return (vectors * rng.uniform(0.1, 9, [count, 1])).astype(np.float32)


VECTORS, QUERIES = of_clusters(SIZE, 2), of_clusters(50, 3)
IDS = [f"phrase {number}" for number in range(SIZE)]


def cosines(queries, vectors):
    """[Q, N], one pair at a time."""
    return np.array(
        [
            [float(q @ v) / float(np.linalg.norm(q) * np.linalg.norm(v)) for v in vectors]
            for q in queries
        ]
    )


@pytest.fixture(scope="module", params=list(search.BACKENDS))
def index(request):
    if not search.available(request.param):
        pytest.skip(f"{request.param} is an extra that is not installed")
    return search.build(request.param, IDS, VECTORS)


def test_scores_are_cosines_and_fall(index):
    found = index.search(QUERIES[:5], 7)
    assert found.ids.shape == found.scores.shape == found.places.shape == (5, 7)
    truth = cosines(QUERIES[:5], VECTORS)
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(truth, found.places, 1), rtol=0, atol=1e-5
    )
    assert (np.diff(found.scores) <= 0).all()
    assert found.ids.tolist() == [[IDS[place] for place in row] for row in found.places]
    assert all(len(set(row)) == 7 for row in found.ids.tolist())


def test_finds_the_nearest(index):
    truth = np.argsort(-cosines(QUERIES, VECTORS), axis=1, kind="stable")[:, :10]
    found = index.search(QUERIES, 10).places
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)])
    assert recall == 1 if index.exact else recall > 0.9
    assert index.recall(QUERIES, 10) == pytest.approx(recall, abs=0.005)


def test_an_entry_is_its_own_neighbour(index):
    found = index.search(VECTORS[:100], 1)
    own = found.ids[:, 0] == IDS[:100]
    assert own.mean() == 1 if index.exact else own.mean() > 0.9
    np.testing.assert_allclose(found.scores[own, 0], 1, atol=1e-5)


def test_exclusions_for_all_and_for_each_query(index):
    best = index.search(QUERIES[:3], 4).ids
    for_all = index.search(QUERIES[:3], 3, exclude={best[0, 0], "unknown"})
    assert for_all.ids[0].tolist() == best[0, 1:].tolist()
    assert best[0, 0] not in for_all.ids
    for_each = index.search(QUERIES[:3], 3, exclude=[[], [best[1, 0]], set(best[2, :2])])
    assert for_each.ids[0].tolist() == best[0, :3].tolist()
    assert for_each.ids[1].tolist() == best[1, 1:].tolist()
    assert for_each.ids[2, 0] == best[2, 2]
    with pytest.raises(search.SearchError, match="one each"):
        index.search(QUERIES[:3], 3, exclude=[["a"], ["b"]])
    with pytest.raises(search.SearchError, match="the text 'dog'"):
        index.search(QUERIES[:3], 3, exclude="dog")


def test_names_are_made_once():
    """A search must not walk over all ids of a large index each time."""

    class Ids(list):
        walks = 0

        def __iter__(self):
            self.walks += 1
            return super().__iter__()

    index = search.build("exact", IDS[:20], VECTORS[:20])
    index.ids = Ids(index.ids)
    found = [index.search(QUERIES[:2], 3, exclude={"phrase 1"}).ids.tolist() for _ in range(4)]
    assert found == found[:1] * 4
    assert index.ids.walks <= 2, "once for the names, once for the places"


@pytest.mark.parametrize("mmap", [False, True])
def test_a_saved_index_gives_the_same(index, mmap, tmp_path):
    index.save(tmp_path / "index")
    loaded = search.load(tmp_path / "index", mmap=mmap)
    assert type(loaded) is type(index) and loaded.options == index.options
    if mmap:
        assert isinstance(loaded.vectors, np.memmap)
    before, after = index.search(QUERIES, 5), loaded.search(QUERIES, 5)
    assert after.ids.tolist() == before.ids.tolist()
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-6)


def test_a_mapped_index_can_be_saved_where_it_lies(index, tmp_path):
    index.save(tmp_path)
    before = index.search(QUERIES, 5)
    loaded = search.load(tmp_path, mmap=True)
    loaded.save(tmp_path)
    for again in (loaded, search.load(tmp_path, mmap=True), search.load(tmp_path)):
        assert again.search(QUERIES, 5).ids.tolist() == before.ids.tolist()
    assert not list(tmp_path.glob(".saving-*"))


def test_a_failed_save_leaves_the_index_that_was_there(tmp_path, monkeypatch):
    search.build("exact", IDS[:9], VECTORS[:9]).save(tmp_path)
    other = search.build("exact", IDS[:5], VECTORS[:5])

    def fail(folder):
        raise OSError("no space left")

    monkeypatch.setattr(other, "_save", fail)
    with pytest.raises(search.SearchError, match="no space"):
        other.save(tmp_path)
    assert len(search.load(tmp_path)) == 9


@pytest.mark.parametrize("name", ["a\nb", "a\rb", ""])
def test_ids_that_a_file_of_lines_would_break(name):
    with pytest.raises(search.SearchError, match="line break"):
        search.build("exact", [name, "c"], np.eye(2))


def test_no_query_and_too_many_neighbours(index):
    assert index.search(np.zeros([0, DIM]), 3).ids.shape == (0, 3)
    few = search.build(index.backend, ["a", "b"], np.eye(DIM, dtype=np.float32)[:2])
    found = few.search(np.eye(DIM, dtype=np.float32)[:1], 4)
    assert found.ids.tolist() == [["a", "b", "", ""]]
    assert found.places.tolist() == [[0, 1, -1, -1]]
    assert found.scores[0, :2].tolist() == [1, 0] and np.isneginf(found.scores[0, 2:]).all()
    everything = few.search(np.eye(DIM, dtype=np.float32)[:1], 2, exclude={"a", "b"})
    assert everything.ids.tolist() == [["", ""]]


def test_wrong_questions_are_named(index):
    with pytest.raises(search.SearchError, match=r"\[Q, 64\]"):
        index.search(np.zeros([1, 3]), 1)
    with pytest.raises(search.SearchError, match="at least one"):
        index.search(QUERIES, 0)


def test_wrong_entries_are_named():
    with pytest.raises(search.SearchError, match="'a' occurs twice"):
        search.build("exact", ["a", "a"], np.ones([2, 3]))
    with pytest.raises(search.SearchError, match="one id a row"):
        search.build("exact", ["a"], np.ones([2, 3]))
    with pytest.raises(search.SearchError, match="vector of 'b' is not finite"):
        search.build("exact", ["a", "b"], np.array([[1.0, 0], [np.nan, 0]]))
    with pytest.raises(search.SearchError, match="unknown search"):
        search.build("magic", ["a"], np.ones([1, 3]))
    with pytest.raises(search.SearchError, match="at most the next"):
        search.build("ivf", ["a", "b"], np.eye(2), cells=3)


def test_a_flipped_bit_is_no_other_answer(index, tmp_path):
    index.save(tmp_path)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        if path.name == "index.json":
            continue
        whole = path.read_bytes()
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        with pytest.raises(search.SearchError, match=f"{path.name} is damaged"):
            search.load(tmp_path)
        path.write_bytes(whole)
    assert len(search.load(tmp_path)) == len(index)


def test_a_half_saved_index_is_none(tmp_path):
    index = search.build("exact", IDS[:9], VECTORS[:9])
    index.save(tmp_path)
    (tmp_path / "cells.npz").write_text("of another back end that stood here before")
    assert len(search.load(tmp_path)) == 9
    (tmp_path / "ids.txt").write_text("one\n")
    with pytest.raises(search.SearchError, match="ids.txt is damaged, or of another index"):
        search.load(tmp_path)
    with pytest.raises(search.SearchError, match="1 ids for vectors"):
        search.load(tmp_path, mmap=True)
    (tmp_path / "index.json").unlink()
    with pytest.raises(search.SearchError, match="no saved index"):
        search.load(tmp_path)


@pytest.mark.parametrize("backend", ["exact", "ivf"])
def test_goes_into_a_saved_model(backend, tmp_path):
    index = search.build(backend, IDS, VECTORS)
    tf.saved_model.save(index.as_module(), str(tmp_path / "search"))
    module = tf.saved_model.load(str(tmp_path / "search"))
    found, expected = module.search(QUERIES, 5), index.search(QUERIES, 5)
    assert found["places"].numpy().tolist() == expected.places.tolist()
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-6)


def test_all_cells_probed_is_exact():
    every = search.build("ivf", IDS, VECTORS, cells=20, probes=20)
    assert every.recall(QUERIES) == 1


def test_more_probes_find_more():
    recalls = [search.build("ivf", IDS, VECTORS, cells=30, probes=p).recall(QUERIES) for p in
               (1, 3, 12)]  # fmt: skip
    assert recalls == sorted(recalls) and recalls[0] < 1


def test_options_are_saved_as_json(tmp_path):
    search.build("ivf", IDS[:90], VECTORS[:90], cells=5, probes=2).save(tmp_path)
    meta = json.loads((tmp_path / "index.json").read_text())
    assert sorted(meta.pop("sha256")) == ["cells.npz", "ids.txt", "vectors.npy"]
    assert meta == {
        "backend": "ivf",
        "options": {"cells": 5, "probes": 2, "seed": 0},
        "size": 90,
    }


def test_a_large_table_is_searched_slice_by_slice(monkeypatch):
    from imgtext_tf.search import exact

    expected = search.build("exact", IDS, VECTORS).search(QUERIES, 9)
    monkeypatch.setattr(exact, "_SLICE_ELEMENTS", 400 * DIM)
    sliced = search.build("exact", IDS, VECTORS)
    assert sliced.search(QUERIES, 9).places.tolist() == expected.places.tolist()
    assert len(sliced.as_module().tables) == 4
