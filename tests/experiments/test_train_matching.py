"""Real photos and captions through all stages, with a backbone and steps as few as can be."""

import copy
import dataclasses
import json
import os
import pathlib
import re
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from experiments import (
    common_flags,
    evaluate_matching,
    matching_experiment,
    matching_flags,
    matching_start,
    matching_watch,
    search_matching,
    settings_flags,
)
from experiments.matching_flags import Settings
from imgtext_tf import runs
from tfrecords_tools import build_captions, caption_plan

FLAGFILES = sorted(common_flags.FLAGFILES.glob("liu2019/*.flags"))


def settings_of(*arguments: str) -> Settings:
    """The settings that a script would run with these arguments."""
    values = flags.FlagValues()
    for flag in flags.FLAGS.flags_by_module_dict()["experiments.common_flags"]:
        values[flag.name] = copy.deepcopy(flag)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_string("undefok", "", "", flag_values=values)
    settings_flags.define(Settings, matching_flags.HELP, matching_flags.CHOICES, values)
    values(["script", *arguments])
    return settings_flags.read(Settings, values)


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_every_flagfile_parses_into_stages(path):
    settings = settings_of(f"--flagfile={path}", "--run_dir=x")
    stages = matching_flags.parse_stages(settings)
    assert settings.embed_dim == 1024
    batch = int(path.stem.partition("_batch")[2] or 128)
    assert settings.batch_size == batch
    # Runs that are compared with the baseline go on from it.
    goes_on = path.stem.startswith("small_a") and "one_stage" not in path.stem
    assert goes_on == ("--start" in path.read_text().partition("--image_size")[0])
    if not goes_on and "one_stage" not in path.stem:
        assert stages[0].train == ("image", "text") and stages[0].losses == ("triplet",)
    if path.stem.endswith("adversarial"):
        names = [stage.name[2:4] for stage in stages]
        assert names == (["S2", "S3"] if goes_on else ["S1", "S2", "S3", "S4"])
        joint = stages[names.index("S3")]
        assert "adversarial" in joint.losses and joint.learning_rate == 2e-5
    if "one_stage" in path.stem:  # from the start, so at the rate of S1
        assert stages[0].learning_rate == 2e-4
    if "better" in path.stem:  # as many epochs, whatever the batch
        assert stages[0].steps * batch == 1212 * 128
        assert stages[0].all_negatives_steps * batch == 404 * 128
    if "finetuned" in path.stem:
        assert "cnn" in stages[-1].train and settings.live_images
    # VSE++ draws its batches from captions of any length.
    is_small = path.stem.startswith("small")
    assert settings.by_length == is_small and (settings.tokens != "nltk") == is_small
    assert settings.unit_images != path.stem.endswith("vse0")
    if "order" in path.stem:
        assert (settings.measure, settings.absolute, stages[0].margin) == ("order", True, 0.05)


def test_no_flag_at_all_means_the_defaults_of_the_settings():
    assert settings_of("--run_dir=x") == Settings(run_dir="x")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("S9:steps=2", "unknown stage 'S9'"),
        ("S1:pace=2", "'pace=2' of stage S1 is no setting"),
        ("S1:steps=two", "steps=two: give a value of type int"),
        ("S1:steps=9:learning_rate=-1", "learning_rate=-1.0 in --stages: use a number above 0"),
        ("S1:steps=9:learning_rate=nan", "learning_rate=nan in --stages: use a number above 0"),
        ("S1:steps=9:classifier_learning_rate=0", "classifier_learning_rate=0.0 in --stages"),
        ("S1:steps=9:decay_at=8,4", "decay_at=(8, 4) in --stages: give steps above 0 that rise"),
        ("S1:steps=9:decay_at=0", "decay_at=(0,) in --stages: give steps above 0"),
        ("S1:steps=9:cosine=true:decay_at=5", "cosine and decay_at in --stages are two schedules"),
        ("S1:steps=9:all_negatives_steps=10", "all_negatives_steps=10 of stage S1 are more than"),
        ("S1:steps=9:all_negatives_steps=-1", "all_negatives_steps=-1 in --stages: use 0 or more"),
    ],
)
def test_wrong_stages_are_named(stages, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        matching_flags.parse_stages(Settings(run_dir="x", stages=stages))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adversarial_lambda", -1.0),
        ("adversarial_lambda", float("inf")),
        ("margin", -0.2),
        ("margin", float("nan")),
        ("clip", -2.0),
    ],
)
def test_numbers_that_cannot_train_are_named(name, value):
    with pytest.raises(ValueError, match=f"is {value}: use a number that is 0 or more, --{name}="):
        matching_flags.parse_stages(Settings(run_dir="x", **{name: value}))
    matching_flags.parse_stages(Settings(run_dir="x", **{name: 0.0}))


