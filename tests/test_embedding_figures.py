import time

import numpy as np
import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.projector import projector_plugin

from imgtext_tf import embedding_figures, training

RNG = np.random.default_rng(0)


def test_tensorboard_finds_the_embeddings(tmp_path):
    training.Board(tmp_path).scalars(0, {"val/rsum": 1.0})
    embeddings = {"image": RNG.normal(size=(3, 4)), "caption": RNG.normal(size=(2, 4))}
    labels = {"image": ["a", "b", "c"], "caption": ["a dog\truns", "a cat"]}
    embedding_figures.write_projector(tmp_path, embeddings, labels)
    # As the program does it.
    runs = plugin_event_multiplexer.EventMultiplexer()
    runs.AddRunsFromDirectory(str(tmp_path))
    runs.Reload()
    provider = data_provider.MultiplexerDataProvider(runs, str(tmp_path))
    plugin = projector_plugin.ProjectorPlugin(
        base_plugin.TBContext(logdir=str(tmp_path), data_provider=provider)
    )
    for _ in range(100):
        if plugin.is_active():
            break
        time.sleep(0.05)
    (config,) = plugin._configs.values()
    assert list(config.embeddings[0].tensor_shape) == [5, 4]
    lines = (tmp_path / config.embeddings[0].metadata_path).read_text().splitlines()
    assert lines[0] == "modality\tlabel" and lines[4] == "caption\ta dog runs" and len(lines) == 6
    with pytest.raises(ValueError, match="shorter|longer"):
        embedding_figures.write_projector(tmp_path, embeddings, labels | {"image": ["a"]})


def test_before_and_after_stand_in_one_plane():
    before = RNG.normal(size=(20, 8)), RNG.normal(size=(30, 8)) + 9  # two islands
    after = RNG.normal(size=(20, 8)), RNG.normal(size=(30, 8))  # where the images are, one
    figure = embedding_figures.before_and_after_figure(before, after, titles=("A", "B"), title="C")
    left, right = figure.axes
    assert [left.get_title(), right.get_title()] == ["A", "B"]
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    points = [one.get_offsets() for axes in (left, right) for one in axes.collections]
    assert [len(part) for part in points] == [20, 30, 20, 30]
    means = [np.asarray(part).mean(axis=0) for part in points]
    apart = [np.linalg.norm(means[1] - means[0]), np.linalg.norm(means[3] - means[2])]
    assert apart[0] > 3 * apart[1]
    assert np.linalg.norm(means[2] - means[0]) < apart[0] / 3  # the images stayed
