"""Training from a remote data set into a remote run directory."""

import os

import keras
import numpy as np
import pytest

from experiments import relation_experiment
from imgtext_tf import filesystem, mirror, runs
from tests.tiny_runs import settings_of

SMALL = {"inputs": "image", "cache_features": "auto", "checkpoint_every": 2, "deterministic": True}


@pytest.fixture
def remote(monkeypatch):
    monkeypatch.setattr(mirror, "_MIRRORS", {})
    folder = f"ram://trained-{os.getpid()}"
    yield folder
    filesystem.remove_tree(folder)


@pytest.mark.heavy
def test_a_remote_run_goes_on_elsewhere_and_ends_as_the_local_one(tiny_data, tmp_path, remote):
    local = settings_of(tiny_data, tmp_path / "run", max_steps=4, **SMALL)
    here = relation_experiment.run(local)
    filesystem.upload_tree(tiny_data, f"{remote}/data")
    first = settings_of(f"{remote}/data", f"{remote}/run", max_steps=2, **SMALL)
    relation_experiment.run(first)
    assert filesystem.exists(f"{remote}/run/result.json")
    mirror._MIRRORS.clear()  # as on another machine
    rest = settings_of(f"{remote}/data", f"{remote}/run", max_steps=4, **SMALL)
    there = relation_experiment.run(rest)
    assert there["steps"] == here["steps"] == 4
    mirror._MIRRORS.clear()
    models = [
        keras.saving.load_model(runs.RunDirectory(folder).model_file("last"), compile=False)
        for folder in (tmp_path / "run", f"{remote}/run")
    ]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert runs.load(f"{remote}/run").labels == runs.load(tmp_path / "run").labels
    assert not [name for name in os.listdir() if name.endswith(":")]
