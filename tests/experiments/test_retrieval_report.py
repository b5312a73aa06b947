"""What a result holds after several evaluations of one run."""

import dataclasses
import types

import numpy as np
import pytest

from experiments import retrieval_report
from experiments.retrieval_flags import Settings
from imgtext_tf import runs


@pytest.fixture
def evaluate(tmp_path):
    run_dir = runs.RunDirectory(tmp_path)
    settings = Settings("data", str(tmp_path))
    run_dir.begin(dataclasses.asdict(settings), script="s", module="m")
    split = types.SimpleNamespace(ids=np.arange(3), query_rows=lambda count: np.arange(3))
    data = types.SimpleNamespace(
        splits={"val": split, "test": split},
        description=lambda: {"name": "d", "kind": "real", "manifest_sha256": "0"},
    )

    def evaluate(metrics, **changes):
        changed = dataclasses.replace(settings, **changes)
        return retrieval_report.report(changed, data, run_dir, metrics, script="s", outcome={})

    return evaluate


def test_a_result_holds_no_metric_of_another_measure(evaluate, tmp_path):
    evaluate({"ndcg@8": 1.0, "study/plain": 2.0}, study_dir="study")
    # The same split without a study: nothing of the first evaluation stays.
    result = evaluate({"ndcg@8": 3.0})
    assert result["metrics"] == {"test/ndcg@8": 3.0}
    assert result["evaluation"]["study_dir"] == ""
    assert evaluate({"ndcg@8": 4.0}, eval_split="val")["metrics"] == {
        "test/ndcg@8": 3.0,
        "val/ndcg@8": 4.0,
    }
    assert evaluate({"ndcg@8": 5.0}, queries=2)["metrics"] == {"test/ndcg@8": 5.0}
    # Other weights: metrics of the first ones go.
    evaluate({"ndcg@8": 6.0}, eval_split="val")
    (tmp_path / "model_best.keras").write_bytes(b"other weights")
    assert evaluate({"ndcg@8": 7.0})["metrics"] == {"test/ndcg@8": 7.0}
