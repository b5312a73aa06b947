"""The page of results."""

import json
import pathlib

import pytest

from experiments import make_tables
from imgtext_tf import relations

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date():
    page = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == make_tables.page_text(make_tables.Settings()), (
        "docs/results.md is stale: run python -m experiments.make_tables"
    )


def test_committed_results_name_no_folder_of_a_machine():
    for path in (REPOSITORY / "experiments" / "results").rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        result = json.loads(text)
        assert result["command"].startswith("python -m "), path
        assert '"/' not in text and "=/" not in text, path


def test_a_run_is_added_to_its_row(tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    head = "row,flagfile,metric,value,unit,note\n"
    (tables / "otto2020_table7.csv").write_text(head + "classic,,test/accuracy,80.8,%,\n")
    (tables / "otto2020_questions.csv").write_text(
        "question,first,second,metric\nBetter?,classic,none,test/accuracy\n"
    )
    (tables / "titles.csv").write_text(
        "table,title,text,reason\notto2020,Otto et al.,All of it.,no GPU\n"
    )
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    result = {"dataset": {"name": "photos"}, "seed": 3, "metrics": {"test/accuracy": 0.5}}
    result |= {"command": "python -m experiments.train_classic --data_dir=/a/b/photos"}
    (run_dir / "result.json").write_text(json.dumps(result))
    settings = {
        "page": str(tmp_path / "page.md"),
        "tables_dir": str(tables),
        "results_dir": str(tmp_path / "results"),
    }
    before = make_tables.run(make_tables.Settings(**settings))
    assert "| classic | test/accuracy | 80.8 | not run: no GPU |" in before
    add = {"add": (str(run_dir),), "row": "otto2020/classic"}
    text = make_tables.run(make_tables.Settings(**settings, **add))
    assert (tmp_path / "results/otto2020/classic/photos-seed3.json").exists()
    assert "## Otto et al.\n\nAll of it.\n\n### Questions" in text
    assert "| classic | test/accuracy | 80.8 | 50.0 | -30.8 |" in text
    assert "--data_dir=photos`" in text
    assert (tmp_path / "page.md").read_text() == text
    # A data set's name comes from its files.
    result["dataset"]["name"] = "../../../up"
    (run_dir / "result.json").write_text(json.dumps(result))
    make_tables.run(make_tables.Settings(**settings, **add))
    assert (tmp_path / "results/otto2020/classic/.._.._.._up-seed3.json").exists()
    with pytest.raises(ValueError, match="<key>/<row>"):
        make_tables.run(make_tables.Settings(**settings, **add | {"row": "classic"}))
    (run_dir / "result.json").write_text(json.dumps(result | {"metrics": {"x": "high"}}))
    with pytest.raises(ValueError, match="result.json: the field 'x' holds 'high'"):
        make_tables.run(make_tables.Settings(**settings, **add))


def test_seeds_of_a_row_have_one_setting(tmp_path):
    def add(seed, **settings):
        result = {"dataset": {"name": "photos"}, "seed": seed, "metrics": {"test/rsum": 1.0}}
        settings |= {"seed": seed, "run_dir": f"run{seed}", "eval_every": 10 + seed}
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "result.json").write_text(json.dumps(result | {"settings": settings}))
        (tmp_path / "tables").mkdir(exist_ok=True)
        return make_tables.run(
            make_tables.Settings(
                page=str(tmp_path / "page.md"), tables_dir=str(tmp_path / "tables"),
                results_dir=str(tmp_path / "results"), add=(str(tmp_path / "run"),),
                row="liu2019/ours", replace=True,
            )
        )  # fmt: skip

    add(0, learning_rate=0.1)
    add(1, learning_rate=0.1)
    with pytest.raises(ValueError, match="learning_rate=0.2, photos-seed0.json has 0.1"):
        add(2, learning_rate=0.2)
    assert not (tmp_path / "results/liu2019/ours/photos-seed2.json").exists()


def test_the_counts_of_a_data_set_are_added(tiny_data, tmp_path):
    page = str(tmp_path / "page.md")
    settings = make_tables.Settings(
        page=page,
        tables_dir=str(tmp_path),
        results_dir=str(tmp_path / "results"),
        add_data=str(tiny_data),
        row="otto2020/data",
    )
    make_tables.run(settings)
    (path,) = (tmp_path / "results" / "otto2020" / "data").glob("*.json")
    metrics = json.loads(path.read_text())["metrics"]
    classes = sum(metrics.get(f"pairs/{name}", 0) for name in relations.RELATIONS)
    assert classes == metrics["pairs"] > 0
    for metric, values in relations.METRIC_VALUES.items():
        assert sum(metrics.get(f"pairs/{metric} {v}", 0) for v in values) == metrics["pairs"]
    assert metrics["pairs/cmi 0"] == metrics["pairs/Uncorrelated"] + metrics["pairs/Interdependent"]
