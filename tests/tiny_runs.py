"""Runs that take a few seconds, by settings or by command; the data are those of `tiny_data`."""

import dataclasses
import sys

import keras
import pytest
from absl.testing import flagsaver

from experiments import common_flags, relation_data, relation_experiment, train_classic
from experiments.relation_flags import Settings
from imgtext_tf import runs
from imgtext_tf.models import relation_classifier


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


def write_run(settings: Settings) -> None:
    """What a training leaves that an evaluation needs, without the training."""
    keras.utils.set_random_seed(1)
    run_dir = runs.RunDirectory(settings.run_dir)
    readers = relation_data.open_readers(settings)
    digest = relation_data.manifest_digest(readers)
    run_dir.begin(
        dataclasses.asdict(settings) | {"manifest_sha256": digest},
        script="experiments.train_metric",
        module=relation_classifier.__name__,
    )
    vocabulary, _ = relation_data.open_text(settings, readers["train"], run_dir)
    data = relation_data.Data(settings, readers, vocabulary)
    model = relation_experiment.build_model(data, None, relation_data.open_encoder(settings))
    run_dir.describe_model(
        labels=data.labels, vocabulary=vocabulary.words, preprocessing={"ngrams": None}
    )
    run_dir.save_model(model, "best")
    run_dir.write_result(
        metrics={}, seed=1, dataset=data.description(), steps=4, seconds=2.0, parameters=1,
        command="",
    )  # fmt: skip
