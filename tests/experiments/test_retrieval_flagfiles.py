"""Gordo2017's flagfiles: each parses, and those of the tables hold the paper's settings."""

import dataclasses

import numpy as np
import pytest
from absl import flags

from experiments import common_flags, evaluate_retrieval, retrieval_data, retrieval_flags

FILES = sorted((common_flags.FLAGFILES / "gordo2017").glob("*.flags"))


def settings_of(*arguments):
    values = flags.FlagValues()
    retrieval_flags.define_flags(flag_values=values)
    flags.DEFINE_enum("method", None, evaluate_retrieval.METHODS, "", flag_values=values)
    values(["script", *values.read_flags_from_files(list(arguments))])
    return retrieval_flags.settings_from_flags(flag_values=values)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_flagfile_parses(path):
    settings = settings_of(f"--flagfile={path}")
    if path.stem.split("_")[1] in ("visual", "joint", "wsabie"):
        assert settings.embedding == path.stem.split("_")[1]


def test_no_flag_at_all_means_the_defaults_of_the_settings():
    expected = retrieval_flags.Settings(data_dir=None, run_dir=None)
    assert dataclasses.asdict(settings_of()) == dataclasses.asdict(expected)


@pytest.mark.parametrize("embedding", ["visual", "joint", "wsabie"])
def test_the_papers_setting(embedding):
    """Gordo2017, Sections 5 and 6.1."""
    settings = settings_of(f"--flagfile={common_flags.find_flagfile(f'table2_{embedding}')}")
    assert (settings.backbone, settings.longest_side, settings.rmac_levels) == ("resnet101", 576, 2)
    assert (settings.pool_queries, settings.pool_relevant, settings.keep_hardest) == (500, 9, 100)
    assert (settings.neighbours, settings.mine_every, settings.batch_size) == (32, 64, 64)
    rates = (settings.learning_rate, settings.dropped_rate, settings.drop_step)
    assert rates == (1e-5, 1e-6, 8000)
    assert settings.queries == 1000 and settings.embedding == embedding


def test_a_wrong_list_is_named():
    with pytest.raises(Exception, match="--r_grid"):
        settings_of("--r_grid=1,two")


def test_the_small_rows_differ_in_method_only():
    rows = {path.stem: settings_of(f"--flagfile={path}") for path in FILES if "small" in path.stem}
    assert {"small_untrained", "small_oracle", "small_random"} <= set(rows)
    for field in ("longest_side", "rmac_levels", "dimensions", "queries"):
        assert len({getattr(settings, field) for settings in rows.values()}) == 1


def test_dimensions_are_not_dropped_without_whitening():
    regions = np.zeros([4, 2, 8], np.float16)
    settings = retrieval_flags.Settings("", "", whitening="none", dimensions=3)
    with pytest.raises(ValueError, match="--dimensions=3 would keep arbitrary ones of 8"):
        retrieval_data.open_whitening(settings, regions)
    whole = dataclasses.replace(settings, dimensions=0)
    np.testing.assert_array_equal(
        retrieval_data.open_whitening(whole, regions)["projection"], np.eye(8)
    )
