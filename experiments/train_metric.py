r"""Trains and evaluates a classifier of one metric: CMI, SC or STAT.

    python -m experiments.train_metric --metric=sc --flagfile=otto2020/table6_sc.flags \
        --data_dir=datasets/relations --run_dir=runs/sc --vectors=crawl-300d-2M.vec.gz

The three together are the "cascade" classifier's parts. Started again with the same flags it goes
on where it stopped.

Reference: Otto2020, Section 4.2 and Table 6.
"""

from __future__ import annotations

from typing import Any

from absl import flags

from experiments import common_flags, relation_experiment, relation_flags

FLAGS = flags.FLAGS

flags.DEFINE_enum("metric", None, ["cmi", "sc", "stat"], "The metric to learn.")
flags.adopt_module_key_flags(relation_flags)


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    return relation_experiment.run(relation_flags.settings_from_flags(FLAGS.metric))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "run_dir", "metric"])
    common_flags.run_main(main, trains=True)
