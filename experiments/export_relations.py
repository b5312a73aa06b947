r"""Exports a trained run as a SavedModel, from image files and sentences to the answer.

    python -m experiments.export_relations --run_dir=runs/classic --export_dir=exported

`saved_model_cli show --dir exported --all` lists its inputs and outputs; `imgtext_tf.export` says
what they mean.
"""

from __future__ import annotations

import dataclasses

from absl import flags, logging

from experiments import common_flags
from imgtext_tf import export

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of the same names say what each means."""

    run_dir: str
    export_dir: str
    which: str = "best"


flags.DEFINE_string("export_dir", None, "Folder of the SavedModel, which must not be there yet.")
flags.declare_key_flag("run_dir")
flags.declare_key_flag("which")


def run(settings: Settings) -> None:
    """Exports the run.

    Raises:
        runs.RunError: if a file of the run is missing.
        FileExistsError: if the folder is there.
    """
    inputs = export.relation_classifier(settings.run_dir, settings.export_dir, which=settings.which)
    logging.info("%s takes %s", settings.export_dir, " and ".join(inputs))


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(Settings(FLAGS.run_dir, FLAGS.export_dir, FLAGS.which))


if __name__ == "__main__":
    flags.mark_flags_as_required(["run_dir", "export_dir"])
    common_flags.run_main(main)