def test_a_refit_may_end_within_the_steps_of_all_negatives():
    (stage,) = matching_flags.parse_stages(
        Settings(run_dir="x", stages="S1:steps=9:all_negatives_steps=4")
    )
    assert matching_start.chosen(stage, {"best_step": 2, "step": 9}).steps == 2


def test_later_stages_have_a_tenth_of_the_rate():
    stages = matching_flags.parse_stages(
        Settings(run_dir="x", stages="S1;S2;S3;S4;S4T;S3:learning_rate=0.1")
    )
    rates = [stage.learning_rate for stage in stages if "image" in stage.train]
    assert rates == [2e-4, 2e-5, 2e-5, 2e-5, 0.1]
    assert {stage.classifier_learning_rate for stage in stages} == {2e-4}


def test_tables_name_installed_flagfiles():
    folder = pathlib.Path(common_flags.FLAGFILES).parent / "tables"
    lines = [line for path in folder.glob("liu2019_*.csv") for line in path.read_text().split("\n")]
    named = {line.split(",liu2019/")[1].split(",")[0] for line in lines if ",liu2019/" in line}
    assert named and named <= {path.name for path in FLAGFILES}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("random_vectors", set()),  # --vectors stands on the command line
        ("last_state", {"text_pooling"}),
        ("one_direction", {"bidirectional"}),
        ("no_dropout", {"image_dropout", "word_dropout"}),
        ("batch64", {"batch_size", "stages", "eval_every", "checkpoint_every"}),
        ("batch256", {"batch_size", "stages", "eval_every", "checkpoint_every"}),
        ("not_centered", {"center_features"}),
    ],
)
def test_an_ablation_changes_what_it_names(name, changed):
    better, other = (
        dataclasses.asdict(settings_of(f"--flagfile={path}", "--run_dir=x"))
        for path in FLAGFILES
        if path.stem in ("small_better", f"small_better_{name}")
    )
    assert {key for key in better if better[key] != other[key]} == changed


@pytest.mark.parametrize(
    ("name", "baseline"),
    [
        ("flickr30k_adversarial", "flickr30k_resnet152_finetuned"),
        ("coco_adversarial", "coco_resnet152_finetuned"),
    ],
)
def test_the_adversarial_model_adds_its_stages_alone(name, baseline):
    """Its S1 is the baseline's, so that the difference is the adversarial loss."""
    ours, other = (
        dataclasses.asdict(settings_of(f"--flagfile={path}", "--run_dir=x", "--data_dir=y"))
        for wanted in (name, baseline)
        for path in FLAGFILES
        if path.stem == wanted
    )
    assert {key for key in ours if ours[key] != other[key]} == {"stages"}
    assert ours["stages"].split(";")[0] == other["stages"].split(";")[0]


