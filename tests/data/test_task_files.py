"""Tasks come back from bytes as they were, and bytes make nothing but dataclasses."""

import dataclasses
import json

import pytest

from imgtext_tf.data import task_files


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    path: str
    parts: tuple[Inner, ...]
    rows: list[list[int]]
    names: dict
    how: tuple[tuple[str, object], ...] = ()


TASK = Outer(
    "gs://b/é\n\ud800",
    (Inner("a", 0.1), Inner("tuple")),
    [[1, 2], []],
    {"class": "x", "tuple": (1, True), 3: {"dict": None}},
    (("size", (32, 48)), ("share", 1e-30)),
)


def test_a_task_comes_back_equal_and_of_the_same_types():
    found = task_files.from_bytes(task_files.to_bytes(TASK))
    assert found == TASK
    assert repr(found) == repr(TASK)  # tuples stay tuples, True stays True


def test_what_is_no_plain_value_is_refused():
    with pytest.raises(TypeError, match="can be no part of a task"):
        task_files.to_bytes(Inner(b"bytes"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        task_files.to_bytes(Inner("a", float("nan")))


@pytest.mark.parametrize(
    "content",
    [
        {"class": "os:system", "fields": {"command": "true"}},
        {"class": "subprocess:Popen", "fields": {"args": ["true"]}},
        {"class": f"{__name__}:Inner", "fields": {"other": 1}},
        {"class": f"{__name__}:Missing", "fields": {}},
        {"class": "", "fields": {}},
        {"fields": {}},
        {"tuple": 1},
    ],
)
def test_bytes_make_dataclasses_only(content):
    with pytest.raises(ValueError):
        task_files.from_bytes(json.dumps(content).encode())
