r"""Trains Shah2019's fusion classifiers and compares them with visual only and text only.

    python -m experiments.train_fusion --flagfile=shah2019/small_fusion.flags \
        --data_dir=datasets/webvision --run_dir=runs/fusion --generator=runs/phrases \
        --text_encoder=runs/text --backbone=efficientnet_lite0.keras --folds=5

Every result stands twice: with all phrases, and without those that hold a word of a label.
`tfrecords_tools.build_labels` makes the data set. Photos that the phrase generator was trained on
are left out.

Reference: Shah2019, Sections 3.3 to 3.5 and 4.2 to 4.5.
"""

from __future__ import annotations

from typing import Any

from experiments import common_flags, fusion_experiment, settings_flags
from experiments.fusion_flags import CHOICES, HELP, Settings


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return fusion_experiment.run(settings_flags.read(Settings))


if __name__ == "__main__":
    settings_flags.start(main, Settings, HELP, CHOICES, trains=True)
