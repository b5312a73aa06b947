"""What the scripts share: the command line of a result."""

import importlib.machinery
import sys
import types

import pytest

from experiments import run_steps


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ("experiments.evaluate_matching", "python -m experiments.evaluate_matching --run_dirs=a"),
        ("pytest.__main__", "python -m experiments.train_matching --run_dirs=a"),
        (None, "python -m experiments.train_matching --run_dirs=a"),
    ],
)
def test_a_command_names_the_script_that_was_started(monkeypatch, started, expected):
    main = types.ModuleType("__main__")
    main.__spec__ = importlib.machinery.ModuleSpec(started, None) if started else None
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["script.py", "--run_dirs=a"])
    assert run_steps.command("experiments.train_matching") == expected