@pytest.fixture(scope="module", autouse=True)
def without_graphs():
    """Tracing takes longer than these few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def trained(kit, tmp_path_factory):
    """24 real photos, and a run of all three stages on them."""
    folder = tmp_path_factory.mktemp("matching")
    source = json.loads((kit / "flickr8k" / "dataset_flickr8k.json").read_text())
    chosen = []
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        chosen += [image for image in source["images"] if image["split"] == split][:count]
    (folder / "few.json").write_text(json.dumps(source | {"images": chosen}))
    build_captions.run(
        caption_plan.Settings(
            output_dir=str(folder / "data"),
            karpathy_json=str(folder / "few.json"),
            karpathy_images=str(kit / "flickr8k" / "Flicker8k_Dataset"),
        )
    )
    settings = Settings(
        run_dir=str(folder / "run"),
        data_dir=str(folder / "data"),
        backbone="small_cnn",
        backbone_weights="none",
        image_size=64,
        stages="S1:steps=4;S2:steps=2;S3:steps=2",
        stage_start="last",
        batch_size=16,
        embed_dim=16,
        word_dim=8,
        min_count=2,
        classifier_units=(8,),
        eval_every=4,
        checkpoint_every=4,
        refit=True,
    )
    return settings, matching_experiment.run(settings)


def test_the_result_names_protocol_data_and_stages(trained):
    settings, result = trained
    saved = json.loads((pathlib.Path(settings.run_dir) / "result.json").read_text())
    assert saved["metrics"] == result["metrics"]
    assert result["protocol"] == "flickr8k 4 images" and result["dataset"]["kind"] == "real"
    assert [stage["name"] for stage in result["stages"]] == ["1_S1", "2_S2", "3_S3"]
    assert len(result["chosen"]) == 3
    names = {"test/rsum", "test/i2t_r1", "test/t2i_median", "test/probe_accuracy",
             "test/centroid_distance", "test/classifier_accuracy"}  # fmt: skip
    # Of the weights chosen on val, before those of train and val.
    names |= {"val/rsum", "val/probe_accuracy"}
    assert names <= set(result["metrics"])
    run = pathlib.Path(settings.run_dir)
    pictures = {path.stem for path in (run / "figures").glob("*.png")}
    assert pictures == {
        "modalities_test",
        "modalities_test_before_and_after",
        *(f"modalities_val_{n}" for n in ("1_S1", "2_S2", "3_S3")),
    }
    assert (run / "tensorboard" / "projector" / "tensors.tsv").exists()


def run_until(settings, stop_at, monkeypatch):
    """Runs up to a step over all stages, where a signal stops the training."""
    steps = []

    class Stop(matching_watch.Watch):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(batch)
            if len(steps) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(matching_watch, "Watch", Stop)
        assert matching_experiment.run(settings)["status"] == "stopped"


@pytest.mark.heavy  # test_a_stage_resumes_where_it_stopped is the same of a model
def test_a_stopped_run_ends_like_one_never_stopped(trained, tmp_path, monkeypatch):
    settings, _ = trained
    parts = dataclasses.replace(settings, run_dir=str(tmp_path / "parts"), refit=False)
    run_until(parts, 5, monkeypatch)  # inside of the second stage
    matching_experiment.run(parts)
    one, two = (
        keras.saving.load_model(
            pathlib.Path(folder, "stages", "3_S3", "model_last.keras"), compile=False
        ).get_weights()
        for folder in (settings.run_dir, parts.run_dir)
    )
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_a_run_starts_from_the_stages_of_another(trained, tmp_path):
    settings, _ = trained
    more = dataclasses.replace(
        settings, run_dir=str(tmp_path / "more"), start=settings.run_dir, stages="S2:steps=1",
        refit=False,
    )  # fmt: skip
    matching_experiment.run(more)
    first = keras.saving.load_model(
        matching_start.start_file(settings.run_dir, refit=False), compile=False
    )
    for mine, other in zip(
        runs.load(more.run_dir).model.text_branch.get_weights(),
        first.text_branch.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, other)


def cnn_after(run_dir, stage):
    path = pathlib.Path(run_dir, "stages", stage, "model_last.keras")
    return keras.saving.load_model(path, compile=False).backbone.get_weights()


@pytest.mark.heavy
def test_live_pixels_move_the_cnn_in_s4_only_and_it_resumes_there(trained, tmp_path, monkeypatch):
    settings, _ = trained
    live = dataclasses.replace(
        settings, run_dir=str(tmp_path / "live"), live_images=True, refit=False,
        stages="S1:steps=2;S4T:steps=2", batch_size=4, checkpoint_every=1,
    )  # fmt: skip
    run_until(live, 3, monkeypatch)  # inside of S4T
    matching_experiment.run(live)
    whole = dataclasses.replace(live, run_dir=str(tmp_path / "whole"))
    matching_experiment.run(whole)
    start, end = cnn_after(whole.run_dir, "1_S1"), cnn_after(whole.run_dir, "2_S4T")
    assert any((a != b).any() for a, b in zip(start, end, strict=True))
    for mine, resumed in zip(end, cnn_after(live.run_dir, "2_S4T"), strict=True):
        np.testing.assert_allclose(mine, resumed, atol=1e-6)
    assert runs.load(live.run_dir).model.backbone is not None


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["flickr30k_vgg19_finetuned", "flickr30k_resnet152_finetuned"])
def test_flagfiles_of_raw_images_start(trained, tmp_path, name):
    """Crop, flip and the paper's backbone; only sizes are smaller."""
    ours, _ = trained
    (path,) = (one for one in FLAGFILES if one.stem == name)
    asked = settings_of(
        f"--flagfile={path}", f"--run_dir={tmp_path / 'run'}", f"--data_dir={ours.data_dir}",
        "--backbone_weights=none",
    )  # fmt: skip
    assert asked.live_images and asked.crop and asked.flip
    assert asked.backbone == ("vgg19_fc7" if "vgg19" in name else "resnet152")
    small = dataclasses.replace(
        asked, image_size=32, batch_size=2, embed_dim=8, word_dim=4, min_count=1,
        stages="S1:steps=1;S4T:steps=1:learning_rate=0.00002",
    )  # fmt: skip
    result = matching_experiment.run(small)
    assert [stage["name"] for stage in result["stages"]] == ["1_S1", "2_S4T"]
    before, after = cnn_after(small.run_dir, "1_S1"), cnn_after(small.run_dir, "2_S4T")
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_precomputed_features(trained, tmp_path):
    settings, _ = trained
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("dev", 4), ("test", 4)):
        np.save(tmp_path / f"{split}_ims.npy", rng.random((count, 2, 5), np.float32))
        lines = [f"picture {i // 5} of {split} has number {i}" for i in range(5 * count)]
        (tmp_path / f"{split}_caps.txt").write_text("\n".join(lines) + "\n")
    given = dataclasses.replace(
        settings, run_dir=str(tmp_path / "run"), data_dir="", precomputed=str(tmp_path),
        stages="S1:steps=2", refit=False, image_pooling="max", tokens="nltk",
    )  # fmt: skip
    result = matching_experiment.run(given)
    assert result["protocol"].endswith("4 images")
    with pytest.raises(ValueError, match="precomputed features"):
        search_matching.Searcher(given.run_dir)


