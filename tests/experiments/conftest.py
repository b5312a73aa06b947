"""A data set small enough to train on in a test, and runs on it."""

import dataclasses
import pathlib

import pytest

from experiments import relation_experiment, relation_report
from experiments.relation_flags import Settings
from imgtext_tf import relations
from tests.experiments import relation_data_set
from tests.tiny_runs import settings_of, write_run


@pytest.fixture(scope="session", autouse=True)
def small_sheets():
    """One example a class: drawing 24 takes longer than training on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relation_report, "_PAIRS_SHOWN", len(relations.RELATIONS))
        yield


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tiny_data")
    relation_data_set.write(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_runs(tiny_data, tmp_path_factory) -> dict[str, str]:
    """Target -> the folder of an untrained run: of texts for the classes, else of images."""
    folder = tmp_path_factory.mktemp("tiny_runs")
    small = Settings(
        data_dir=str(tiny_data),
        run_dir="",
        backbone="small_cnn",
        backbone_weights="none",
        image_size=32,
        inputs="image",
        vectors="learnt",
        gru_units=4,
        fc_units=(8,),
        batch_size=32,
    )
    folders = {target: str(folder / target) for target in ("cmi", "sc", "stat", "relation")}
    for target, run_dir in folders.items():
        inputs = "text" if target == "relation" else "image"
        write_run(dataclasses.replace(small, run_dir=run_dir, target=target, inputs=inputs))
    return folders


@pytest.fixture(scope="session")
def cached_run(tiny_data, tmp_path_factory):
    """A run from cached features: (settings, result)."""
    folder = tmp_path_factory.mktemp("cached")
    settings = settings_of(tiny_data, folder / "run", cache_features=str(folder / "cache"))
    return settings, relation_experiment.run(settings)
