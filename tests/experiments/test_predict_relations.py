"""Predictions for a user's own files, by the script and in Python."""

import csv
import dataclasses
import functools
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import PIL.Image
import pytest

from experiments import predict_relations, relation_predictions
from imgtext_tf import predict, relations, runs
from imgtext_tf.data import examples, language, pairs, shards
from imgtext_tf.metrics import calibration


@pytest.fixture(scope="module")
def run_dir(cached_run, tmp_path_factory):
    """The trained run with another temperature: it is right on all of val, which gives 1."""
    copy = shutil.copytree(cached_run[0].run_dir, tmp_path_factory.mktemp("run") / "run")
    path = runs.RunDirectory(copy).calibration_file
    runs.write_json(path, runs.read_json(path) | {"temperature": 2.0})
    return str(copy)


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Every test may load the run; building it takes longer than all predictions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "load", functools.lru_cache(predict.load))
        yield


@pytest.fixture(scope="module")
def photos(cached_run, tmp_path_factory):
    """The test pairs as a user would have them: a folder of pictures, and a JSONL of it."""
    folder = tmp_path_factory.mktemp("own")
    reader = shards.ShardReader(cached_run[0].data_dir, "test")
    lines = []
    for data in reader.read(np.arange(len(reader))):
        record = examples.from_bytes("relation", data)
        (folder / f"{record['id']}.jpg").write_bytes(record["image"])
        (folder / f"{record['id']}.txt").write_text("\n".join(record["sentences"]))
        lines.append(
            {
                "id": record["id"],
                "image": f"{record['id']}.jpg",
                "text": list(record["sentences"]),
            }
        )
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def settings(run_dir, photos, tmp_path):
    return predict_relations.Settings(
        run_dir, str(photos / "pairs.jsonl"), str(tmp_path / "out" / "p.jsonl")
    )


