r"""Fits the PCA whitening of R-MAC to the region vectors of the train split.

    python -m experiments.fit_whitening --data_dir=datasets/vg --output=whitening.npz \
        --backbone=resnet101

The file holds mean, projection and eigenvalues, for --whitening of the other scripts.

Reference: Gordo2017, Section 3.
"""

from __future__ import annotations

import numpy as np
from absl import flags, logging

from experiments import common_flags, retrieval_data, retrieval_flags
from experiments.retrieval_flags import Settings
from imgtext_tf.data import region_features, shards

NAMES = (
    *("data_dir", "backbone", "backbone_weights", "input_range", "longest_side", "rmac_levels"),
    *("cache_features", "whitening_regions", "whitening_floor", "verify"),
)


def run(settings: Settings, output: str) -> dict[str, np.ndarray]:
    """Computes region vectors where they are missing, fits, and writes the file.

    Returns:
        What the file holds.
    """
    shards.verify(settings.data_dir, level=settings.verify)
    reader = shards.ShardReader(settings.data_dir, "train")
    folder = retrieval_data.cached_regions(settings, retrieval_data.open_encoder(settings))
    regions = region_features.read_regions(folder, reader.index["image_id"])
    whitening = retrieval_data.fit_whitening(
        regions, limit=settings.whitening_regions, floor=settings.whitening_floor
    )
    retrieval_data.save_whitening(output, whitening)
    values = whitening["eigenvalues"]
    logging.info(
        "%s: %d channels, eigenvalues from %.3g to %.3g", output, len(values), values[0], values[-1]
    )
    return whitening


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(retrieval_flags.settings_from_flags(NAMES, run_dir=""), flags.FLAGS.output)


if __name__ == "__main__":
    retrieval_flags.define_flags(NAMES)
    flags.mark_flags_as_required(["data_dir", "output"])
    common_flags.run_main(main)
