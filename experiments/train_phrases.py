r"""Trains Shah2019's phrase generator, makes its prototypes and evaluates its phrases.

    python -m experiments.train_phrases --flagfile=shah2019/small_phrases.flags \
        --data_dir=datasets/queries --run_dir=runs/phrases --backbone=efficientnet_lite0.keras

Started again with the same flags it goes on where it stopped. `tfrecords_tools.build_queries`
makes the data set.

Reference: Shah2019, Section 3.2, Eq. 1 to 3.
"""

from __future__ import annotations

from typing import Any

from experiments import common_flags, phrase_experiment, settings_flags
from experiments.phrase_flags import CHOICES, HELP, Settings


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return phrase_experiment.run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES, trains=True)
