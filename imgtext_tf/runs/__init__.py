"""A run directory: everything a training run leaves, and how to get its model back.

    settings.json      script, module, settings          environment.json  versions, device, commit
    labels.json        class names in label order        vocabulary.txt    one word a line
    preprocessing.json what inputs went through          history.csv       one row per evaluation
    model_best.keras   best by the monitored metric      model_last.keras  after the last step
    backbone.keras     only where features were cached: what made them
    calibration.json   temperature of the best model's logits, fitted on val
    checkpoint/        exact resume (see `training`)     tensorboard/      event files
    result.json        the run's outcome                 figures/          PNG files
    log.txt            the last log lines, rotated       lock              who is at work

Every file is written beside its place and then renamed, so that it is complete or absent.
"""

from imgtext_tf.runs.directory import RunDirectory
from imgtext_tf.runs.files import (
    RunError,
    atomic_path,
    read_field,
    read_json,
    read_words,
    save_model,
    write_json,
)
from imgtext_tf.runs.machine import environment
from imgtext_tf.runs.saved_settings import MAY_CHANGE, read_settings, restored
from imgtext_tf.runs.trained import Run, load

__all__ = [
    "MAY_CHANGE",
    "Run",
    "RunDirectory",
    "RunError",
    "atomic_path",
    "environment",
    "load",
    "read_field",
    "read_json",
    "read_settings",
    "read_words",
    "restored",
    "save_model",
    "write_json",
]
