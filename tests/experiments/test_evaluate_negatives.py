import csv

import numpy as np
import pytest

from experiments import common_flags, evaluate_negatives
from imgtext_tf import relations, runs


@pytest.fixture(scope="module")
def result(tiny_data, tiny_runs, tmp_path_factory):
    settings = evaluate_negatives.Settings(
        data_dir=str(tiny_data),
        run_dir=str(tmp_path_factory.mktemp("negatives")),
        classic_run=tiny_runs["relation"],
    )
    return evaluate_negatives.run(settings)


@pytest.fixture(scope="module")
def pairs(result):
    path = runs.RunDirectory(result["settings"]["run_dir"]).path / "minimal_pairs.tsv"
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_negative_makes_a_pair(pairs):
    seen = [row for row in pairs if row["keywords"] == "seen"]
    assert len(seen) == 12
    assert all(row["original"] == row["swapped"] + "#original" for row in seen)
    unseen = [row for row in pairs if row["keywords"] == "unseen"]
    # Texts that name the lake.
    assert 0 < len(unseen) <= 12
    assert all(row["swapped"] == row["original"] + "#unseen" for row in unseen)


@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_scores_are_those_of_the_listed_answers(result, pairs, kind):
    rows = [row for row in pairs if row["keywords"] == kind]
    both = [
        row["said"] == row["class"] and row["said_swapped"] == relations.NEGATIVE_OF[row["class"]]
        for row in rows
    ]
    metrics = result["metrics"]
    assert metrics[f"minimal_pairs/{kind}/all/pairs"] == len(rows)
    assert metrics[f"minimal_pairs/{kind}/all/both"] == pytest.approx(np.mean(both))


def test_a_model_without_images_survives_their_shuffling(result):
    metrics = result["metrics"]
    assert metrics["shuffled/pairs"] == 32
    assert metrics["shuffled/same_answer"] == 1 and metrics["shuffled/drop"] == 0
    assert metrics["shuffled/accuracy"] == metrics["shuffled/accuracy_before"]


def test_recall_of_negatives_and_what_they_were_taken_for(result, pairs):
    """The listed answers to the data set's own negatives, class by class."""
    metrics = result["metrics"]
    for positive, negative in relations.NEGATIVE_OF.items():
        rows = [row for row in pairs if (row["keywords"], row["class"]) == ("seen", positive)]
        said = [row["said_swapped"] for row in rows]
        for name, wanted in (("recall", negative), ("taken_for_positive", positive)):
            value = metrics[f"negatives/test/{name}/{negative}"]
            assert value == pytest.approx(np.mean([answer == wanted for answer in said]))
        assert metrics[f"negatives/test/support/{negative}"] == len(rows) == 4
        assert f"negatives/test_balanced/recall/{negative}" in metrics


def test_keywords_are_counted_and_a_picture_is_drawn(result):
    assert result["keywords"]["used"] > 200 and result["keywords"]["left out as seen"] >= 0
    figures = runs.RunDirectory(result["settings"]["run_dir"]).figures
    assert (figures / "minimal_pairs.png").exists()


def test_the_table_of_results_asks_for_metrics_that_there_are(result):
    path = common_flags.FLAGFILES.parent / "tables" / "otto2020_negatives.csv"
    with open(path, newline="", encoding="utf-8") as file:
        asked = {row["metric"] for row in csv.DictReader(file)}
    assert asked <= set(result["metrics"])