def lines_of(settings):
    with open(settings.output, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_predictions_are_those_of_the_evaluation_but_calibrated(settings, cached_run):
    """The class, and its probability once the temperature is taken out again."""
    summary = predict_relations.run(settings)
    table = runs.RunDirectory(settings.run_dir).path / "predictions_test.tsv"
    expected = {row.split("\t")[0]: row.split("\t") for row in table.read_text().splitlines()[1:]}
    found = lines_of(settings)
    assert [one["id"] for one in found] != sorted(expected) and len(found) == len(expected)
    for one in found:
        _, _, label, probability = expected[one["id"]]
        assert one["label"] == label
        powers = np.array(list(one["probabilities"].values())) ** 2.0
        # The cache holds float16, and the table four digits.
        assert (powers / powers.sum()).max() == pytest.approx(float(probability), abs=5e-3)
    assert summary["pairs"] == 32 and summary["bad"] == 0
    assert sum(summary["classes"].values()) == 32
    calibrated = summary["calibration"]
    assert calibrated["temperature"] == 2 and calibrated["pairs"] == 32
    assert {"ece", "ece_calibrated", "abstaining"} < set(calibrated)


def test_calibration_stands_in_the_result(cached_run):
    settings, result = cached_run
    saved = runs.read_json(runs.RunDirectory(settings.run_dir).calibration_file)
    assert result["temperature"] == saved["temperature"]
    assert saved["dataset"] == result["dataset"]
    for part in ("test", "test_balanced"):
        assert 0 <= result["metrics"][f"{part}/ece_calibrated"] <= 1
        assert f"{part}/ece" in result["metrics"]


def test_metrics_follow_from_the_class_and_marginals_from_all(settings):
    predict_relations.run(settings)
    with open(settings.output.replace(".jsonl", ".csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for one, row in zip(lines_of(settings), rows, strict=True):
        cmi, sc, stat = relations.METRICS_OF_RELATION[one["label"]]
        assert one["metrics"] == {"cmi": cmi, "sc": sc, "stat": stat}
        shares = [one["probabilities"][name] for name in relations.RELATIONS]
        assert one["marginals"]["cmi"]["0"] == pytest.approx(shares[0] + shares[1], abs=1e-5)
        assert row["id"] == one["id"] and (row["sc"], row["stat"]) == (str(sc), stat)
        assert float(row[f"p({one['label']})"]) == pytest.approx(one["probability"])
        assert float(row["p(stat T)"]) == pytest.approx(shares[3] + shares[6], abs=1e-5)


def test_a_folder_says_the_same_as_the_jsonl(settings, photos):
    predict_relations.run(settings)
    by_id = {one["id"]: one for one in lines_of(settings)}
    folder = dataclasses.replace(settings, input=str(photos), output=settings.output + ".f.jsonl")
    predict_relations.run(folder)
    found = lines_of(folder)
    assert len(found) == 32
    # Other neighbours in a batch mean other padding, and so another order of sums.
    for one in found:
        assert one["probability"] == pytest.approx(by_id[one["id"]]["probability"], abs=1e-4)


def test_python_says_the_same(settings, photos):
    predict_relations.run(settings)
    expected = lines_of(settings)[5]
    classifier = predict.load(settings.run_dir)
    name = expected["id"]
    answer = classifier(photos / f"{name}.jpg", (photos / f"{name}.txt").read_text())
    assert answer.label == expected["label"]
    assert answer.probability == pytest.approx(expected["probability"], abs=1e-4)
    data = (photos / f"{name}.jpg").read_bytes()
    assert classifier(data, [(photos / f"{name}.txt").read_text()]).label == answer.label
    with pytest.raises(ValueError, match="pair: .*nowhere.jpg"):
        classifier("nowhere.jpg", "A text.")
    with pytest.raises(ValueError, match="no letter or digit"):
        classifier(data, " ")


def test_a_photo_held_sideways_is_read_upright(run_dir, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [40, 30, 3], np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "upright.png")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.rot90(pixels)).save(tmp_path / "sideways.png", exif=exif)
    classifier = predict.load(run_dir)
    upright, sideways = (
        classifier.prepare(pairs.Pair("1", tmp_path / name, "a lake"))
        for name in ("upright.png", "sideways.png")
    )
    np.testing.assert_array_equal(upright.image, sideways.image)


def test_it_abstains_below_the_threshold(settings):
    predict_relations.run(settings)
    sure = sorted(one["probability"] for one in lines_of(settings))
    threshold = (sure[10] + sure[11]) / 2
    careful = dataclasses.replace(
        settings, output=settings.output + ".a.jsonl", abstain_below=threshold
    )
    summary = predict_relations.run(careful)
    assert summary["abstained"] == sum(one < threshold for one in sure)
    for one in lines_of(careful):
        assert bool(one["label"]) == bool(one["metrics"]) == (one["probability"] >= threshold)


def test_bad_records_are_listed_counted_and_limited(settings, photos):
    lines = (photos / "pairs.jsonl").read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | {"image": "gone.jpg"})
    lines[4] = json.dumps(json.loads(lines[4]) | {"text": "..."})
    # Not by an ending of images: tests of the folder do not see it.
    (photos / "damaged").write_bytes((photos / "test-Anchorage-0.jpg").read_bytes()[:300])
    lines[5] = json.dumps(json.loads(lines[5]) | {"image": str(photos / "damaged")})
    lines[7] = json.dumps(json.loads(lines[7]) | {"id": json.loads(lines[6])["id"]})
    (photos / "bad.jsonl").write_text("\n".join(lines))
    settings = dataclasses.replace(settings, input=str(photos / "bad.jsonl"))
    with pytest.raises(ValueError, match="--max_bad_records=0.05 of 32 allows") as failure:
        predict_relations.run(dataclasses.replace(settings, max_bad_records=0.05))
    assert "gone.jpg" in str(failure.value) and "the other 29" in str(failure.value)
    # All bad ones are listed, and the others are there.
    listed = pathlib.Path(settings.output.replace(".jsonl", "_bad.tsv"))
    assert len(listed.read_text().splitlines()) == 3 and len(lines_of(settings)) == 29
    summary = predict_relations.run(dataclasses.replace(settings, max_bad_records=0.1))
    assert summary["bad"] == 3 and len(lines_of(settings)) == 29
    assert summary["repeated_ids"] == 1
    bad = open(settings.output.replace(".jsonl", "_bad.tsv"), encoding="utf-8").read().splitlines()
    assert [line.split("\t")[0] for line in bad] == [json.loads(x)["id"] for x in lines[3:6]]
    assert "No such file" in bad[0] and "empty" in bad[1] and "truncated" in bad[2]


def test_a_killed_prediction_goes_on(settings, photos, tmp_path, monkeypatch):
    predict_relations.run(settings)
    whole = lines_of(settings)
    settings = dataclasses.replace(settings, output=str(tmp_path / "again.jsonl"))
    many, asked = predict.Classifier.many, []

    def killed(self, items):
        for number, result in enumerate(many(self, items)):
            if number == 20:
                raise KeyboardInterrupt
            yield result

    def counted(self, items):
        for result in many(self, items):
            asked.append(result.id)
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(predict.Classifier, "many", killed)
        with pytest.raises(KeyboardInterrupt):
            predict_relations.run(settings)
    assert not os.path.exists(settings.output)
    partial = tmp_path / "again.partial"
    partial.write_bytes(partial.read_bytes()[:-9])  # the last line was being written
    with pytest.raises(ValueError, match="another model or threshold"):
        predict_relations.run(dataclasses.replace(settings, abstain_below=0.5))
    monkeypatch.setattr(predict.Classifier, "many", counted)
    predict_relations.run(settings)
    assert asked == [one["id"] for one in whole[19:]]
    found = lines_of(settings)
    assert [one["label"] for one in found] == [one["label"] for one in whole]
    assert sorted(p.name for p in tmp_path.iterdir() if "again" in p.name) == [
        "again.csv",
        "again.jsonl",
        "again_bad.tsv",
        "again_summary.json",
    ]


@pytest.mark.parametrize(
    ("old", "new"), [(b"dog1", b"dog9"), (b"1,", b"[],"), (b"{", b""), (b"dog1", b"\xff")]
)
def test_predictions_so_far_that_are_damaged_are_made_again(tmp_path, old, new):
    path = tmp_path / "so far"
    with relation_predictions.Partial(path, {"model": "m"}) as partial:
        for place in range(3):
            partial.add(place, f"d{place}", {"label": f"dog{place}"})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(old, new, 1), lines[3]]))
    with relation_predictions.Partial(path, {"model": "m"}) as partial:
        assert [partial.has(place, f"d{place}") for place in range(3)] == [True, False, False]
        partial.add(1, "d1", {"label": "cat"})
        assert list(partial) == [{"label": "dog0"}, {"label": "cat"}]


