"""Printed numbers, our results, and their tables."""

import json

import numpy as np
import pytest

from imgtext_tf import markdown, report

TABLE = """row,flagfile,metric,value,unit,note,corrected
classic,otto2020/table5_classic.flags,test/accuracy,80.8,%,645 / 798,
classic,,test/recall/Contrasting,96.5,%,a misprint,96.6
cascade,,test/accuracy,74.3,%,,
length,,test/accuracy,,%,,
"""


def write_run(folder, row, seed, metrics, data="photos", **more):
    path = folder / row / f"{data}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"dataset": {"name": data}, "seed": seed, "metrics": metrics, **more}
    path.write_text(json.dumps(result))
    return path


@pytest.fixture
def cells(tmp_path):
    path = tmp_path / "otto2020_table7.csv"
    path.write_text(TABLE)
    return report.read_table(path)


@pytest.fixture
def found(tmp_path):
    folder = tmp_path / "results"
    for seed, accuracy in enumerate((0.70, 0.72, 0.77)):
        metrics = {"test/accuracy": accuracy, "test/recall/Contrasting": 0.5}
        write_run(folder, "classic", seed, metrics, command="python -m x", steps=9, seconds=90)
    write_run(folder, "length", 0, {"test/accuracy": 0.25})
    write_run(folder, "classic", 0, {"test/accuracy": 0.9}, data="scenes")
    return report.read_runs(folder)


def test_mean_and_spread():
    mean, spread = report.mean_and_spread([70, 72, 77])
    # (3^2 + 1^2 + 4^2) / 2 = 13
    assert mean == 73 and spread == pytest.approx(13**0.5)
    assert report.mean_and_spread([5]) == (5, None)


def test_a_table_has_paper_ours_and_difference(cells, found):
    lines = markdown.numbers_and_matrices(cells, found, reason="too long").split("\n")
    assert lines[0] == (
        "| row | metric | paper | corrected | photos | difference | scenes | difference |"
    )
    assert lines[2] == (
        "| classic | test/accuracy | 80.8 |  | 73.0 ± 3.6 (3 seeds) | -7.8 | 90.0 | +9.2 |"
    )
    # The difference is from the corrected number.
    assert "| 96.5 | 96.6 | 50.0 ± 0.0 (3 seeds) | -46.6 |" in lines[3]
    assert lines[4].count("not run: too long") == 2
    assert lines[5].startswith("| length | test/accuracy |  |  | 25.0 |  | not run")
    assert "- classic, test/recall/Contrasting: a misprint" in lines


def test_what_only_we_measure_stands_beside_no_paper(found):
    cells = [report.Cell("length", "test/accuracy", None, "%")]
    text = markdown.numbers_and_matrices(cells, found)
    assert text.split("\n") == [
        "| row | metric | photos |", "| --- | --- | --- |", "| length | test/accuracy | 25.0 |",
    ]  # fmt: skip
    assert "| row | metric | ours |" in markdown.numbers_and_matrices(cells, [])


def test_a_single_run_has_the_interval_over_its_test_pairs(tmp_path):
    ends = {"test/accuracy_low": 0.6, "test/accuracy_high": 0.8}
    write_run(tmp_path, "classic", 0, {"test/accuracy": 0.7} | ends)
    cells = [report.Cell("classic", "test/accuracy", None, "%")]
    text = markdown.numbers_and_matrices(cells, report.read_runs(tmp_path))
    assert text.endswith("| classic | test/accuracy | 70.0 (60.0 to 80.0) |")
    # Several seeds have their spread instead.
    write_run(tmp_path, "classic", 1, {"test/accuracy": 0.8} | ends)
    text = markdown.numbers_and_matrices(cells, report.read_runs(tmp_path))
    assert text.endswith("| classic | test/accuracy | 75.0 ± 7.1 (2 seeds) |")


def test_a_table_without_runs_says_so(cells):
    text = markdown.numbers_and_matrices(cells, [], reason="no GPU")
    assert text.count("not run: no GPU") == len(cells)


def test_many_rows_of_a_few_metrics_stand_in_lines(tmp_path):
    path = tmp_path / "t.csv"
    lines = [f"m{row},,{name},{row}.{place},%,by A" for row in range(4)
             for place, name in enumerate(("r1", "r5"))]  # fmt: skip
    lines += ["ours,,r1,,%,", "ours,,r5,,%,", "later,,r1,,%,", "later,,r5,,%,"]
    path.write_text("\n".join(["row,flagfile,metric,value,unit,note", *lines]) + "\n")
    write_run(tmp_path / "r", "ours", 0, {"r1": 0.25, "r5": 0.5})
    write_run(tmp_path / "r", "m1", 0, {"r1": 0.125})
    cells = report.read_table(path)
    text = markdown.numbers_and_matrices(cells, report.read_runs(tmp_path / "r"), reason="too long")
    assert text.split("\n")[:7] == [
        "| row | source | r1 | r5 |",
        "| --- | --- | --- | --- |",
        "| m0 | printed | 0.0 | 0.1 |",
        "| m1 | printed | 1.0 | 1.1 |",
        "| m1 | ours, photos | 12.5 |  |",
        "| m2 | printed | 2.0 | 2.1 |",
        "| m3 | printed | 3.0 | 3.1 |",
    ]
    assert "| ours | ours, photos | 25.0 | 50.0 |" in text
    assert "| later | not run: too long |  |  |" in text
    assert "- m1: by A" in text


