"""Eq. 2 in one pass, with queries that come and go."""

import numpy as np
import pytest

from imgtext_tf import prototypes
from tests import reference

X = np.random.default_rng(0).normal(size=[6, 4]).astype(np.float32)
QUERIES = [["dog", "red dog"], ["dog"], [], ["cat"], ["dog", "cat"], ["dog"]]


def filled(**kwargs):
    found = prototypes.Prototypes(4, **kwargs)
    found.add(X[:2], QUERIES[:2])
    found.add(X[2:], QUERIES[2:])
    return found


def test_equation_2():
    names, vectors, counts = filled().vectors()
    expected = reference.prototypes(X.astype(float), QUERIES)
    assert dict(zip(names, counts.tolist(), strict=True)) == {"dog": 4, "cat": 2, "red dog": 1}
    assert names == ["dog", "cat", "red dog"]
    for name, vector in zip(names, vectors, strict=True):
        np.testing.assert_allclose(vector, expected[name], rtol=1e-5)


def test_plain_mean():
    _, vectors, _ = filled(normalize=False).vectors(min_count=4)
    np.testing.assert_allclose(vectors, [X[[0, 1, 4, 5]].mean(0)], rtol=1e-5)


def test_queries_come_and_go():
    found = filled()
    found.remove("dog")
    assert "dog" not in found and len(found) == 2 and found.count("dog") == 0
    found.add(X[:1], [["bird"]])
    expected = reference.prototypes(X.astype(float), QUERIES) | {
        "bird": X[0] / np.linalg.norm(X[0])
    }
    names, vectors, _ = found.vectors()
    assert sorted(names) == ["bird", "cat", "red dog"]
    for name, vector in zip(names, vectors, strict=True):
        np.testing.assert_allclose(vector, expected[name], rtol=1e-5)
    with pytest.raises(KeyError):
        found.remove("dog")
    for name in ("bird", "red dog", "cat"):
        found.remove(name)
    assert len(found) == 0 and found.vectors()[0] == []
    found.add(X[1:3], [["owl"], ["owl"]])
    expected = reference.prototypes(X[1:3].astype(float), [["owl"], ["owl"]])
    np.testing.assert_allclose(found.vectors()[1], [expected["owl"]], rtol=1e-5)


def test_a_query_goes_without_a_look_at_all_others():
    """Of millions of queries it would take seconds each."""

    class Rows(dict):
        def items(self):
            raise AssertionError("all queries are looked through")

        __iter__ = keys = values = items

    found = filled()
    found._row_of = Rows(found._row_of.copy())
    found.remove("dog")
    assert found.count("dog") == 0 and found.count("cat") == 2


def test_a_saved_file_goes_on(tmp_path):
    half = prototypes.Prototypes(4)
    half.save(tmp_path / "none.npz")
    assert len(prototypes.Prototypes.load(tmp_path / "none.npz")) == 0
    half.add(X[:3], QUERIES[:3])
    half.save(tmp_path / "half.npz")
    whole = prototypes.Prototypes.load(tmp_path / "half.npz")
    whole.add(X[3:], QUERIES[3:])
    assert whole.vectors()[0] == filled().vectors()[0]
    np.testing.assert_allclose(whole.vectors()[1], filled().vectors()[1], rtol=1e-6)


def test_many_queries_and_wrong_embeddings():
    found = prototypes.Prototypes(4)
    found.add(X[:1], [[f"query {number}" for number in range(3000)]])
    assert len(found) == 3000 and found.vectors()[1].shape == (3000, 4)
    with pytest.raises(ValueError, match=r"\[B, 4\]"):
        found.add(X[:, :3], QUERIES)
    with pytest.raises(ValueError, match="not finite"):
        found.add(X[:1] * np.nan, [["a"]])
