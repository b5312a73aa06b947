"""Which triplets a stopped run goes on with."""

import types

import numpy as np
import pytest

from experiments.retrieval_flags import Settings
from experiments.retrieval_mining import TripletFeed
from imgtext_tf import runs

EVERY = 4


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a process at a step, as `training.fit` does; its pools show who mined them when."""
    mined = []

    def draw(self, number):
        mined.append(number)
        return np.full([EVERY, 3], 100 * len(mined) + number)

    monkeypatch.setattr(TripletFeed, "_draw", draw)
    settings = Settings("", str(tmp_path), triplets="ordered", mine_every=EVERY, batch_size=1)

    def start(step):
        feed = TripletFeed(None, settings, runs.RunDirectory(tmp_path))
        feed.set_model(types.SimpleNamespace(stop_training=False))
        feed._step = step
        feed._begin(resumed=step % EVERY != 0)
        return feed

    return start


def train(feed, steps):
    for _ in range(steps):
        feed.on_train_batch_end(0)


def checkpoint(folder, *steps):
    (folder / "checkpoint").mkdir(exist_ok=True)
    for file in (folder / "checkpoint").iterdir():
        file.unlink()
    for step in steps:
        (folder / "checkpoint" / f"step-{step:09d}.npz").touch()


def test_a_killed_and_stopped_run_goes_on_with_the_triplets_it_had(start, tmp_path):
    feed = start(0)
    train(feed, 5 * EVERY + 1)
    checkpoint(tmp_path, 5 * EVERY + 1)
    expected = feed._triplets
    train(feed, 5 * EVERY)  # then killed, at pool 10
    again = start(5 * EVERY + 1)
    np.testing.assert_array_equal(again._triplets, expected)
    # The pools of the killed process are gone: the next ones are mined with the present weights.
    assert max(file.name for file in (tmp_path / "mining").iterdir()) == "pool-000005.npz"
    train(again, 2)
    checkpoint(tmp_path, 5 * EVERY + 1, 5 * EVERY + 3)  # stopped
    np.testing.assert_array_equal(start(5 * EVERY + 3)._triplets, expected)


def test_pools_of_kept_checkpoints_stay_and_older_ones_go(start, tmp_path):
    feed = start(0)
    train(feed, 2 * EVERY + 1)
    checkpoint(tmp_path, 2 * EVERY + 1)
    train(feed, 7 * EVERY)
    names = sorted(file.name for file in (tmp_path / "mining").iterdir())
    assert names == [f"pool-{number:06d}.npz" for number in range(2, 10)]


def test_a_missing_pool_is_not_mined_again(start, tmp_path):
    start(0)
    with pytest.raises(runs.RunError, match="pool-000002.npz is missing"):
        start(2 * EVERY + 1)


def test_the_triplets_of_a_batch_can_be_told(start):
    feed = start(0)
    train(feed, EVERY)
    feed._split = types.SimpleNamespace(ids=[f"image{row}" for row in range(1000)])
    first, second = feed.batch_ids(EVERY - 1), feed.batch_ids(EVERY)
    # Pool 0 was mined first, pool 1 second: see `draw`.
    assert first == ["image100 image100 image100"] and second == ["image201 image201 image201"]
    with pytest.raises(runs.RunError, match="pool-000009.npz is missing"):
        feed.batch_ids(9 * EVERY)
