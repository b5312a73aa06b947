r"""Trains and evaluates Liu2019's image-sentence matching: triplets, then the modality game.

    python -m experiments.train_matching --flagfile=liu2019/small_baseline.flags \
        --data_dir=flickr8k_captions --run_dir=runs/baseline --backbone=efficientnet_lite0.keras

Started again with the same flags it goes on where it stopped.

Reference: Liu2019, Sections 3 and 4.
"""

from __future__ import annotations

from typing import Any

from experiments import common_flags, matching_experiment, settings_flags
from experiments.matching_flags import CHOICES, HELP, Settings


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return matching_experiment.run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES, trains=True)
