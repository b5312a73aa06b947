import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from imgtext_tf import figures
from imgtext_tf.data import shards
from tfrecords_tools import build, inspect_shards


@pytest.fixture
def directory(tmp_path, files):
    lines = []
    for number in range(12):
        files.jpeg(tmp_path / f"x{number}.jpg", number, size=(700, 40))
        label = ("Anchorage", "Uncorrelated")[number % 2]
        record = {"image": f"x{number}.jpg", "text": f"Text {number}.", "label": label}
        lines.append(json.dumps({**record, "split": "test"}))
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out"
    build.run(build.Settings(output_dir=str(out), jsonl=(str(tmp_path / "own.jsonl"),)))
    return out


def test_counts_and_sheet(directory, tmp_path):
    text = inspect_shards.describe(directory, shards.load_manifest(directory))
    assert "test: 12 records in 1 shards" in text
    assert "relation Anchorage                   6" in text
    reader = shards.ShardReader(directory, "test")
    rows = inspect_shards.draw_rows(reader.index, 2, seed=0)
    assert reader.index["relation"][rows].tolist() == [b"Uncorrelated"] * 2 + [b"Anchorage"] * 2
    records = inspect_shards.read_rows(reader, rows)
    tiles = [inspect_shards.tile("relation", record) for record in records]
    # Pictures are thinned to at most 320 pixels: 700 x 40 to every third pixel.
    assert tiles[0].image.shape == (234, 14, 3) and tiles[0].truth == "Uncorrelated"
    path = figures.save(figures.pair_sheet(tiles), tmp_path / "sheet.png")
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_swaps_stand_under_the_text():
    record = {"sentences": ["A red car", "Two."], "swaps": ['[0, 2, "green", "red"]']}
    assert inspect_shards.text_of("relation", record) == "A red car Two. [green -> red]"


def test_rows_of_kinds_without_a_class():
    index = {"relation": np.array([b""] * 5)}
    assert len(inspect_shards.draw_rows(index, 3, seed=0)) == 3


def test_damaged_shards_are_named_before_they_are_shown(directory):
    command = [sys.executable, "-m", "tfrecords_tools.inspect_shards", f"--data_dir={directory}"]
    repository = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0 and "verified (full)" in done.stdout, done.stderr
    assert "Text 1." in done.stdout and "Anchorage" in done.stdout
    path = next(directory.glob("*.tfrecord"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{path.name}: damaged" in done.stderr and "Traceback" not in done.stderr
