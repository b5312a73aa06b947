"""Runs that take a few seconds, by settings or by command; the data are those of `tiny_data`."""

import dataclasses
import sys

import pytest
from absl.testing import flagsaver

from experiments import common_flags, train_classic
from experiments.relation_flags import Settings


def settings_of(data, run_dir, **changes) -> Settings:
    """The settings, with these changes."""
    small = Settings(
        data_dir=str(data),
        run_dir=str(run_dir),
        backbone="small_cnn",
        backbone_weights="none",
        image_size=32,
        vectors="learnt",
        gru_units=8,
        fc_units=(32,),
        batch_size=16,
        max_steps=60,
        checkpoint_every=30,
        learning_rate=0.01,
        image_dropout=0.0,
        text_dropout=0.1,
    )
    return dataclasses.replace(small, **changes)


# Pictures alone where texts do not matter: recurrent layers take long to build.
SMALL = (
    "--inputs=image --backbone=small_cnn --backbone_weights=none --image_size=32 --vectors=learnt "
    "--gru_units=4 --fc_units=8 --batch_size=16 --max_steps=2 --checkpoint_every=2"
).split()


def command(data, run_dir, *arguments):
    """Runs train_classic; gives what it exits with, None where all went well."""
    flags = [f"--data_dir={data}", f"--run_dir={run_dir}", *SMALL, *arguments]
    with flagsaver.flagsaver(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_classic", *flags])
        with pytest.raises(SystemExit) as stopped:
            common_flags.run_main(train_classic.main)
    return stopped.value.code