def test_evaluation_and_ensemble(trained, tmp_path):
    settings, result = trained
    asked = Settings(run_dir="", data_dir=settings.data_dir, eval_only=True)
    scores = tmp_path / "scores.npy"
    found = evaluate_matching.run(
        asked, [settings.run_dir, settings.run_dir], str(tmp_path / "both.json"), str(scores)
    )
    # A run with itself is the run.
    assert found["ensemble"]["metrics"]["rsum"] == pytest.approx(result["metrics"]["test/rsum"])
    assert json.loads((tmp_path / "both.json").read_text())["runs"] == [settings.run_dir] * 2
    again = evaluate_matching.run_scores(asked, [str(scores)])
    assert again["metrics"]["rsum"] == pytest.approx(result["metrics"]["test/rsum"])


@pytest.mark.heavy
def test_search_in_photos_and_in_sentences(trained, tmp_path):
    settings, _ = trained
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 50, 3), np.uint8)
        (photos / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    ask = search_matching.Settings(
        run_dir=settings.run_dir, photos=str(photos), sentence="A dog runs.", top=2,
        output=str(tmp_path / "sheet.png"), cache=str(tmp_path / "cache.npz"),
    )  # fmt: skip
    found = search_matching.run(ask)
    assert len(found) == 2 and found[0][1] >= found[1][1]
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"
    again = search_matching.run(ask)
    assert [name for name, _ in again] == [name for name, _ in found]
    (tmp_path / "lines.txt").write_text("a dog\n\na cat sits\n")
    by_photo = search_matching.Settings(
        run_dir=settings.run_dir, photo=str(photos / "1.png"), sentences=str(tmp_path / "lines.txt")
    )
    assert {name for name, _ in search_matching.run(by_photo)} == {"a dog", "a cat sits"}
    with pytest.raises(ValueError, match="--sentence and --photos"):
        search_matching.run(dataclasses.replace(ask, photos=""))
