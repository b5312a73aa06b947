"""The benchmark at tiny sizes: each part has its rows, and what is absent is named. No times."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarks import (
    classic,
    matching,
    measure,
    metrics,
    page,
    phrases,
    pipeline,
    retrieval,
    search,
    torch_peer,
    workers,
)
from experiments.benchmarks.measure import Comparison, NotRunError, Outcome, Row
from experiments.benchmarks.place import Place
from experiments.relation_flags import Settings

MATCHING = matching.Sizes(
    batch_size=4, units=6, word_dim=5, features=7, steps=2, captions=60, words=30
)


def rows_of(part, place, sizes):
    """Title -> way -> its row, of all comparisons of a part."""
    found = {}
    for comparison in part.comparisons(place, sizes):
        outcome = measure.compare(comparison, rounds=1)
        found[outcome.title] = {row.way: row for row in outcome.rows}
        assert page.table(outcome).count("\n") == len(outcome.rows) + 1
        assert all(row.not_run or row.seconds[0] > 0 for row in outcome.rows)
    return found


def not_run(rows):
    return {way for way, row in rows.items() if row.not_run}


def without(monkeypatch, *missing):
    """These packages cannot be found, whatever is installed."""
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)


# The core ----------------------------------------------------------------------------------------


def test_ways_take_turns_and_ratios_are_those_of_a_round():
    calls = []

    def way(name, seconds):
        def run():
            calls.append(name)
            return seconds[calls.count(name) - 1]

        return run

    outcome = measure.compare(
        Comparison(
            "title",
            {
                "absent": "no such package",
                "slow": way("slow", [3.0, 2.0, 6.0]),
                "fast": way("fast", [1.0, 2.0, 3.0]),
            },
            unit="pairs",
            amount=10,
        ),
        rounds=3,
    )
    assert calls == ["slow", "fast"] * 3
    assert outcome.rows[0] == Row("absent", not_run="no such package")
    assert outcome.rows[2].ratios == (3.0, 1.0, 2.0)
    lines = page.table(outcome).splitlines()
    assert lines[0] == "| way | median | spread | pairs/s | times as fast as the first |"
    assert lines[2] == "| absent | not run: no such package |  |  |  |"
    assert lines[3] == "| slow | 3 s | 2 to 6 | 3.33 | 1.00 (1.00 to 1.00) |"
    assert lines[4] == "| fast | 2 s | 1 to 3 | 5 | 2.00 (1.00 to 3.00) |"


def test_an_expensive_comparison_ends_after_three_rounds():
    clock = iter(np.linspace(1, 2, 100))
    comparison = Comparison("title", {"one": lambda: float(next(clock))})
    assert len(measure.compare(comparison, rounds=9, budget=0).rows[0].seconds) == 3
    assert len(measure.compare(comparison, rounds=9).rows[0].seconds) == 9


def test_a_comparison_of_which_nothing_can_be_run():
    outcome = measure.compare(Comparison("title", {"one": "no data", "two": "no data"}), rounds=2)
    assert [row.not_run for row in outcome.rows] == ["no data"] * 2
    assert page.table(outcome).count("not run: no data") == 2


def test_a_timer_calls_once_before_it_measures_and_fills_its_time():
    calls = []
    measured = measure.timer(lambda: calls.append(1), units=4)
    assert measured() > 0
    # Once for graphs, once to learn how long it takes, then as often as allowed.
    assert len(calls) == 2 + 1000
    measured()
    assert len(calls) == 2 + 2 * 1000


def test_a_slow_function_is_called_once_a_measurement(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: float(next(clock)))
    calls = []
    assert measure.timer(lambda: calls.append(1), units=2, warm=False)() == 0.5
    assert len(calls) == 1


def test_an_input_pipeline_is_timed_from_its_second_batch():
    drawn = []

    class Batches:
        def __iter__(self):
            for number in range(3):
                drawn.append(number)
                yield number

    measured = measure.draining(Batches(), units=2)
    assert measured() >= 0 and measured() >= 0
    assert drawn == [0, 1, 2] * 2


def test_ways_that_disagree_are_not_compared():
    with pytest.raises(ValueError, match="mining: the ways give different results"):
        measure.must_agree(False, "mining")


# The parts ---------------------------------------------------------------------------------------


def test_retrieval(tmp_path):
    """Both ways give the same results: the part itself checks it."""
    sizes = retrieval.Sizes(
        maps=2, map_shape=(5, 7), channels=6, pool=120, pool_queries=8, positives=3, dimensions=7,
        keep=5, queries=5, images=200,
    )  # fmt: skip
    found = rows_of(retrieval, Place(tmp_path), sizes)
    assert [len(rows) for rows in found.values()] == [3, 2, 2, 2]
    assert not any(not_run(rows) for rows in found.values())


def test_metrics(tmp_path, monkeypatch):
    without(monkeypatch, "torch", "torchmetrics")
    found = rows_of(metrics, Place(tmp_path), metrics.Sizes(images=20, captions=60, dim=5))
    one, two = found.values()
    assert len(one) == 2 and not not_run(one)
    assert not_run(two) == {"torchmetrics' retrieval_recall, a query at a time"}


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "torchmetrics"))),
    reason="PyTorch and torchmetrics are peers that are not installed",
)
def test_pytorch_answers_from_a_process_of_its_own(tmp_path):
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.7, 0.1]], "float32")
    arrays = {"scores": scores, "image_of": np.array([0, 1]), "cutoff": 1}
    found = []
    measured = torch_peer.started("recall", tmp_path, arrays, check=found.append)
    assert measured() > 0 and measured() > 0
    assert found == [0.5, 0.5]


def test_a_peer_that_ends_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(torch_peer._NEEDS, "nothing", ())
    assert "ended with code 1" in torch_peer.started("nothing", tmp_path, {"scores": 0})


def test_search(tmp_path, monkeypatch):
    without(monkeypatch, "faiss", "scann")
    found = rows_of(search, Place(tmp_path), search.Sizes(entries=(400,), dim=8, queries=5))
    (rows,) = found.values()
    assert not_run(rows) == {"faiss", "scann"}
    assert "imgtext_tf[ann]" in rows["faiss"].not_run
    assert rows["exact"].facts["recall@10"] == "1.000"
    assert float(rows["ivf"].facts["recall@10"]) > 0


@pytest.mark.heavy
def test_phrases(tmp_path, monkeypatch):
    sizes = phrases.Sizes(classes=(100, 300), dim=8, channels=4, batch_size=4, num_sampled=20)
    # Enough for the tables of 300 queries, not for 300 x 4 scores.
    monkeypatch.setattr(phrases, "memory", lambda: 2 * 4 * 300 * 8 * 6)
    found = rows_of(phrases, Place(tmp_path), sizes)
    small, large, ours = found.values()
    assert not not_run(small) and list(ours) == ["100", "300"]
    assert not_run(large) == {"full softmax, Keras' Adam"}


@pytest.mark.heavy
def test_matching(tmp_path, monkeypatch):
    without(monkeypatch, "torch")
    step, look = rows_of(matching, Place(tmp_path), MATCHING).values()
    assert len(step) == 5 and not_run(step) == {"PyTorch GRU, packed"}
    assert list(look) == ["without", "with"]


def test_both_grus_are_the_same_model():
    ours, theirs = (matching.build(MATCHING, 9, keras_gru=keras_gru) for keras_gru in (False, True))
    theirs.set_weights(ours.get_weights())
    ids = np.array([[2, 5, 3, 0], [2, 4, 4, 3]], "int32")
    np.testing.assert_allclose(
        ours.predict_texts({"caption_ids": ids}), theirs.predict_texts({"caption_ids": ids}),
        atol=1e-6,
    )  # fmt: skip


def test_two_workers_need_two_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: {0}, raising=False)
    with pytest.raises(NotRunError, match="two cores"):
        list(workers.comparisons(Place(tmp_path), workers.Sizes()))


@pytest.mark.heavy
def test_workers(tmp_path):
    sizes = workers.Sizes(model=MATCHING, steps=5)
    (rows,) = rows_of(workers, Place(tmp_path), sizes).values()
    assert list(rows) == ["one worker", "two workers, multi_worker"]


@pytest.mark.heavy
def test_pipeline_on_drawn_scenes(tmp_path):
    place = Place(tmp_path, quick=True, pixels=32)
    sizes = pipeline.Sizes(batch_size=4, batches=1, image_size=16, shards=2, pairs=3)
    reading, writing = rows_of(pipeline, place, sizes).values()
    assert len(reading) == 4 and len(writing) == 4


@pytest.mark.heavy
def test_classic(tiny_data, tmp_path):
    settings = Settings(
        data_dir=str(tiny_data),
        run_dir="",
        backbone="small_cnn",
        backbone_weights="none",
        image_size=32,
        cache_features=str(tmp_path / "cache"),
        vectors="learnt",
        # Recurrent layers take minutes to build so often, and are measured like any others.
        inputs="image",
        fc_units=(8,),
        batch_size=8,
        max_sentences=3,
        max_words=6,
    )
    place = Place(tmp_path, relations=settings)
    padding, features, _ = rows_of(
        classic, place, classic.Sizes(steps=1, pipeline_steps=1)
    ).values()
    assert list(padding)[0] == "to 3 x 6, all sentences encoded" and len(padding) == 3
    assert list(features) == ["live", "cached"]


# The command -------------------------------------------------------------------------------------


class Broken:
    MINUTES, QUICK = 1, None

    def __init__(self, title, error):
        self.TITLE, self.error = title, error

    def comparisons(self, place, sizes):
        raise self.error
        yield


def test_a_page_is_written_with_machine_versions_and_raw_numbers(tmp_path, monkeypatch):
    monkeypatch.setitem(benchmark.PARTS, "absent", Broken("Absent", NotRunError("no data here")))
    output = tmp_path / "docs" / "speed.md"
    settings = benchmark.Settings(str(output), parts=("absent", "metrics"), quick=True, rounds=2)
    text = benchmark.run(settings, sizes={"metrics": metrics.Sizes(20, 60, 5)})
    assert output.read_text() == text
    assert "not run: no data here" in text and "tensorflow 2.21" in text
    assert "cores" in text and "of memory" in text and "scikit-learn" in text
    assert "they say nothing of speed" in text
    assert text.count("\n## ") == 2 and text.count("\n### ") == 3
    parts = json.loads(output.with_suffix(".json").read_text())["parts"]
    assert list(parts) == ["Metrics (Liu2019)", "Absent"]
    assert len(parts["Metrics (Liu2019)"]["outcomes"][0]["rows"][0]["seconds"]) == 2


def test_parts_of_an_earlier_page_are_kept(tmp_path, monkeypatch):
    output = tmp_path / "speed.md"
    sizes = {"metrics": metrics.Sizes(20, 60, 5)}

    def run(*parts, commit, keep=True):
        found = page.machine() | {"git_commit": commit}
        with monkeypatch.context() as patch:
            patch.setattr(page, "machine", lambda: found)
            settings = benchmark.Settings(str(output), parts=parts, quick=True, rounds=1, keep=keep)
            return benchmark.run(settings, sizes=sizes)

    monkeypatch.setitem(benchmark.PARTS, "absent", Broken("Absent", NotRunError("no data here")))
    run("metrics", "absent", commit="a" * 40)
    text = run("absent", commit="b" * 40)
    first, second = text.split("\n## ")[1:]
    assert first.startswith("Metrics (Liu2019)\n\nMeasured before, at commit aaaaaaaaa.")
    assert "| ours, in blocks, ties counted | " in first
    assert second.startswith("Absent\n\n### All comparisons")
    assert "Metrics" not in run("absent", commit="b" * 40, keep=False)
    machine = json.loads(output.with_suffix(".json").read_text())
    machine["machine"]["cores"] = 99
    output.with_suffix(".json").write_text(json.dumps(machine))
    with pytest.raises(ValueError, match="cores were not those of now"):
        run("metrics", commit="c" * 40)


def test_a_part_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(benchmark.PARTS, "bad", Broken("Bad", ValueError("ways differ")))
    monkeypatch.setitem(benchmark.PARTS, "absent", Broken("Absent", NotRunError("no data here")))
    output = tmp_path / "speed.md"
    with pytest.raises(RuntimeError, match="ways differ"):
        benchmark.run(benchmark.Settings(str(output), parts=("bad", "absent"), quick=True))
    text = output.read_text()
    assert "failed with ValueError: ways differ" in text and "no data here" in text


def test_every_part_has_what_the_command_asks_for():
    for name, part in benchmark.PARTS.items():
        assert importlib.import_module(f"experiments.benchmarks.{name}") is part
        assert part.TITLE and part.MINUTES > 0
        assert isinstance(part.QUICK, part.Sizes)


def test_a_cell_may_hold_any_text():
    table = page.table(Outcome("title", (Row("a|b", not_run="c|d"),)))
    assert r"| a\|b | not run: c\|d |" in table
