"""Damaged sources: a clear error that names the file, or bad records; never anything else."""

import os
import pathlib
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgtext_tf.data.shards import BadRecord
from tests.fuzz.damage import damaged
from tests.fuzz.sources import SOURCES

EXAMPLES = [pytest.param(12, id="few"), pytest.param(1500, id="many", marks=pytest.mark.heavy)]


def run(examples: int, test, **strategies) -> None:
    """Runs a property on so many examples, the same ones every time."""
    how = {"deadline": None, "database": None, "derandomize": True, "print_blob": False}
    settings(max_examples=examples, suppress_health_check=list(HealthCheck), **how)(
        given(**strategies)(test)
    )()


def write(folder: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def listing(folder: pathlib.Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def check_item(item, folder: str) -> None:
    if isinstance(item, BadRecord):
        assert item.id and item.reason and len(item.reason) < 2000
    if path := getattr(item, "image_path", getattr(item, "image", None)):
        inside = pathlib.Path(os.path.normpath(os.path.join(folder, path)))
        assert inside.is_relative_to(folder) and inside != pathlib.Path(folder), path


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", SOURCES)
def test_a_damaged_source_is_named_or_skipped(name, examples):
    source = SOURCES[name]

    def survives(data):
        file = data.draw(st.sampled_from(sorted(source.files)))
        broken = data.draw(damaged(file, source.files[file]))
        with tempfile.TemporaryDirectory() as parent:
            folder = os.path.join(parent, "source")
            write(folder, source.files | {file: broken})
            outside = listing(pathlib.Path(parent)) - listing(pathlib.Path(folder))
            try:
                for item in source.read(folder):
                    check_item(item, folder)
            except source.errors as error:
                message = str(error)
                assert folder in message and len(message) < 5000, message[:5000]
            now = listing(pathlib.Path(parent)) - listing(pathlib.Path(folder))
            assert now == outside

    run(examples, survives, data=st.data())


@pytest.mark.parametrize("name", SOURCES)
def test_a_whole_source_has_nothing_bad(name, tmp_path):
    source = SOURCES[name]
    write(tmp_path, source.files)
    assert not [item for item in source.read(str(tmp_path)) if isinstance(item, BadRecord)]
