"""From a data set to the kit, its votes, and their agreement."""

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from experiments import annotator_agreement, export_annotation_kit, relation_experiment
from experiments.relation_flags import Settings
from imgtext_tf import annotation, relations, runs
from imgtext_tf.data import examples, shards
from tfrecords_tools import build, build_settings

PEOPLE = ("ann", "ben", "cleo")


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def kit(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    export_annotation_kit.run(
        export_annotation_kit.Settings(str(tiny_data), str(folder), PEOPLE, per_class=2)
    )
    return folder


@pytest.fixture(scope="module")
def voted(kit):
    """The kit with votes: all as generated, but for what the tests below count."""
    key = rows_of(kit / "key.csv")
    first = [row["pair"] for row in key if row["annotator"] == "ann"][:3]
    for person in PEOPLE:
        votes = []
        for row in key:
            if row["annotator"] == person:
                label = row["automatic"]
                if row["pair"] == first[0] and person != "cleo":
                    label = "Unsure"
                if row["pair"] == first[1]:
                    label = {"ann": "Anchorage", "ben": "Contrasting", "cleo": "Unsure"}[person]
                if row["pair"] == first[2] and person == "ben":
                    label = ""
                votes.append({"item": row["item"], "label": label})
        annotation.write_table(kit / f"votes_{person}.csv", annotation.VOTE_COLUMNS, votes)
    return kit


def test_votes_are_never_overwritten_nor_joined_with_another_key(kit, tiny_data, tmp_path):
    def export(folder, seed):
        export_annotation_kit.run(
            export_annotation_kit.Settings(
                str(tiny_data), str(folder), PEOPLE, per_class=2, seed=seed
            )
        )

    with pytest.raises(ValueError, match="is not empty, and may hold votes"):
        export(kit, 0)
    export(tmp_path, 1)
    votes = {"ann": kit / "votes_ann.csv"}
    with pytest.raises(annotation.AnnotationError, match="it is of another kit"):
        annotation.join_votes(tmp_path / "key.csv", votes)


def test_the_kit_is_blind_and_whole(kit):
    key = rows_of(kit / "key.csv")
    pairs = {person: [r["pair"] for r in key if r["annotator"] == person] for person in PEOPLE}
    assert len(pairs["ann"]) == 16 and set(pairs["ann"]) == set(pairs["ben"]) == set(pairs["cleo"])
    assert pairs["ann"] != pairs["ben"]
    page = (kit / "page_ann.html").read_text()
    assert page.count("<article") == 16
    assert not any(pair in page for pair in pairs["ann"])
    assert (kit / "instructions.html").read_text().count("<article") == 8
    assert {row["label"] for row in rows_of(kit / "votes_ben.csv")} == {""}


def test_pictures_of_a_page_are_those_of_its_items(kit, tiny_data):
    """Two annotators see the same pictures with the same texts, in another order."""
    seen = []
    for person in PEOPLE[:2]:
        page = (kit / f"page_{person}.html").read_text()
        articles = re.findall(r'base64,([^"]+)".*?<p class="text">(.*?)</p>', page, re.DOTALL)
        seen.append(sorted(articles))
    assert seen[0] == seen[1] and len(seen[0]) == 16


def test_agreement_of_the_votes(voted, tmp_path, capsys):
    table = tmp_path / "annotations.csv"
    settings = annotator_agreement.Settings(
        annotations=str(table),
        run_dir=str(tmp_path / "run"),
        key=str(voted / "key.csv"),
        votes=tuple(str(voted / f"votes_{person}.csv") for person in PEOPLE),
    )
    metrics = annotator_agreement.run(settings)
    assert metrics["pairs_seen"] == 16 and metrics["annotators"] == 3
    assert metrics["votes"] == 47 and metrics["votes_unsure"] == 3
    assert (metrics["pairs"], metrics["dropped_unsure"], metrics["no_majority"]) == (14, 1, 1)
    # One pair of 14 with two differing votes among 41 that can be paired.
    assert 0.9 < metrics["alpha"] < 1
    assert metrics["alpha_low"] <= metrics["alpha"] <= metrics["alpha_high"]
    assert metrics["alpha_with_unsure"] < metrics["alpha"]
    assert metrics["majority/accuracy"] == 1
    given = sum(metrics[f"votes_given/{name}"] for name in relations.RELATIONS)
    # Of the second pair's votes at most one is the generated class.
    second = [row for row in rows_of(table) if row["label"] == "Contrasting"]
    hits = sum(row["label"] == row["automatic"] for row in rows_of(table))
    assert second and hits in (42, 43)
    assert given == 47 and metrics["vote_agreement"] == pytest.approx(hits / 47)
    assert "Krippendorff's alpha 0.9" in capsys.readouterr().out
    saved = runs.read_json(runs.RunDirectory(tmp_path / "run").result_file)
    assert saved["metrics"] == metrics
    labels = rows_of(tmp_path / "run" / "labels.csv")
    assert sorted(row["label"] for row in labels)[0] == "" and len(labels) == 16
    assert [row["label"] for row in labels].count("Unsure") == 1
    # The table alone gives the same, without a run directory and without votes.
    again = annotator_agreement.run(annotator_agreement.Settings(annotations=str(table)))
    assert again == metrics


def test_the_labels_become_a_test_set(voted, tiny_data, tiny_runs, tmp_path):
    """Whose truth is the majority's; a trained run is evaluated on it."""
    settings = annotator_agreement.Settings(
        annotations=str(tmp_path / "annotations.csv"),
        run_dir=str(tmp_path / "run"),
        key=str(voted / "key.csv"),
        votes=tuple(str(voted / f"votes_{person}.csv") for person in PEOPLE),
        data_dir=str(tiny_data),
    )
    annotator_agreement.run(settings)
    path = tmp_path / "run" / "labelled" / "pairs.jsonl"
    pairs = [json.loads(line) for line in path.read_text().splitlines()]
    said = {row["pair"]: row["label"] for row in rows_of(tmp_path / "run" / "labels.csv")}
    assert {pair["id"]: pair["label"] for pair in pairs} == {
        pair: label for pair, label in said.items() if label not in ("", "Unsure")
    }
    people = tmp_path / "people"
    build.run(build_settings.Settings(output_dir=str(people), jsonl=(str(path),)))
    reader, first = (shards.ShardReader(data, "test") for data in (people, tiny_data))
    ids = first.index["id"].tolist()
    assert len(reader) == len(pairs) == 14
    for data in reader.read(np.arange(len(reader))):
        record = examples.from_bytes("relation", data)
        name = record["id"].split("/")[1]
        old = examples.from_bytes("relation", first.read([ids.index(name.encode())])[0])
        assert record["relation"] == said[name] and record["sentences"] == old["sentences"]
        assert record["image_id"] == old["image_id"]
    folder = shutil.copytree(tiny_runs["relation"], tmp_path / "classic")
    asked = Settings(data_dir=str(people), run_dir=str(folder), eval_only=True)
    result = relation_experiment.run(asked)
    assert result["metrics"]["test/pairs"] == 14 and result["metrics"]["test/majority"] > 0
    # Votes on other pairs, or another split.
    wrong = dataclasses.replace(settings, eval_split="val", key="", votes=())
    with pytest.raises(annotation.AnnotationError, match="split val has no pair"):
        annotator_agreement.run(wrong)
    with pytest.raises(annotation.AnnotationError, match="--data_dir needs --run_dir"):
        annotator_agreement.run(dataclasses.replace(wrong, run_dir=None))


def test_a_table_of_any_labels(tmp_path, capsys):
    """Krippendorff (2011), Section C, as a table with a column for each observer."""
    columns = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    lines = ["unit,a,b,c,d"]
    lines += [f"{n}," + ",".join(votes) for n, votes in enumerate(zip(*columns, strict=True), 1)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    metrics = annotator_agreement.run(annotator_agreement.Settings(annotations=str(path)))
    assert metrics["alpha"] == pytest.approx(0.743, abs=0.0005) and metrics["votes_paired"] == 40
    assert "vote_agreement" not in metrics
    printed = capsys.readouterr().out
    assert "0.743" in printed and "alpha says nothing" not in printed
    path.write_text("unit,a,b\n1,x,\n2,,y\n")
    annotator_agreement.run(annotator_agreement.Settings(annotations=str(path)))
    assert "no pair has two votes for classes: alpha says nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": ""}, "--votes needs --key"),
        ({"votes": ("ann.csv",)}, "rename it to votes_<annotator>.csv"),
        ({"votes": ("votes_ann.csv", "votes_ann (1).csv")}, "both of 'ann'"),
    ],
)
def test_votes_that_cannot_be_joined(changes, message, tmp_path):
    values = {"annotations": str(tmp_path / "a.csv"), "key": "key.csv", "votes": ("votes_a.csv",)}
    with pytest.raises(annotation.AnnotationError, match=message):
        annotator_agreement.run(annotator_agreement.Settings(**values | changes))


def test_names_of_annotators_must_do_for_files(tiny_data, tmp_path):
    for people in ((), ("a", "a"), ("a/b",)):
        with pytest.raises(ValueError, match="distinct names"):
            export_annotation_kit.run(
                export_annotation_kit.Settings(str(tiny_data), str(tmp_path), people)
            )


def test_a_kit_is_of_otto2020s_classes(tiny_data, tmp_path, monkeypatch):
    class Own(shards.ShardReader):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.own_labels = ("fits", "does not")

    monkeypatch.setattr(shards, "ShardReader", Own)
    settings = export_annotation_kit.Settings(str(tiny_data), str(tmp_path))
    with pytest.raises(ValueError, match="eight classes, which these records have not"):
        export_annotation_kit.run(settings)
