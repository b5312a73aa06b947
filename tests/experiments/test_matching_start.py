"""Where a run may begin: no training here, only the files that one leaves."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from experiments import compare_matching, matching_experiment, matching_start
from experiments.matching_data import Data
from experiments.matching_flags import Settings, parse_stages
from imgtext_tf import runs, training
from imgtext_tf.data.text import Vocabulary
from imgtext_tf.models import sentence_matching
from imgtext_tf.models.sentence_matching import SentenceMatching

WORDS = ("<start>", "<end>", "dog", "cat")
STAGES = "S1:steps=3;S2:steps=2"


def write_run(folder, *, seed=0, finished=True, stages=STAGES, metrics=None, digest="", **settings):
    given = Settings(run_dir=str(folder), seed=seed, stages=stages, **settings)
    run = runs.RunDirectory(folder)
    runs.write_json(
        run.settings_file,
        {
            "script": "s",
            "module": "m",
            "settings": dataclasses.asdict(given) | {"data_sha256": digest},
        },
    )
    done = [{"name": stage.name, "status": "finished", "step": 3, "best_step": 2}
            for stage in parse_stages(given)]  # fmt: skip
    for part in ("", "refit") if given.refit else ("",):
        for stage in done:
            where = run.path / part / "stages" / stage["name"]
            where.mkdir(parents=True)
            for which in ("best", "last"):
                (where / f"model_{which}.keras").touch()
        Vocabulary(WORDS).save(run.path / part / "stages" / matching_start.VOCABULARY)
    if finished:
        outcome = {"stages": done} | ({"chosen": done} if given.refit else {})
        dataset = {"name": "made", "kind": "synthetic", "manifest_sha256": "d"}
        runs.write_json(
            run.result_file,
            {"seed": seed, "dataset": dataset, "metrics": metrics or {}, **outcome},
        )
    return str(run.path)


def test_the_last_stage_of_a_finished_run(tmp_path):
    folder = write_run(tmp_path / "a", refit=True)
    # S2 trains the classifier only: its best step says nothing.
    expected = tmp_path / "a" / "stages" / "2_S2" / "model_last.keras"
    assert matching_start.start_file(folder, refit=False) == expected
    again = matching_start.start_file(folder, refit=True)
    assert again == tmp_path / "a" / "refit" / "stages" / "2_S2" / "model_last.keras"
    one = write_run(tmp_path / "b", stages="S1:steps=3")
    assert matching_start.start_file(one, refit=False).name == "model_best.keras"
    last = write_run(tmp_path / "c", stages="S1:steps=3", stage_start="last")
    assert matching_start.start_file(last, refit=False).name == "model_last.keras"
    ten = write_run(tmp_path / "d", stages=";".join(["S1:steps=3"] * 10))
    assert matching_start.start_file(ten, refit=False).parent.name == "10_S1"


def test_the_weights_before_the_game(tmp_path):
    def before(stages, **values):
        settings = Settings(run_dir="", stages=stages, **values)
        return matching_start.before_the_game(settings, runs.RunDirectory(tmp_path / "run"))

    assert before("S1:steps=3;S2:steps=2") is None  # no game
    assert before("S3:steps=3") is None  # from new weights on
    stages = tmp_path / "run" / "stages"
    assert before("S1:steps=3;S3:steps=2") == stages / "1_S1" / "model_best.keras"
    # S2 leaves the encoders as they are.
    assert before("S1:steps=3;S2:steps=2;S3:steps=2") == stages / "2_S2" / "model_last.keras"
    refitted = tmp_path / "run" / "refit" / "stages" / "1_S1" / "model_last.keras"
    assert before("S1:steps=3;S3:steps=2;S4:steps=2", refit=True) == refitted
    other = write_run(tmp_path / "other", stages="S1:steps=3")
    expected = tmp_path / "other" / "stages" / "1_S1" / "model_best.keras"
    assert before("S3:steps=3", start=other) == expected


def test_the_metrics_of_what_val_chose(tmp_path):
    run = runs.RunDirectory(write_run(tmp_path / "run", stages="S1:steps=6;S2:steps=3"))
    settings, rows = matching_start.settings_of(run), []
    for step in (2, 3, 6):
        rows.append({"step": step, "train/loss": 1.0, "val/rsum": 10.0 * step, "val/more": ""})
    for stage in ("1_S1", "2_S2"):
        runs.RunDirectory(run.path / "stages" / stage).write_history(rows)
    one, two = runs.read_json(run.result_file)["stages"]  # best at step 2, ended at 3
    assert matching_start.metrics_on_val(settings, run, [one]) == {"val/rsum": 20.0}
    # The classifier's stage hands on its last weights.
    assert matching_start.metrics_on_val(settings, run, [one, two]) == {"val/rsum": 30.0}
    assert matching_start.metrics_on_val(settings, run, []) == {}


def test_unfinished_weights_are_refused(tmp_path):
    with pytest.raises(runs.RunError, match="train that run to its end"):
        matching_start.start_file(write_run(tmp_path / "a", finished=False), refit=False)
    with pytest.raises(runs.RunError, match="train it with --refit"):
        matching_start.start_file(write_run(tmp_path / "b"), refit=True)
    folder = write_run(tmp_path / "c")
    (tmp_path / "c" / "stages" / "2_S2" / "model_last.keras").unlink()
    with pytest.raises(runs.RunError, match="is missing"):
        matching_start.start_file(folder, refit=False)


def model_of(dim=4):
    training.set_seed(0)
    return SentenceMatching(
        sentence_matching.image_branch((3,), embed_dim=dim),
        sentence_matching.text_branch(6, embed_dim=dim, word_dim=2),
        sentence_matching.modality_classifier(dim, units=(2,)),
    )


def data_of(start, *, digest="", encoder=None, **settings):
    given = Settings(run_dir="", start=str(start), **settings)
    return Data(given, {}, "made", "synthetic", digest, encoder)


def test_weights_are_taken_from_the_same_words_and_model_only(tmp_path):
    folder = write_run(tmp_path / "a", stages="S1:steps=3")
    first = model_of()
    first.set_weights([weight + 1 for weight in first.get_weights()])
    runs.save_model(first, matching_start.start_file(folder, refit=False))
    model = model_of()
    matching_start.take_start(model, Vocabulary(WORDS), data_of(folder), refit=False)
    for mine, theirs in zip(model.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match="has other words"):
        other = Vocabulary((*WORDS[:3], "bird"))
        matching_start.take_start(model, other, data_of(folder), refit=False)
    with pytest.raises(ValueError, match="other shapes"):
        matching_start.take_start(model_of(5), Vocabulary(WORDS), data_of(folder), refit=False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        # None of these changes a shape.
        ({"text_pooling": "max"}, "text_pooling 'last', this run has 'max'.*same --text_pooling"),
        ({"measure": "order"}, "measure 'cosine', this run has 'order'"),
        ({"image_size": 299}, "image_size 224, this run has 299"),
        ({"central_fraction": 1.0}, "central_fraction 0.875"),
        ({"backbone": "resnet50"}, "backbone 'resnet152' .imagenet., this run has 'resnet50'"),
        ({"digest": "e" * 64}, "was trained on other data .sha256 d{12}, here e{12}"),
    ],
)
def test_another_model_or_other_data_are_no_start(tmp_path, change, named):
    folder = write_run(tmp_path / "a", stages="S1:steps=3", data_dir="here", digest="d" * 64)
    runs.save_model(model_of(), matching_start.start_file(folder, refit=False))
    same = {"data_dir": "moved", "digest": "d" * 64}
    # Stages, dropout and the run of the game itself may be others.
    free = {"stages": "S2:steps=2", "word_dropout": 0.1, "refit": True, "mixed_precision": True}
    matching_start.take_start(
        model_of(), Vocabulary(WORDS), data_of(folder, **same, **free), refit=False
    )
    with pytest.raises(ValueError, match=named):
        data = data_of(folder, **same | change)
        matching_start.take_start(model_of(), Vocabulary(WORDS), data, refit=False)


def test_features_that_are_given_have_no_backbone(tmp_path):
    folder = write_run(tmp_path / "a", stages="S1:steps=3", precomputed="here", digest="d")
    runs.save_model(model_of(), matching_start.start_file(folder, refit=False))
    given = data_of(folder, precomputed="there", digest="d", backbone="other", image_size=299)
    matching_start.take_start(model_of(), Vocabulary(WORDS), given, refit=False)


@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_a_backbone_is_told_by_its_weights_not_by_its_path(tmp_path, weights):
    def backbone(value):
        start = keras.initializers.Constant(value)
        return keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(2, kernel_initializer=start)]
        )

    data = {"data_dir": "d", "digest": "d", "backbone_weights": weights}
    folder = write_run(tmp_path / "a", stages="S1:steps=3", backbone="here.keras", **data)
    runs.save_model(model_of(), matching_start.start_file(folder, refit=False))
    runs.RunDirectory(folder).save_backbone(backbone(1.0))

    def take(path, value):
        other = data_of(folder, backbone=path, encoder=backbone(value), **data)
        matching_start.take_start(model_of(), Vocabulary(WORDS), other, refit=False)

    take("moved.keras", 1.0)
    with pytest.raises(ValueError, match="give both the same --backbone"):
        take("moved.keras", 2.0)
    if weights == "none":  # random ones are of another seed
        with pytest.raises(ValueError, match="give both the same --backbone"):
            take("here.keras", 2.0)


def test_an_imported_checkpoint_is_a_start(tmp_path):
    runs.save_model(model_of(), tmp_path / "model_best.keras")
    Vocabulary(("other",)).save(tmp_path / "vocabulary.txt")
    assert matching_start.start_file(str(tmp_path), refit=False).parent == tmp_path
    with pytest.raises(ValueError, match="has other words"):
        matching_start.take_start(model_of(), Vocabulary(WORDS), data_of(tmp_path), refit=False)


def test_no_classifier_without_a_trained_embedding(tmp_path):
    settings = Settings(run_dir=str(tmp_path), data_dir="nowhere", stages="S2:steps=1;S3:steps=1")
    with pytest.raises(ValueError, match="1_S2 comes first and trains no triplets"):
        matching_experiment.run(settings)


def results(tmp_path, kind, values, **settings):
    return tuple(
        write_run(
            tmp_path / f"{kind}{seed}", seed=seed,
            metrics={"test/rsum": value, "test/probe_accuracy": value / 1000},
            **{name: one[seed] for name, one in settings.items()},
        )
        for seed, value in enumerate(values)
    )  # fmt: skip


def test_pairs_are_compared(tmp_path):
    first = results(tmp_path, "base", [240.0, 250.0, 245.0, 243.0, 247.0])
    second = results(tmp_path, "adversarial", [241.0, 252.0, 246.0, 245.0, 248.0], start=first)
    # In another order: a run belongs to the one that it began with.
    page = compare_matching.run(
        compare_matching.Settings(first[::-1], second, output=str(tmp_path / "page.md"))
    )
    assert (tmp_path / "page.md").read_text() == page
    lines = {line.split("|")[1].strip(): line for line in page.splitlines() if "|" in line}
    # Differences 1, 2, 1, 2, 1: mean 1.4, standard deviation 0.548.
    assert "| 245.0 ± 3.8 | 246.4 ± 4.0 | +1.4 ± 0.5 | +1.0 to +1.8 |" in lines["rsum"]
    assert "| 0.245 ± 0.004 | 0.246 ± 0.004 | +0.001 ± 0.001 |" in lines["probe_accuracy"]
    third = results(tmp_path, "lambda0", [240.0, 251.0, 245.0, 244.0, 247.0], start=first)
    beside = compare_matching.run(compare_matching.Settings(third, second))
    assert "| +1.0 ± 0.0 | +1.0 to +1.0 |" in beside  # those that began with the same run
    assert "i2t_r1" not in lines and "5 pairs (seeds 0, 1, 2, 3, 4)" in page
    assert "say little" in compare_matching.table(
        compare_matching.pair(*([compare_matching.read(one)] for one in (first[0], second[0])))
    )


def test_what_makes_no_pairs_is_named(tmp_path):
    first = results(tmp_path, "base", [240.0, 250.0])
    second = results(tmp_path, "other", [241.0, 252.0], start=first)
    with pytest.raises(ValueError, match="the run that it began with.*is not among --first"):
        compare_matching.run(compare_matching.Settings(first[:1], second))
    with pytest.raises(ValueError, match="one run for each"):
        compare_matching.run(compare_matching.Settings(first, (second[0], second[0])))
    alone = write_run(tmp_path / "alone", seed=7)
    with pytest.raises(ValueError, match="a run of its seed 7"):
        compare_matching.run(compare_matching.Settings(first, (alone,)))
    result = tmp_path / "other0" / "result.json"
    changed = json.loads(result.read_text())
    changed["dataset"]["manifest_sha256"] = "e"
    result.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="other data"):
        compare_matching.run(compare_matching.Settings(first, second))
    with pytest.raises(runs.RunError, match="train it to its end"):
        open_run = write_run(tmp_path / "open", finished=False)
        compare_matching.run(compare_matching.Settings((open_run,), second))
