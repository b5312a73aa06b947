import ast
import copy
import importlib
import sys

import pytest
from absl import app, flags
from absl.testing import flagsaver

from experiments import (
    common_flags,
    relation_flags,  # noqa: F401 (defines flagfiles' flags)
    settings_flags,
)
from imgtext_tf.data import shards

SCRIPTS = (
    *("train_classic", "train_metric", "train_baselines", "benchmark"),
    *("predict_relations", "export_relations"),
)


def test_all_scripts_can_be_imported_in_one_process():
    """Two definitions of one flag would raise DuplicateFlagError."""
    for script in SCRIPTS:
        assert callable(importlib.import_module(f"experiments.{script}").main)


def test_flagfile_by_name():
    expected = str(common_flags.FLAGFILES / "otto2020" / "table5_classic.flags")
    for name in ("otto2020/table5_classic.flags", "otto2020/table5_classic", "table5_classic"):
        assert common_flags.find_flagfile(name) == expected


def test_a_file_of_the_user_comes_before_an_installed_one(tmp_path, monkeypatch):
    (tmp_path / "table5_classic").write_text("--seed=1\n")
    monkeypatch.chdir(tmp_path)
    assert common_flags.find_flagfile("table5_classic") == "table5_classic"


@pytest.mark.parametrize("name", ["table9", "classic", "/no/where/table5_classic.flags"])
def test_an_unknown_flagfile_lists_the_installed_ones(name):
    with pytest.raises(FileNotFoundError, match="otto2020/table6_sc.flags"):
        common_flags.find_flagfile(name)


def test_resolve_flagfiles_in_both_spellings():
    path = common_flags.find_flagfile("table6_sc")
    argv = ["x.py", "--flagfile=table6_sc", "--seed=3", "--flagfile", "table6_sc", "table6_sc"]
    expected = ["x.py", f"--flagfile={path}", "--seed=3", "--flagfile", path, "table6_sc"]
    assert common_flags.resolve_flagfiles(argv) == expected


@pytest.mark.parametrize(
    "path", sorted(common_flags.FLAGFILES.parent.glob("*.py")), ids=lambda path: path.stem
)
def test_no_script_defines_a_common_flag_again(path):
    """It could not even start; tests that call `run` would not see it."""
    if path.stem == "common_flags" or "app.run(main)" in path.read_text():
        return  # the latter have none of them
    common = flags.FLAGS.flags_by_module_dict()["experiments.common_flags"]
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    defined = {
        call.args[0].value
        for call in calls
        if getattr(call.func, "attr", "").startswith("DEFINE_")
        and isinstance(call.args[0], ast.Constant)
    }
    assert not defined & {flag.name for flag in common}


def test_positional_arguments_are_rejected():
    common_flags.reject_positional(["x.py"])
    with pytest.raises(app.UsageError, match="seed=3"):
        common_flags.reject_positional(["x.py", "seed=3"])


def test_numbers():
    assert common_flags.numbers("eval_steps", ["75000", "100000"]) == (75_000, 100_000)
    with pytest.raises(app.UsageError, match="--eval_steps.*'1e5'"):
        common_flags.numbers("eval_steps", ["1e5"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flagfile=tabel5"], "'tabel5' is neither a file nor installed"),
        (["--flagfile=table5_classic", "--data_dir=nowhere"], "error: nowhere/manifest.json"),
    ],
)
def test_a_script_names_a_mistake_without_a_traceback(tmp_path, monkeypatch, arguments, message):
    def main(argv):
        shards.verify(common_flags.flags.FLAGS.data_dir)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["script", *arguments])
    with flagsaver.flagsaver(), pytest.raises(SystemExit, match=message):
        common_flags.run_main(main)
    assert list(tmp_path.iterdir()) == []


def test_workers_without_a_cluster_are_told_how_to_name_it(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    monkeypatch.setattr(sys, "argv", ["script", "--strategy=multi_worker"])
    with flagsaver.flagsaver(), pytest.raises(SystemExit, match="set TF_CONFIG"):
        common_flags.run_main(lambda argv: None, trains=True)


def test_a_script_that_trains_no_network_takes_no_strategy(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["script", "--strategy=mirrored"])
    with flagsaver.flagsaver(), pytest.raises(SystemExit):
        common_flags.run_main(lambda argv: None)
    assert "trains no network" in "".join(capsys.readouterr())


@pytest.mark.parametrize("script", ["cache_features", "export_embeddings", "make_prototypes"])
def test_scripts_that_work_by_shards_take_a_runner(script):
    module, values = importlib.import_module(f"experiments.{script}"), flags.FlagValues()
    for flag in flags.FLAGS.get_key_flags_for_module(common_flags):
        values[flag.name] = copy.deepcopy(flag)
    settings_flags.define(module.Settings, module.HELP, module.CHOICES, values)
    given = dict.fromkeys(settings_flags.names_of(module.Settings), "matching")
    given |= {"processes": "3", "runner": "beam", "beam_options": "runner=X,workers=2"}
    values(["script", *(f"--{name}={value}" for name, value in given.items())])
    runner = settings_flags.read(module.Settings, values).shard_runner()
    assert (runner.name, runner.processes) == ("beam", 3)
    assert runner.beam_options == ("runner=X", "workers=2")