def test_warnings_name_what_makes_an_answer_doubtful(run_dir, photos, monkeypatch):
    classifier = predict.load(run_dir)
    image = photos / "test-Anchorage-0.jpg"
    unread = "the model knows no word of the text"
    long = classifier(image, "lake. " * 31 + "word " * 51)
    assert "32 sentences" in " ".join(long.warnings)
    assert "more than 50 words" in " ".join(classifier(image, "lake " * 51).warnings)
    # As the model counts: both parts of a compound are words.
    assert classifier(image, "red-haired " * 25).warnings == (unread,)
    cut = classifier(image, "red-haired " * 26).warnings
    assert cut == (unread, "a sentence has more than 50 words: the others were cut")
    # This vocabulary of some twenty words is no English one: of languages, only the script counts.
    assert classifier(image, "Ein Mann steht vor einem Auto.").warnings == (unread,)
    assert classifier(image, f"Ein {classifier.run.vocabulary[0]} steht.").warnings == ()
    first, warning = classifier(image, "Мужчина стоит.").warnings
    assert first == unread and "of another script" in warning and "English" not in warning
    monkeypatch.setattr(language, "is_english_vocabulary", lambda _: True)
    monkeypatch.setattr(classifier, "_language", language.Expected(classifier.run.vocabulary))
    first, warning = classifier(image, "Ein Mann steht vor einem Auto.").warnings
    assert first == unread and "may not be English" in warning and "German" in warning


