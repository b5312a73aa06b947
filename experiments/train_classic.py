r"""Trains and evaluates the "classic" classifier of the eight image-text relations.

    python -m experiments.train_classic --flagfile=otto2020/table5_classic.flags \
        --data_dir=datasets/relations --run_dir=runs/classic --vectors=crawl-300d-2M.vec.gz

Started again with the same flags it goes on where it stopped. With `--init_from=runs/classic` it
starts from another run's weights, and with an output layer of its own where the data has other
classes (`tfrecords_tools.build --labels`).

Reference: Otto2020, Section 4.2 and Table 5.
"""

from __future__ import annotations

from typing import Any

from absl import flags

from experiments import common_flags, relation_experiment, relation_flags

flags.adopt_module_key_flags(relation_flags)


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return relation_experiment.run(relation_flags.settings_from_flags("relation"))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "run_dir"])
    common_flags.run_main(main, trains=True)