def test_confusion_matrices(tmp_path):
    path = tmp_path / "t.csv"
    counts = {("a", "a"): 3, ("a", "b"): 1, ("b", "a"): 0, ("b", "b"): 4}
    lines = [f"m,,test/confusion/{t}/{p},{n},pairs," for (t, p), n in counts.items()]
    path.write_text("\n".join(["row,flagfile,metric,value,unit,note", *lines]) + "\n")
    for seed, wrong in enumerate((1, 2)):
        metrics = {"test/confusion/a/a": 4 - wrong, "test/confusion/a/b": wrong}
        write_run(tmp_path / "r", "m", seed, metrics | {"test/confusion/b/b": 4})
    found = report.read_runs(tmp_path / "r")
    text = markdown.numbers_and_matrices(report.read_table(path), found)
    paper, ours = text.split("\n\n")
    assert "| a | 3 | 1 | 4 | 75.0 |" in paper and "| 8 | accuracy 87.5 |" in paper
    assert "mean of 2 seeds" in ours and "| a | 2.5 | 1.5 | 4 | 62.5 |" in ours


def test_paired_differences():
    first, second = {0: 0.8, 1: 0.7, 2: 0.9, 3: 0.1}, {0: 0.7, 1: 0.5, 2: 0.8, 9: 1.0}
    outcome = report.paired_difference(first, second)
    assert outcome["pairs"] == 3
    assert outcome["mean"] == pytest.approx((0.1 + 0.2 + 0.1) / 3)
    assert outcome["spread"] == pytest.approx(0.1 / 3**0.5)  # of 0.1, 0.2, 0.1
    # The extreme draws of three differences are three times the same one: 1 / 27 each.
    assert outcome["low"] == pytest.approx(0.1) and outcome["high"] == pytest.approx(0.2)
    assert report.paired_difference({0: 1.0}, {1: 1.0}) == {"pairs": 0}
    one = report.paired_difference({0: 1.0}, {0: 0.5})
    assert one == {"pairs": 1, "mean": 0.5}


@pytest.mark.parametrize(
    ("second", "answer"), [(0.0, "yes"), (1.0, "no, the other way round"), (None, "not settled")]
)
def test_questions_are_answered_whichever_way_it_falls(tmp_path, second, answer):
    rng = np.random.default_rng(0)
    for seed in range(5):
        value = 0.5 + 0.01 * rng.normal()
        write_run(tmp_path, "a", seed, {"m": value})
        other = 0.5 + 0.02 * (-1) ** seed if second is None else second
        write_run(tmp_path, "b", seed, {"m": other})
    claim = {"question": "Does a beat b?", "first": "a", "second": "b", "metric": "m"}
    text = markdown.questions([claim], report.read_runs(tmp_path))
    assert text.endswith(f"| 5 | {answer} |") and " ± 0.0" in text
    other = markdown.questions([claim | {"second_metric": "n"}], report.read_runs(tmp_path))
    assert other.endswith("| 0 | not run |")
    unknown = markdown.questions([claim | {"first": "c"}], report.read_runs(tmp_path))
    assert unknown.endswith("| 0 | not run |")


def test_what_is_fitted_once_stands_against_all_seeds(tmp_path):
    for seed in range(5):
        write_run(tmp_path, "a", seed, {"m": 0.5 + 0.01 * seed})
    path = write_run(tmp_path, "b", 0, {"m": 0.4})
    claim = {"question": "Does a beat b?", "first": "a", "second": "b", "metric": "m"}
    text = markdown.questions([claim], report.read_runs(tmp_path))
    assert "+0.1200" in text and text.endswith("| 5 | yes |")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"steps": 7}))
    text = markdown.questions([claim], report.read_runs(tmp_path))
    assert text.endswith("| 1 | not settled: fewer than 5 seeds |")


def test_results_lose_the_machines_folders():
    result = {
        "command": "python -m x --data_dir=/data/me/kit --flagfile=a/b.flags --rate=1/2",
        "settings": {"vectors": "/home/me/en.vec.gz", "steps": [1, "runs/a"]},
    }
    assert report.portable(result) == {
        "command": "python -m x --data_dir=kit --flagfile=a/b.flags --rate=1/2",
        "settings": {"vectors": "en.vec.gz", "steps": [1, "runs/a"]},
    }


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("row,flagfile,metric,value,unit,note\na,,m,many,%,\n")
    with pytest.raises(report.ReportError, match="t.csv, line 2"):
        report.read_table(path)
    (tmp_path / "row").mkdir()
    (tmp_path / "row" / "x.json").write_text('{"seed": 1}')
    with pytest.raises(report.ReportError, match="x.json is no result"):
        report.read_runs(tmp_path)
    whole = {"dataset": {"name": "d"}, "metrics": {"a": float("nan"), "b": 1}, "seed": 0}
    for wrong in ({"dataset": []}, {"dataset": {"name": 7}}, {"metrics": {"a": "x"}}, {"seed": "0"},
                  {"metrics": [1]}, {"environment": []}):  # fmt: skip
        (tmp_path / "row" / "x.json").write_text(json.dumps(whole | wrong))
        with pytest.raises(report.ReportError, match="x.json is no result.* the field"):
            report.read_runs(tmp_path)
    (tmp_path / "row" / "x.json").write_text(json.dumps(whole))
    assert report.read_runs(tmp_path)[0].metrics == {"b": 1}  # NaN is no value


def test_a_note_of_many_numbers_stands_once(tmp_path):
    path = tmp_path / "table.csv"
    lines = [f"a,,m{number},1,%,the same of all" for number in range(5)]
    lines += ["b,,m0,1,%,of two", "b,,m1,1,%,of two", "b,,m2,1,%,of one"]
    path.write_text("\n".join(["row,flagfile,metric,value,unit,note", *lines]) + "\n")
    notes = markdown.numbers_and_matrices(report.read_table(path), []).split("\n\n")[1]
    assert notes.splitlines() == [
        "- a, m0 and 4 more: the same of all",
        "- b, m0; b, m1: of two",
        "- b, m2: of one",
    ]
