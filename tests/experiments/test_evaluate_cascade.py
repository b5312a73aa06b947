import csv
import dataclasses
import shutil

import numpy as np
import pytest

from experiments import common_flags, evaluate_cascade, relation_runs
from imgtext_tf import relations, runs

NAMES = [*relations.RELATIONS, relations.UNDEFINED]


@pytest.fixture(scope="module")
def result(tiny_data, tiny_runs, tmp_path_factory):
    settings = evaluate_cascade.Settings(
        data_dir=str(tiny_data),
        run_dir=str(tmp_path_factory.mktemp("cascade")),
        cmi_run=tiny_runs["cmi"],
        sc_run=tiny_runs["sc"],
        stat_run=tiny_runs["stat"],
        classic_run=tiny_runs["relation"],
        cost_pairs=32,
        cost_rounds=2,
    )
    return evaluate_cascade.run(settings)


@pytest.fixture(scope="module")
def predictions(result):
    path = runs.RunDirectory(result["settings"]["run_dir"]).path / "predictions.tsv"
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_classes_are_the_leaves_of_the_predicted_metrics(predictions):
    assert len(predictions) == 32
    for row in predictions:
        leaf = (int(row["cmi"]), int(row["sc"]), row["stat"])
        assert row["predicted"] == relations.relation_of(*leaf)


def test_figures_are_those_of_the_predictions(result, predictions):
    metrics = result["metrics"]
    right = [row["predicted"] == row["truth"] for row in predictions]
    undefined = [row["predicted"] == relations.UNDEFINED for row in predictions]
    assert metrics["test/accuracy"] == pytest.approx(np.mean(right))
    assert metrics["test/undefined"] == pytest.approx(np.mean(undefined))
    assert metrics["orders_agreeing"] == 6
    matrix = np.zeros([8, 9], int)
    for row in predictions:
        matrix[NAMES.index(row["truth"]), NAMES.index(row["predicted"])] += 1
    for row, column in np.ndindex(matrix.shape):
        name = f"confusion/{NAMES[row]}/{NAMES[column]}"
        assert metrics[f"test/{name}"] == matrix[row, column]
    balanced = [value for name, value in metrics.items() if name.startswith("test_balanced/conf")]
    assert len(balanced) == 72 and sum(balanced) == 16
    for place, metric in enumerate(relations.METRIC_VALUES):
        truth = [str(relations.METRICS_OF_RELATION[row["truth"]][place]) for row in predictions]
        hits = [value == row[metric] for value, row in zip(truth, predictions, strict=True)]
        assert metrics[f"{metric}/test/accuracy"] == pytest.approx(np.mean(hits))


def test_the_classic_run_is_compared_and_the_cost_measured(result):
    metrics = result["metrics"]
    for part in ("test", "test_balanced"):
        gap = metrics[f"classic/{part}/accuracy"] - metrics[f"{part}/accuracy"]
        name = f"classic_minus_cascade/{part}/accuracy"
        assert metrics[name] == pytest.approx(gap)
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
    for what in ("parameters", "train_steps"):
        parts = [metrics[f"cost/{metric}/{what}"] for metric in relations.METRIC_VALUES]
        assert metrics[f"cost/cascade/{what}"] == sum(parts) > 0
    assert result["steps"] == 12
    assert metrics["cost/cascade/ms_per_pair"] > metrics["cost/cmi/ms_per_pair"] > 0
    assert metrics["cost/cascade_to_classic"] > 0
    figures = runs.RunDirectory(result["settings"]["run_dir"]).figures
    assert (figures / "test_confusion_matrix.png").exists()


def test_a_run_of_another_target_is_refused(tiny_data, tiny_runs):
    with pytest.raises(runs.RunError, match="predicts sc, not cmi"):
        relation_runs.open_run(tiny_runs["sc"], target="cmi", data_dir=str(tiny_data), split="test")


def test_a_run_of_other_classes_is_refused(tiny_data, tiny_runs, tmp_path):
    shutil.copytree(tiny_runs["cmi"], tmp_path / "run")
    (tmp_path / "run" / "labels.json").write_text('["yes", "no"]')
    with pytest.raises(runs.RunError, match="other classes than Otto2020's: yes, no"):
        relation_runs.open_run(
            str(tmp_path / "run"), target="cmi", data_dir=str(tiny_data), split="test"
        )


def test_runs_of_several_seeds_are_refused_unless_allowed(tiny_data, tiny_runs, tmp_path, result):
    shutil.copytree(tiny_runs["sc"], tmp_path / "sc")
    file = runs.RunDirectory(tmp_path / "sc").settings_file
    saved = runs.read_json(file)
    runs.write_json(file, saved | {"settings": saved["settings"] | {"seed": 5}})
    settings = evaluate_cascade.Settings(
        data_dir=str(tiny_data),
        run_dir=str(tmp_path / "cascade"),
        cmi_run=tiny_runs["cmi"],
        sc_run=str(tmp_path / "sc"),
        stat_run=tiny_runs["stat"],
        cost_pairs=0,
    )
    with pytest.raises(runs.RunError, match=r"--cmi_run: 0, --sc_run: 5, --stat_run: 0.*mixed"):
        evaluate_cascade.run(settings)
    mixed = evaluate_cascade.run(dataclasses.replace(settings, allow_mixed_seeds=True))
    assert mixed["seeds"] == {"cmi": 0, "sc": 5, "stat": 0} and mixed["seed"] == 0
    assert "seeds" not in result


def test_a_folder_without_a_run_is_named(tiny_data, tmp_path):
    with pytest.raises(runs.RunError, match="is missing"):
        relation_runs.open_run(str(tmp_path), target="cmi", data_dir=str(tiny_data), split="test")


def test_the_table_of_results_asks_for_metrics_that_there_are(result):
    path = common_flags.FLAGFILES.parent / "tables" / "otto2020_cascade_cost.csv"
    with open(path, newline="", encoding="utf-8") as file:
        asked = {row["metric"] for row in csv.DictReader(file)}
    assert asked <= set(result["metrics"])
