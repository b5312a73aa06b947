import pathlib
import subprocess
import sys

import pytest

from tfrecords_tools import prepare, releases
from tfrecords_tools.readers import vist


def test_dead_images_and_placeholders_are_counted(raw):
    photos = raw / "photos"
    (photos / "p00.jpg").unlink()
    (photos / "p01.jpg").write_bytes((photos / "p01.jpg").read_bytes()[:50])
    for number in range(10, 20):
        (photos / f"p{number}.jpg").write_bytes((photos / "p02.jpg").read_bytes())
    report = prepare.check_source("VIST DII", vist.anchorage(raw / "vist", photos))
    assert "10 pairs: Anchorage, train" in report
    assert "2 dead images of 30 opened (6.7%)" in report
    assert "11 copies of one image" in report
    assert "p00.jpg: No such file" in report
    few = prepare.check_source("VIST DII", vist.anchorage(raw / "vist", photos), limit=0.3)
    opened = int(few.split(" opened")[0].split()[-1])
    assert 2 <= opened <= 17


def test_the_table_covers_every_class():
    text = releases.table()
    for name in ("Uncorrelated", "Complementary", "Interdependent", "Illustration", "10.25835"):
        assert name in text


@pytest.mark.heavy
def test_the_command_counts_what_is_on_disk_beside_what_is_expected(raw):
    sources = [
        f"--vist_dir={raw / 'vist'}",
        f"--vist_images={raw / 'photos'}",
        f"--karpathy_json={raw / 'karpathy.json'},{raw / 'karpathy.json'}",
        f"--karpathy_images={raw / 'photos'},{raw / 'photos'}",
        f"--ads_dir={raw / 'ads'}",
        f"--ads_images={raw / 'imagenet/train'}",
        f"--imagenet_dir={raw / 'imagenet'}",
    ]
    summaries = f"--imagenet_summaries={raw / 'imagenet/summaries.jsonl'}"
    repository = pathlib.Path(__file__).resolve().parents[2]

    def command(*flags):
        return subprocess.run(
            [sys.executable, "-m", "tfrecords_tools.prepare", *flags],
            cwd=repository,
            capture_output=True,
            text=True,
        )

    done = command(*sources, summaries)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nKarpathy\n  expected dataset_flickr8k.json 8,000") == 2
    for name in ("VIST SIS", "VIST DII", "Pitt Image Ads", "ImageNet"):
        assert f"\n{name}\n  expected " in done.stdout
    assert "dead images" in done.stdout
    done = command(*sources)
    assert done.returncode == 1
    assert "--imagenet_dir needs --imagenet_summaries" in done.stderr
