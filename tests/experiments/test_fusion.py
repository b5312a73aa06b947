"""Shah2019 end to end on coloured squares: phrases, text encoder, fusion, zero-shot, exports."""

import collections
import copy
import csv
import dataclasses
import json
import pathlib
import shutil
import types

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from absl import flags

from experiments import (
    common_flags,
    edit_phrases,
    evaluate_zero_shot,
    export_embeddings,
    export_phrases,
    fusion_data,
    fusion_experiment,
    fusion_flags,
    fusion_phrases,
    fusion_report,
    generate_phrases,
    make_prototypes,
    phrase_data,
    phrase_experiment,
    phrase_flags,
    phrase_generation,
    phrase_labels,
    phrase_prototypes,
    phrase_ranking,
    phrase_report,
    settings_flags,
    train_query_encoder,
)
from experiments.phrase_generation import PhraseGenerator
from imgtext_tf import label_figures, prototypes, runs, search
from imgtext_tf.data import embeddings, examples, shards
from imgtext_tf.data import photos as photo_pipelines
from tests.experiments import held_photos, shah_data_set
from tests.experiments.shah_data_set import WORDS

BACKBONE = {"backbone": "small_cnn", "backbone_weights": "none", "image_size": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("shah")
    shah_data_set.write(root)
    return root


@pytest.fixture(scope="module")
def phrases(data):
    """A trained phrase generator: (settings, result)."""
    settings = phrase_flags.Settings(
        str(data / "queries"),
        str(data / "phrases"),
        **BACKBONE,
        tune_backbone=False,
        cache_features="auto",
        embedding_dim=8,
        min_images=3,
        num_sampled=4,
        learning_rate=0.03,
        batch_size=24,
        max_steps=40,
        checkpoint_every=40,
        eval_split="val",
    )
    return settings, phrase_experiment.run(settings)


@pytest.fixture(scope="module")
def text(data):
    settings = train_query_encoder.Settings(
        str(data / "text"),
        texts=(str(data / "texts.tsv"),),
        held_out=0.2,
        buckets=512,
        dim=8,
        gram_dim=8,
        learning_rate=0.02,
        batch_size=8,
        max_steps=15,
        checkpoint_every=15,
    )
    return train_query_encoder.run(settings)


@pytest.fixture(scope="module")
def fusion(data, phrases, text):
    settings = fusion_flags.Settings(
        str(data / "labels"),
        str(data / "fusion"),
        str(data / "phrases"),
        str(data / "text"),
        **BACKBONE,
        central_fraction=1.0,
        variants=("visual", "multimodal"),
        strengths=(0.5,),
        fc_units=(16,),
        learning_rate=0.02,
        batch_size=16,
        max_steps=25,
        folds=2,
        eval_split="val",
    )
    return settings, fusion_experiment.run(settings)


def test_phrases_are_right(phrases, data):
    _, result = phrases
    metrics = result["metrics"]
    assert metrics["val/prototypes/precision@1"] > 0.5 > metrics["val/frequency/precision@3"]
    assert metrics["prototypes"] == 13 and metrics["queries"] == 13
    assert {"val/nearest_photo/precision@3", "val/photo_ap/weights/6-20"} <= set(metrics)
    seen = (data / "phrases" / "train_images.txt").read_text().split()
    assert len(seen) == 48
    lines = (data / "phrases" / "phrases_val.tsv").read_text().splitlines()
    assert len(lines) == 17 and lines[0].startswith("id\tweights\tprototypes")


def test_a_phrase_of_the_own_caption_is_right(phrases, data):
    reader = shards.ShardReader(str(data / "queries"), "val")
    readers = {"val": reader}
    queries = {"val": photo_pipelines.text_lists(reader, "queries")}
    opened = phrase_data.Data(phrases[0], readers, queries, collections.Counter())
    number = next(n for n, own in enumerate(reader.index["id"].tolist()) if own == b"q48.png")
    asked = queries["val"][number]
    assert "red tomato" not in asked and "red tomato" in opened.right_phrases("val")[number]
    metrics = phrases[1]["metrics"]
    for method in ("weights", "prototypes", "all_prototypes"):
        name = f"val/{method}/precision@3"
        assert metrics[f"{name}_with_captions"] >= metrics[name]
    found = phrase_report._with_further([["tomato", "sea", "red"]], [["red", "tomato"]])
    assert found["precision@1_with_captions"] == 1
    assert found["precision@3_with_captions"] == pytest.approx(2 / 3)


def test_a_finished_run_is_evaluated_again(phrases):
    settings, result = phrases
    again = phrase_experiment.run(dataclasses.replace(settings, eval_only=True))
    assert again["metrics"] == result["metrics"]


def test_phrases_of_any_photo(phrases, data, capsys):
    red = str(data / "photos" / "l0.jpg")
    settings = generate_phrases.Settings(str(data / "phrases"), top=2, exclude=("photo",))
    ((path, found),) = generate_phrases.run(settings, [red])
    assert path == red and len(found) == 2
    assert found[0][0] in WORDS["red"] and found[0][1] >= found[1][1] > -1
    small = dataclasses.replace(settings, output_space="small", top=1)
    ((_, ((name, score),)),) = generate_phrases.run(small, [red])
    names, vectors = phrase_generation.queries_of(str(data / "phrases"), "best")
    unit = PhraseGenerator(str(data / "phrases")).embed([red])[0]
    cosines = vectors @ unit / np.linalg.norm(vectors, axis=1) / np.linalg.norm(unit)
    cosines[names.index("photo")] = -1
    assert (name, score) == (names[cosines.argmax()], pytest.approx(cosines.max(), abs=1e-5))


def test_files_that_are_no_images_are_left_out(phrases, data, tmp_path, capsys, monkeypatch):
    good = (data / "photos" / "l0.jpg").read_bytes()
    names = ("a.jpg", "empty.jpg", "cut.jpg", "text.jpg", "gone.jpg", "b.jpg")
    paths = [str(tmp_path / name) for name in names]
    for path, content in zip(paths, (good, b"", good[:40], b"no image", None, good), strict=True):
        if content is not None:
            pathlib.Path(path).write_bytes(content)
    settings = generate_phrases.Settings(str(data / "phrases"), top=1)
    monkeypatch.setattr(settings_flags, "read", lambda _: settings)
    monkeypatch.setattr(generate_phrases, "_BATCH", 2)
    with pytest.raises(ValueError, match="4 of 6 files cannot be read"):
        generate_phrases.main(["generate_phrases", *paths])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [paths[0], paths[-1]]
    assert lines[0][1:] == lines[1][1:] and lines[0][2] in WORDS["red"]


def test_a_photo_is_turned_as_its_camera_was_held(phrases, data, tmp_path):
    wide = np.zeros([20, 40, 3], np.uint8)
    wide[:, :20] = 255  # white at the left
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right
    PIL.Image.fromarray(wide).save(tmp_path / "held.jpg", exif=exif, quality=95)
    seen = PhraseGenerator(str(data / "phrases")).read(str(tmp_path / "held.jpg")).numpy()
    assert seen[:10].mean() > 0.95 and seen[-10:].mean() < 0.05, "white at the top"


def test_phrases_come_and_go_without_training(phrases, data, tmp_path):
    copy_of = tmp_path / "run"
    shutil.copytree(data / "phrases", copy_of)
    paths = [str(data / "photos" / f"l{number}.jpg") for number in (0, 4, 8)]
    before = len(PhraseGenerator(str(copy_of)).index)
    added = edit_phrases.Settings(str(copy_of), add=" Fire  engine", remove=("photo",))
    assert edit_phrases.run(added, paths) == before
    generator = PhraseGenerator(str(copy_of))
    assert "photo" not in generator.index.ids
    names = [name for name, _ in generator.phrases(generator.embed(paths[:1]), k=3)[0]]
    assert "fire engine" in names
    with pytest.raises(ValueError, match="'photo' is no phrase"):
        edit_phrases.run(edit_phrases.Settings(str(copy_of), remove=("photo",)))
    with pytest.raises(ValueError, match="with photos"):
        edit_phrases.run(edit_phrases.Settings(str(copy_of), add="fire engine"))
    saved = runs.read_json(copy_of / "settings.json")
    saved["settings"]["prototype_images"] = 3
    (copy_of / "settings.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match="'truck' has 2 photos"):
        edit_phrases.run(edit_phrases.Settings(str(copy_of), add="truck"), paths[:2])


def test_an_evaluation_keeps_edited_phrases(phrases, data, tmp_path):
    copy_of = tmp_path / "run"
    shutil.copytree(data / "phrases", copy_of)
    edit_phrases.run(edit_phrases.Settings(str(copy_of), remove=("photo",)))
    settings = dataclasses.replace(phrases[0], run_dir=str(copy_of), eval_only=True)
    assert phrase_experiment.run(settings)["metrics"]["prototypes"] == 12
    assert "photo" not in PhraseGenerator(str(copy_of)).index.ids


def test_the_text_encoder_reports_baselines(text):
    metrics = text["metrics"]
    assert {"texts/recall@1", "untrained/texts/mrr", "tf-idf/texts/recall@10"} <= set(metrics)


def test_the_same_second_text_of_another_group_is_not_wrong():
    scores = np.array([[0.5, 0.9, 0.1], [0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
    first, second = ["a dog", "a hound", "cat"], ["dog", "dog", "kitten"]
    found = train_query_encoder._without_shared(scores, first, second)
    assert np.isneginf(found[[0, 1], [1, 0]]).all() and np.isfinite(found).sum() == 7
    assert train_query_encoder._retrieval(found)["recall@1"] == 1


def test_fusion_compares_everything_twice(fusion, data):
    _, result = fusion
    metrics = result["metrics"]
    for name in ("visual/0.5", "multimodal/0.5/all"):
        assert 0 <= metrics[f"{name}/top1_low"] <= metrics[f"{name}/top1"]
    for phrase_set in ("all", "without_labels"):
        assert {f"multimodal/0.5/{phrase_set}/gain_low"} <= set(metrics)
    assert metrics["multimodal/0.5/all/top1"] > 0.6
    assert metrics["phrases/without_labels"] < metrics["phrases/all"]
    # A fold: visual once, both with two phrase sets.
    assert result["cases"] == 2 * (1 + 2)
    assert (data / "fusion" / "figures" / "examples.png").exists() or metrics[
        "visual/0.5/top1"
    ] == 1


def test_a_second_run_trains_nothing(fusion, data):
    settings, result = fusion
    files = sorted((data / "fusion" / "cases").rglob("model_last.keras"))
    before = [path.stat().st_mtime_ns for path in files]
    again = fusion_experiment.run(settings)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert again["metrics"] == result["metrics"]


def test_photos_ranked_for_a_phrase():
    asked, right = [["a"], ["b"], ["a"]], [["a", "c"], ["b"], ["a"]]
    data = types.SimpleNamespace(
        queries={"val": asked}, right_phrases=lambda split: right,
        counts=collections.Counter(a=3, b=7), settings=types.SimpleNamespace(seed=0),
    )  # fmt: skip
    photos = np.array([[2, 0], [0, 1], [0.7, 0.7]], np.float32)
    weights = search.build("exact", ["a", "b"], np.array([[0, 1], [0, 1]], np.float32))
    vectors = np.array([[1, 0], [0, 1], [1, 0.1]], np.float32)
    of_phrases = search.build("exact", ["a", "b", "c"], vectors)
    found = phrase_ranking.by_frequency(data, "val", photos, weights, of_phrases)
    # a by w_c: photos 1, 2, 0, and the last two are right.
    assert found["photo_ap/weights/3-5"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["photo_ap/prototypes/3-5"] == 1 == found["photo_ap/weights/6-20"]
    assert found["phrases/no_weights"] == 1 == found["photo_ap/prototypes/no_weights"]
    assert "photo_ap/weights/no_weights" not in found and "phrases/1-2" not in found


def test_a_case_can_be_loaded_by_itself(fusion, data):
    case = runs.load(data / "fusion" / "cases" / "multimodal-0.5-all-s0-f0", "last")
    assert case.labels == ("red", "green", "blue", "grey")
    channels = case.preprocessing["channels"]
    assert len(channels) == case.model.input["visual"].shape[1]
    assert case.preprocessing["phrase_set"] == "all" and case.preprocessing["image_size"] == 32


def test_edited_phrases_are_another_run(fusion, data):
    settings, _ = fusion
    path = data / "phrases" / "prototypes.npz"
    before = path.read_bytes()
    try:
        found = prototypes.Prototypes.load(path)
        found.remove("photo")
        found.save(path)
        with pytest.raises(runs.RunError, match="prototypes_sha256"):
            fusion_experiment.run(settings)
    finally:
        path.write_bytes(before)


def test_several_labels(data, phrases, text):
    settings = fusion_flags.Settings(
        str(data / "tags"),
        str(data / "fusion_tags"),
        str(data / "phrases"),
        str(data / "text"),
        **BACKBONE,
        central_fraction=1.0,
        variants=("visual", "text"),
        phrase_sets=("all",),
        fc_units=(16,),
        learning_rate=0.02,
        batch_size=16,
        max_steps=25,
    )
    metrics = fusion_experiment.run(settings)["metrics"]
    assert 0.3 < metrics["text/all/map"] <= 1
    assert {"visual/1/map_rare", "visual/1/recall_at_80_precision"} <= set(metrics)
    assert (data / "fusion_tags" / "figures" / "precision_recall.png").exists()
    with open(data / "fusion_tags" / "labels.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["term"] for row in rows] == list(WORDS)
    known = [float(row["text/all"]) for row in rows if row["text/all"]]
    assert np.mean(known) == pytest.approx(metrics["text/all/map"], abs=1e-4)


def test_photos_of_the_generator_are_left_out():
    ids = np.array([b"0a", b"0b", b"0c"])
    rows = np.arange(3, dtype=np.float32)[:, None]
    photos = fusion_data.Photos(ids.astype(str), ids, rows, rows, np.arange(3))
    left = fusion_data.without_seen(photos, {"0b", "ff"}, "train")
    assert left.labels.tolist() == [0, 2] and left.visual[:, 0].tolist() == [0, 2]
    with pytest.raises(ValueError, match="trained on 1 photos of split val"):
        fusion_data.without_seen(photos, {"0b"}, "val")


def test_a_cache_of_other_splits_is_no_hindrance(data, phrases):
    settings = dataclasses.replace(phrases[0], data_dir=str(data / "tags"), central_fraction=0.5)
    readers = phrase_data.open_readers(settings.data_dir, "image_labels", ("val", "test"))
    encoder = phrase_data.open_encoder(settings)
    for splits in (("val",), ("test", "val"), ("val",)):
        own = [readers[split] for split in splits]
        cache = phrase_data.open_features(settings, own, encoder)
        for reader in own:
            assert len(cache.lookup(reader.index["image_id"])) == len(reader)


def spy(function, calls):
    def of_call(*args):
        calls.append(args)
        return function(*args)

    return of_call


def test_zero_shot(data, phrases, monkeypatch):
    settings = evaluate_zero_shot.Settings(
        str(data / "labels"), str(data / "zero"), str(data / "phrases"), **BACKBONE,
        output_space="large", buckets=512, max_steps=10, eval_split="val",
    )  # fmt: skip
    opened = []
    monkeypatch.setattr(
        fusion_data.phrase_data, "open_features", spy(phrase_data.open_features, opened)
    )
    metrics = evaluate_zero_shot.run(settings)["metrics"]
    (_, (reader,), _) = opened[0]
    assert reader.split == "val", "photos of other splits are not needed"
    assert metrics["all/top1"] > 0.6 and metrics["all/terms_that_are_queries"] == 0.5
    assert metrics["without_labels/terms_that_are_queries"] == 0
    assert metrics["all/chance"] == 0.25


def test_nearest_terms():
    scores = np.array([[0.1, 0.9, 0.3], [0.5, 0.2, 0.4]])
    np.testing.assert_array_equal(
        evaluate_zero_shot.nearest_terms(scores, [2, 1]), [[0.9, 0.3], [0.5, 0.4]]
    )


def test_the_exported_generator_gives_the_same_phrases(phrases, data, tmp_path):
    """With the inverted file in the graph; the chain below has the exact search."""
    export_phrases.run(
        export_phrases.Settings(str(tmp_path / "out"), run_dir=str(data / "phrases"), backend="ivf")
    )
    served = tf.saved_model.load(str(tmp_path / "out")).signatures["serving_default"]
    paths = [data / "photos" / "l0.jpg", data / "photos" / "l1.jpg"]
    found = served(image=tf.constant([path.read_bytes() for path in paths]))
    expected = generate_phrases.run(
        generate_phrases.Settings(str(data / "phrases")), [str(path) for path in paths]
    )
    for row, (_, own) in enumerate(expected):
        assert [name.decode() for name in found["phrases"][row].numpy()] == [n for n, _ in own]
        np.testing.assert_allclose(found["scores"][row], [s for _, s in own], atol=1e-4)
    # A photo held sideways, the same turned beforehand, and as it is stored.
    found = served(image=tf.constant(held_photos.tagged_turned_and_stored()))
    tagged, turned, stored = found["embedding"].numpy()
    np.testing.assert_allclose(tagged, turned, atol=1e-6)
    np.testing.assert_array_equal(found["phrases"][0], found["phrases"][1])
    np.testing.assert_allclose(found["scores"][0], found["scores"][1], atol=1e-6)
    assert np.abs(tagged - stored).max() > 1e-4


@pytest.mark.heavy
def test_the_exported_chain_gives_the_same_label(fusion, data, tmp_path):
    settings, _ = fusion
    case = data / "fusion" / "cases" / "multimodal-0.5-without_labels-s0-f0"
    export_phrases.run(export_phrases.Settings(str(tmp_path / "out"), case=str(case)))
    served = tf.saved_model.load(str(tmp_path / "out")).signatures["serving_default"]
    with np.load(case / "predictions.npz") as arrays:
        ids, logits = arrays["ids"][:4].tolist(), arrays["logits"][:4]
    files = [(data / "photos" / name).read_bytes() for name in ids]
    found = served(image=tf.constant(files))
    np.testing.assert_allclose(found["probabilities"], tf.nn.softmax(logits), atol=0.02)
    labels = phrase_labels.read_labels(settings.data_dir)
    names = [labels.terms[place][0] for place in logits.argmax(1)]
    assert [name.decode() for name in found["label"].numpy()] == names
    with pytest.raises(FileExistsError):
        export_phrases.run(export_phrases.Settings(str(tmp_path / "out"), case=str(case)))


def test_fewer_than_three_phrases():
    one, two = np.array([1.0, 3]), np.array([3.0, 5])
    found = fusion_phrases.mean_of_phrases([[one, two], [two], []], 2)
    np.testing.assert_array_equal(found, [[2, 4], [3, 5], [0, 0]])


def test_phrases_with_a_word_of_a_label():
    stems = phrase_labels.label_stems([["dog", "domestic cat"], ["skis"]])
    assert stems & phrase_labels.stems_of("Two dogs run")
    assert stems & phrase_labels.stems_of("skiing")
    assert not stems & phrase_labels.stems_of("doghouse")
    assert fusion_phrases.is_english("a-b c'd") and not fusion_phrases.is_english("perro pequeño")


@pytest.mark.parametrize(
    "words",
    ["man men", "woman women", "fireman firemen", "child children", "person people persons",
     "surf surfer surfing", "climb climber climbing", "ride rider riding", "run runner running",
     "swim swimmer", "dance dancer", "cycle cyclist", "ball balls", "actor acting", "ski skier"],
)  # fmt: skip
def test_words_of_one_stem(words):
    assert len(phrase_labels.stems_of(words)) == 1


def test_words_of_other_stems():
    words = "man woman child person surf climb ride run dog door car cat deer sea snow grass"
    assert len(phrase_labels.stems_of(words)) == len(words.split())


def test_queries_with_a_word_of_a_label_are_not_learnt(phrases, data):
    settings = dataclasses.replace(
        phrases[0], cache_features="", leave_out_labels=(str(data / "labels"), str(data / "tags"))
    )
    found = phrase_data.open_data(settings, None)
    assert found.names == ["photo"]
    further = {name for own in found.more_queries() for name in own}
    right = {name for own in found.right_phrases("val") for name in own}
    assert (further, right) == (set(), {"photo"})


def test_cases_without_what_they_do_not_see():
    settings = fusion_flags.Settings(
        "", "", "", "", variants=("visual", "text", "bottleneck", "everything"),
        strengths=(0.1, 1.0), seeds=2,
    )  # fmt: skip
    found = list(fusion_experiment.cases(settings))
    assert len(found) == len(set(found)) == 2 * (2 + 2 + 2 + 4)
    assert ("visual", 0.1, "", 1, 0) in found and ("text", 0.0, "all", 0, 0) in found
    with pytest.raises(ValueError, match="unknown variant 'pixels'"):
        list(fusion_experiment.cases(dataclasses.replace(settings, variants=("pixels",))))


def test_figures_of_several_labels(tmp_path):
    curve = (np.array([1, 0.5]), np.array([0.2, 1.0]))
    figure = label_figures.precision_recall_figure({"visual": curve, "multimodal": curve})
    assert len(figure.axes[0].lines) == 3
    gains = np.array([0.1, np.nan, -0.2])
    gains = {"visual 10%": gains, "visual 100%": np.array([0.1, 0.2, np.nan])}
    figure = label_figures.gain_figure(np.array([5, 1, 100]), gains, ["a", "b", "c"])
    named = [{text.get_text() for text in axes.texts} for axes in figure.axes]
    assert named == [{"a", "c"}, {"a", "b"}]


def test_names_of_labels_do_not_overlap():
    counts, gains = np.array([10, 11, 500, 10, 20]), np.array([0.5, 0.499, 0.5, -0.5, 0.0])
    (axes,) = label_figures.gain_figure(counts, {"": gains}, list("abcde")).axes
    assert {text.get_text() for text in axes.texts} in ({"a", "c", "d", "e"}, {"b", "c", "d", "e"})


def test_mean_gains_of_rare_and_of_frequent_labels():
    counts = np.array([500, 3, 40, 1, 60, 700])
    gains = np.array([-0.1, 0.2, 0.0, 0.4, 0.02, np.nan])
    (axes,) = label_figures.gain_figure(counts, {"": gains}, list("abcdef")).axes
    lines = [line.get_xydata() for line in axes.lines if line.get_color() == "C3"]
    np.testing.assert_allclose(
        lines, [[[1, 0.3], [3, 0.3]], [[40, 0.01], [60, 0.01]], [[500, -0.1]] * 2]
    )


def of_two_seeds(rng, strength):
    """60 photos of 3 labels, and logits of two seeds: the first knows the labels, the other not."""
    truth = (rng.random([60, 3]) < 0.4).astype(np.int8)
    noise = rng.normal(size=[2, 60, 3])
    return [(truth, strength * truth + noise[0]), (truth, noise[1])]


def test_intervals_are_of_all_seeds():
    labels = phrase_labels.Labels(
        ("a", "b", "c"), (("a",), ("b",), ("c",)), np.array([1, 1, 0]) > 0
    )
    settings = fusion_flags.Settings("", "", "", "")
    rows = np.arange(60)
    ours, theirs = (of_two_seeds(np.random.default_rng(4), strength) for strength in (9, 0))
    each = [fusion_report._map_of([seed], rows, labels, settings) for seed in ours]
    assert each[0] > each[1] + 0.2
    assert fusion_report._map_of(ours, rows, labels, settings) == pytest.approx(np.mean(each))
    found = fusion_report._gain(settings, labels, ours, theirs)
    base = [fusion_report._map_of([seed], rows, labels, settings) for seed in theirs]
    assert found[""] == pytest.approx(np.mean(each) - np.mean(base))
    assert found["_low"] < found[""] < found["_high"] < each[0] - base[0]


def test_folds_and_few_shots():
    labels = np.repeat([0, 1, 2], [20, 10, 5])
    folds = fusion_experiment.folds_of(labels, 5, seed=1)
    counts = np.array([[((folds == f) & (labels == c)).sum() for c in range(3)] for f in range(5)])
    assert (counts == [[4, 2, 1]] * 5).all()
    rows = fusion_data.few_shot_rows(labels, 3, seed=0)
    assert np.bincount(labels[rows]).tolist() == [3, 3, 3]
    assert len(fusion_data.few_shot_rows(labels, 0, seed=0)) == 35


def test_few_shots_of_several_labels():
    labels = np.zeros([200, 4], np.int8)
    labels[:, 0] = 1  # on every photo
    labels[::10, 1], labels[5::20, 2], labels[7, 3] = 1, 1, -1
    rows = fusion_data.few_shot_rows(labels, 3, seed=0)
    counts = (labels[rows] == 1).sum(0)
    assert counts.tolist()[1:] == [3, 3, 0] and 6 <= counts[0] <= 9
    assert len(rows) == len(set(rows.tolist())) == counts[0]


def test_recall_looks_at_the_cells_of_the_map():
    labels = phrase_labels.Labels(
        ("a", "b", "c"), (("a",), ("b",), ("c",)), np.array([1, 1, 0]) > 0
    )
    settings = fusion_flags.Settings("", "", "", "", unannotated="negative")
    truth = np.array([[1, 0, 0], [-1, 1, 0], [0, -1, 1]], np.int8)
    logits = np.arange(9.0).reshape(3, 3)
    found, cells = fusion_report.cells_of(settings, labels, truth, logits)
    assert cells.tolist() == [[1, 0], [0, 1], [0, 0]] and found.tolist() == [[0, 1], [3, 4], [6, 7]]
    settings = dataclasses.replace(settings, unannotated="ignore")
    assert fusion_report.cells_of(settings, labels, truth, logits)[1].tolist()[1] == [-1, 1]


def test_a_group_without_labels_has_no_map():
    labels = phrase_labels.Labels(("a", "b", "c"), (("a",), ("b",), ("c",)), np.full(3, True))
    seeds = of_two_seeds(np.random.default_rng(1), 1)
    found = fusion_report._several_labels(
        fusion_flags.Settings("", "", "", ""), labels, np.array([5.0, 5, 5]), seeds
    )
    assert "map_frequent" in found and "map_rare" not in found
    assert found["map_low"] < found["map"] < found["map_high"]
    assert found["map_all_labels"] == pytest.approx(found["map"]), "all of them are trainable"
    rare = dataclasses.replace(labels, trainable=np.array([True, False, False]))
    of_one = fusion_report._several_labels(
        fusion_flags.Settings("", "", "", ""), rare, np.array([5.0, 5, 5]), seeds
    )
    assert of_one["map_all_labels"] == pytest.approx(found["map"]) != of_one["map"]


def test_strength_keeps_a_share_of_the_channels():
    assert len(fusion_data.kept_channels(1280, 0.1, 0)) == 128
    assert fusion_data.kept_channels(10, 1.0, 0).tolist() == list(range(10))
    assert not np.array_equal(
        fusion_data.kept_channels(1280, 0.1, 0), fusion_data.kept_channels(1280, 0.1, 1)
    )


SCRIPTS = {
    "phrases": phrase_flags,
    "query_encoder": train_query_encoder,
    "zero_shot": evaluate_zero_shot,
}
FILES = sorted((common_flags.FLAGFILES / "shah2019").glob("*.flags"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_flagfiles_are_read_by_their_scripts(path):
    stem = path.stem.removeprefix("small_")
    module = SCRIPTS.get(stem, fusion_flags)
    values = flags.FlagValues()
    for flag in flags.FLAGS.get_key_flags_for_module(common_flags):
        values[flag.name] = copy.deepcopy(flag)
    settings_flags.define(module.Settings, module.HELP, module.CHOICES, values)
    required = {name: "x" for name in settings_flags.names_of(module.Settings)}
    values(["script", f"--flagfile={path}", *(f"--{k}={v}" for k, v in required.items())])
    settings = settings_flags.read(module.Settings, values)
    for line in path.read_text().splitlines():
        if line.startswith("--") and "=" in line:
            name, value = line[2:].split("=")
            found = getattr(settings, name)
            found = ",".join(f"{x:g}" if isinstance(x, float) else str(x) for x in found) if (
                isinstance(found, tuple)) else found  # fmt: skip
            assert str(found) == value or float(found) == float(value)


def test_no_flag_at_all_means_the_defaults_of_the_settings():
    for module in (*SCRIPTS.values(), fusion_flags):
        values = flags.FlagValues()
        for flag in flags.FLAGS.get_key_flags_for_module(common_flags):
            values[flag.name] = copy.deepcopy(flag)
        settings_flags.define(module.Settings, module.HELP, module.CHOICES, values)
        names = settings_flags.names_of(module.Settings)
        values(["script", *(f"--{name}=x" for name in names)])
        found = settings_flags.read(module.Settings, values)
        assert found == module.Settings(**dict.fromkeys(names, "x"))


def test_tables_name_flagfiles_and_metrics():
    folder = pathlib.Path(common_flags.FLAGFILES).parent / "tables"
    known = set(common_flags.installed_flagfiles())
    for path in sorted(folder.glob("shah2019_*.csv")):
        if path.stem.endswith("_questions"):
            continue
        header, *rows = path.read_text().splitlines()
        assert header == "row,flagfile,metric,value,unit,note"
        assert rows
        for row in csv.DictReader(path.read_text().splitlines()):
            assert row["flagfile"] in known
            # Ours have no printed number.
            assert float(row["value"]) > 0 if "/small_" not in row["flagfile"] else not row["value"]


def test_a_result_has_what_tables_need(fusion, data):
    result = json.loads((data / "fusion" / "result.json").read_text())
    assert {"metrics", "seed", "dataset", "steps", "seconds", "environment"} <= set(result)
    assert runs.read_json(data / "fusion" / "settings.json")["script"] == (
        "experiments.train_fusion"
    )


# Embeddings and prototypes, shard by shard


@pytest.fixture(scope="module")
def in_three_shards(data):
    """The photos with queries in three train shards."""
    folder, records = data / "queries3", {}
    for split in ("train", "val"):
        reader = shards.ShardReader(data / "queries", split)
        found = [examples.from_bytes("image_query", one) for one in reader.read(range(len(reader)))]
        records[split] = found
    infos = {}
    for split, count in (("train", 3), ("val", 1)):
        for number in range(count):
            path = shards.shard_path(folder, "queries", split, number, count)
            part = records[split][number::count]
            infos.setdefault(split, []).append(shards.write_shard(path, "image_query", part))
    shards.write_manifest(
        folder, name="queries", record_kind="image_query", kind="synthetic", build={}, splits=infos
    )
    return str(folder)


def exported(phrases, folder, output, **more):
    settings = export_embeddings.Settings(
        phrases[0].run_dir, folder, str(output), batch_size=8, **more
    )
    return export_embeddings.run(settings)


def prototypes_of(phrases, folder, vectors, output, **more):
    return make_prototypes.run(
        make_prototypes.Settings(phrases[0].run_dir, folder, str(vectors), str(output), **more)
    )


def bytes_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_file()
    }


def test_exported_embeddings_are_those_of_the_run(phrases, in_three_shards, tmp_path):
    manifest = exported(phrases, in_three_shards, tmp_path / "out")
    assert (manifest["rows"], manifest["dim"], len(manifest["shards"])) == (48, 8, 3)
    found = embeddings.EmbeddingShards(tmp_path / "out")
    rows = dict(
        zip(
            [name for ids, _ in found for name in ids],
            np.concatenate([vectors for _, vectors in found]),
            strict=True,
        )
    )
    paths = [str(pathlib.Path(in_three_shards).parent / "photos" / name) for name in rows]
    again = PhraseGenerator(phrases[0].run_dir).embed(paths)
    np.testing.assert_allclose(np.array(list(rows.values())), again, rtol=1e-4, atol=1e-5)
    # A stopped export goes on, and ends with the same bytes.
    before = bytes_of(tmp_path / "out")
    (tmp_path / "out" / "embeddings-train-00001-of-00003.json").unlink()
    (tmp_path / "out" / embeddings.MANIFEST).unlink()
    exported(phrases, in_three_shards, tmp_path / "out")
    assert bytes_of(tmp_path / "out") == before
    with pytest.raises(shards.ShardError, match="side = 'image', not 'text'"):
        exported(phrases, in_three_shards, tmp_path / "out", side="text")
    with pytest.raises(ValueError, match="phrase_generator has no embeddings of side 'text'"):
        exported(phrases, in_three_shards, tmp_path / "text", side="text")
    path = tmp_path / "out" / "embeddings-train-00002-of-00003.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(shards.ShardError, match="00002-of-00003.npy: it or its ids are damaged"):
        found.read(2)


def test_prototypes_of_shards_are_those_of_one_pass(phrases, in_three_shards, tmp_path):
    """Equation 2, whoever sums the shards and in whatever order."""
    exported(phrases, in_three_shards, tmp_path / "vectors")
    found = prototypes_of(phrases, in_three_shards, tmp_path / "vectors", tmp_path / "out")
    own = prototypes.Prototypes.load(pathlib.Path(phrases[0].run_dir, phrase_report.PROTOTYPES))
    names, vectors, counts = found.vectors()
    expected_names, expected, expected_counts = own.vectors()
    assert names == expected_names and counts.tolist() == expected_counts.tolist()
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    # The sums of the shards stand; those that are missing are made anew, last ones first.
    before = bytes_of(tmp_path / "out")
    for number in (0, 1):
        (tmp_path / "out" / f"sums-0000{number}-of-00003.npz").unlink()
    prototypes_of(phrases, in_three_shards, tmp_path / "vectors", tmp_path / "out")
    assert bytes_of(tmp_path / "out") == before
    with pytest.raises(shards.ShardError, match="has 3 shards, split val of .* 1"):
        prototypes_of(phrases, in_three_shards, tmp_path / "vectors", tmp_path / "val", split="val")
    left = phrase_prototypes.PrototypeTask(
        str(tmp_path / "left.npz"), str(tmp_path / "vectors"), in_three_shards, "train", 0,
        normalize=True, more_queries=True, train_share=1.0, left_out=["red"],
    )  # fmt: skip
    names = prototypes.Prototypes.load(phrase_prototypes.write_shard(left)).vectors()[0]
    assert "tomato" in names and not {"red", "red tomato"} & set(names)


@pytest.mark.heavy
def test_beam_embeds_and_sums_with_the_bytes_of_the_local_runner(
    phrases, in_three_shards, tmp_path
):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: .[beam] brings it")
    beam = {
        "runner": "beam",
        "beam_options": ("direct_running_mode=multi_processing", "direct_num_workers=2"),
    }
    for name, more in (("local", {}), ("beam", beam)):
        exported(phrases, in_three_shards, tmp_path / name, **more)
        prototypes_of(
            phrases, in_three_shards, tmp_path / name, tmp_path / f"{name}-prototypes", **more
        )
    assert bytes_of(tmp_path / "beam") == bytes_of(tmp_path / "local")
    assert bytes_of(tmp_path / "beam-prototypes") == bytes_of(tmp_path / "local-prototypes")
