"""Every installed flagfile: parses, names its sections, holds no path and no seed."""

import dataclasses
import pathlib
import re

import pytest
from absl import app, flags
from absl.testing import flagsaver

from experiments import (  # noqa: F401
    common_flags,
    evaluate_cascade,
    relation_flags,
    train_metric,
    train_predecessor,
)

FILES = sorted(common_flags.FLAGFILES.rglob("*.flags"))
OTTO2020 = [path for path in FILES if path.parent.name == "otto2020"]
# What depends on the user's machine, or is drawn anew for every repetition.
NOT_IN_A_FLAGFILE = ("data_dir", "run_dir", "init_from", "vectors", "seed", "eval_only")


def lines_of(path: pathlib.Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def settings_of(*arguments: str) -> relation_flags.Settings:
    """The settings that a script would run with these arguments."""
    with flagsaver.flagsaver():
        flags.FLAGS(["script", *arguments])
        return relation_flags.settings_from_flags(flags.FLAGS.metric or "relation")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_lines_are_flags_or_comments_at_column_0(path):
    assert all(re.match(r"(--[a-z]|#)", line) for line in lines_of(path))
    assert not [line for line in lines_of(path) if line.startswith("--") and " " in line]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_path_and_no_seed(path):
    # "learnt" is no file of vectors, and the monitor is the name of a metric.
    known = ("--vectors=learnt", "--monitor=val/macro_recall")
    set_here = [line for line in lines_of(path) if line[0] == "-" and line not in known]
    given = [line.removeprefix("--").split("=")[0] for line in set_here]
    assert not set(given) & set(NOT_IN_A_FLAGFILE)
    assert len(given) == len(set(given)), "a flag stands twice"
    assert not [line for line in set_here if "/" in line]


@pytest.mark.parametrize("path", OTTO2020, ids=lambda path: path.stem)
def test_every_flagfile_parses(path):
    settings = settings_of(f"--flagfile={path}")
    metric = path.stem.split("_")[-1]
    assert settings.target == (metric if metric in ("cmi", "sc", "stat") else "relation")


def test_no_flag_at_all_means_the_defaults_of_the_settings():
    """A flag whose default is not the field's would make library and script disagree."""
    assert settings_of() == relation_flags.Settings(data_dir=None, run_dir=None)


def test_input_range_is_two_numbers():
    assert settings_of("--input_range=-0.5,1").input_range == (-0.5, 1.0)
    for wrong in ("-1,0,1", "low,high"):
        with pytest.raises(app.UsageError, match="--input_range.*numbers"):
            settings_of(f"--input_range={wrong}")


def test_the_papers_setting():
    """Otto2020, Sections 4.2 and 5."""
    settings = settings_of(f"--flagfile={common_flags.find_flagfile('table5_classic')}")
    assert (settings.backbone, settings.backbone_weights) == ("inception_resnet_v2", "imagenet")
    assert (settings.image_size, settings.batch_size) == (299, 12)
    assert (settings.max_steps, settings.eval_steps) == (100_000, (75_000, 100_000))
    assert (settings.max_sentences, settings.max_words) == (30, 50)
    assert (settings.image_dropout, settings.text_dropout) == (0.3, 0.4)
    assert settings.fc_units == (1024, 512, 256, 128)
    assert settings.gru_units * 2 == 1024
    assert (settings.crop, settings.flip, settings.colour) == (True, True, True)


@pytest.mark.parametrize("metric", ["cmi", "sc", "stat"])
@pytest.mark.parametrize("kind", ["table5", "small"])
def test_the_metrics_are_trained_as_the_classes_are(kind, metric):
    classic = settings_of(f"--flagfile={common_flags.find_flagfile(f'{kind}_classic')}")
    name = f"{kind.replace('5', '6')}_{metric}"
    of_metric = settings_of(f"--flagfile={common_flags.find_flagfile(name)}")
    length = {}
    if kind == "small":  # two or three values are learnt sooner than eight classes
        names = ("max_steps", "eval_every", "checkpoint_every")
        length = {name: getattr(of_metric, name) for name in names}
        assert 0 < of_metric.max_steps < classic.max_steps
    assert of_metric == dataclasses.replace(classic, target=metric, **length)


def test_the_command_line_comes_last():
    path = common_flags.find_flagfile("table5_classic")
    assert settings_of(f"--flagfile={path}", "--batch_size=7").batch_size == 7
