"""What a result holds after several evaluations of one run."""

import dataclasses
import types

import numpy as np
import pytest
import scipy.sparse

from experiments import evaluate_retrieval, retrieval_report
from experiments.retrieval_flags import Settings
from imgtext_tf import runs
from imgtext_tf.metrics import graded_ranking


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


@pytest.mark.parametrize("method", ["text", "random"])
def test_rows_without_a_model_are_compared_with_the_users(tmp_path, monkeypatch, method):
    images = 40
    rng = np.random.default_rng(0)
    split = types.SimpleNamespace(
        ids=np.array([str(number) for number in range(images)]),
        tfidf=scipy.sparse.csr_matrix(rng.random([images, 5])),
        query_rows=lambda count: np.arange(images),
    )
    settings = Settings("", str(tmp_path / "run"), study_dir=str(tmp_path), r_grid=(1, 2))
    data = types.SimpleNamespace(
        settings=settings,
        splits={"test": split},
        description=lambda: {"name": "d", "kind": "real", "manifest_sha256": "0"},
    )
    monkeypatch.setattr(evaluate_retrieval.retrieval_data, "open_data", lambda _: data)
    table, dense = rng.integers(images, size=[300, 3]), split.tfidf.toarray()
    better = [int(dense[q] @ dense[second] > dense[q] @ dense[first]) for q, first, second in table]
    (tmp_path / "triplets.csv").write_text(
        "triplet_id,query_id,target_id1,target_id2\n"
        + "".join(f"{n},{q},{a},{b}\n" for n, (q, a, b) in enumerate(table))
    )
    (tmp_path / "answers.csv").write_text(
        "user_id,answer,triplet_id\n" + "".join(f"u,{one},{n}\n" for n, one in enumerate(better))
    )
    metrics = evaluate_retrieval.run(settings, method)["metrics"]
    assert metrics["test/study/triplets"] == 300
    # The users judge by the captions, as the oracle does; twice the same image is a tie.
    expected = {"text": pytest.approx(100, abs=2), "random": pytest.approx(50, abs=10)}
    assert metrics["test/study/normalised"] == expected[method]


def test_the_conventions_of_ndcg_are_settings():
    rng = np.random.default_rng(0)
    tfidf = scipy.sparse.csr_matrix(rng.random([12, 5]))
    split = types.SimpleNamespace(
        ids=np.arange(12), tfidf=tfidf, query_rows=lambda count: np.arange(12)
    )
    scores = rng.random([12, 12])

    def measured(**changes):
        settings = Settings("", "", r_grid=(1, 4, 8), **changes)
        data = types.SimpleNamespace(settings=settings, splits={"test": split})
        return retrieval_report.evaluate_scores(scores, data, "test")

    plain = measured()
    relevance = (tfidf @ tfidf.T).toarray()
    for name, value in (("gain", "exponential"), ("discount", "jarvelin"), ("ideal", "retrieved")):
        found = measured(**{f"ndcg_{name}": value})
        wanted = graded_ranking.ndcg(
            relevance, scores, (1, 4, 8), exclude=np.arange(12), **{name: value}
        )
        assert found["ndcg@8"] == pytest.approx(100 * wanted[:, 2].mean())
        assert found["ndcg@8"] != pytest.approx(plain["ndcg@8"])
        assert found["pcc@8"] == plain["pcc@8"]