def test_no_more_than_two_batches_are_held(run_dir, photos, monkeypatch):
    """Whoever reads the answers slowly does not make the reader run ahead."""
    classifier = predict.load(run_dir)
    monkeypatch.setattr(classifier, "_batch_size", 2)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield predict.pairs.Pair("x", photos / "test-Anchorage-0.jpg", "A lake.")

    answers = classifier.many(endless())
    for _ in range(5):
        next(answers)
    answers.close()
    assert len(taken) <= 8


@pytest.mark.parametrize(("inputs", "gone"), [("text", "image"), ("image", "text")])
def test_a_model_of_one_input_needs_no_other(run_dir, inputs, gone, photos):
    """A text model opens no image, an image model looks at no text."""
    run = runs.load(run_dir)
    keep = {"text": "word_ids", "image": "image"}[inputs]
    seen = run.model.input[keep]
    axes = tuple(range(1, len(seen.shape)))
    nothing = 0.0 * keras.ops.sum(keras.ops.cast(seen, "float32"), axis=axes)
    model = keras.Model({keep: seen}, {"logits": keras.ops.stack([nothing] * 8, axis=1)})
    classifier = predict.Classifier(dataclasses.replace(run, model=model))
    image = "nowhere.jpg" if gone == "image" else photos / "test-Anchorage-0.jpg"
    answer = classifier(image, "" if gone == "text" else "A lake.")
    assert answer.probability == pytest.approx(1 / 8)


def test_other_mistakes_are_named(settings, tmp_path):
    for changes, message in (
        ({"output": "p.csv"}, "ends in .jsonl"),
        ({"input": str(tmp_path / "no")}, "no such file"),
        ({"run_dir": str(tmp_path / "no")}, "is missing"),
    ):
        with pytest.raises((ValueError, runs.RunError), match=message):
            predict_relations.run(dataclasses.replace(settings, **changes))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="no pair"):
        predict_relations.run(dataclasses.replace(settings, input=str(tmp_path / "empty.jsonl")))


def test_a_run_without_calibration_still_predicts(run_dir, photos, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "run")
    os.remove(runs.RunDirectory(copy).calibration_file)
    assert runs.load(copy).calibration == {}
    image = photos / "test-Anchorage-0.jpg"
    mended = predict.load(run_dir)
    plain = predict.Classifier(dataclasses.replace(mended.run, calibration={}))
    ready = plain.prepare(predict.pairs.Pair("x", image, "A lake."))
    logits = np.asarray(plain.run.model.predict_on_batch(plain.inputs([ready]))["logits"])
    for classifier in (plain, mended):
        expected = calibration.softmax(logits[0], classifier.run.temperature)
        found = list(classifier(image, "A lake.").probabilities.values())
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert plain.run.temperature == 1


def test_the_last_model_is_not_calibrated(run_dir, settings, caplog):
    """The temperature was fitted to the best one."""
    assert runs.load(run_dir).temperature == 2
    last = runs.load(run_dir, "last")
    assert last.temperature == 1 and last.calibration == {}
    summary = predict_relations.run(dataclasses.replace(settings, which="last"))
    assert summary["calibration"] == {} and "are not calibrated" in caplog.text


def test_a_classifier_of_one_metric_gives_that_metric(run_dir, photos):
    run = predict.load(run_dir).run
    model = keras.Model(run.model.input, {"logits": run.model.output["logits"][:, :3]})
    run = dataclasses.replace(
        run,
        model=model,
        labels=relations.labels_of("sc"),
        settings=run.settings | {"target": "sc"},
    )
    answer = predict.Classifier(run)(photos / "test-Anchorage-0.jpg", "A lake.")
    best = max(answer.marginals["sc"], key=answer.marginals["sc"].get)
    assert answer.label == f"sc {best}" and answer.metrics == {"sc": int(best)}
    assert list(answer.marginals) == ["sc"] and sum(answer.marginals["sc"].values()) == (
        pytest.approx(1)
    )
