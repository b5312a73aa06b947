import types

import numpy as np
import pytest

from experiments import relation_sources


def test_each_source_by_hand():
    # Four pairs of a, of the labels 1 and 2 only, and one of b.
    data = types.SimpleNamespace(
        readers={
            "test": types.SimpleNamespace(
                index={
                    "id": np.array([b"1", b"2", b"3", b"4", b"5"]),
                    "source": np.array([b"a", b"a", b"a", b"a", b"b"]),
                }
            )
        }
    )
    logits = [[5.0, 1, 0], [5, 0, 1], [0, 2, 1], [5, 2, 1], [1, 0, 0]]
    arrays = {
        "ids": np.array(["1", "2", "3", "4", "5"]),
        "labels": np.array([1, 2, 1, 1, 0]),
        "logits": np.array(logits),
        "predicted": np.argmax(logits, axis=1),
    }
    metrics = relation_sources.by_source(data, "test", arrays)
    # Label 0 wins three times of four; among 1 and 2, all four are right. 1 is three of the four.
    assert metrics == {
        "test/source/a/accuracy": pytest.approx(1 / 4),
        "test/source/a/constant": pytest.approx(3 / 4),
        "test/source/a/accuracy_among": 1,
        "test/source/a/pairs": 4,
        "test/source/b/accuracy": 1,
        "test/source/b/constant": 1,
        "test/source/b/accuracy_among": 1,
        "test/source/b/pairs": 1,
    }
