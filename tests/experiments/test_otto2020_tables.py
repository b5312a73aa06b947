"""The paper's printed numbers against each other: what can be recomputed is recomputed."""

import csv
import functools
import itertools
import pathlib

import numpy as np
import pytest

from experiments import common_flags
from imgtext_tf import relations
from imgtext_tf.metrics import agreement, classification

FOLDER = common_flags.FLAGFILES.parent / "tables"
FILES = sorted(FOLDER.glob("otto2020_table*.csv"))
CLASSES = relations.RELATIONS
METRICS = tuple(relations.METRIC_VALUES)
METRICS_OF = relations.METRICS_OF_RELATION


def rows_of(path: pathlib.Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@functools.cache
def table(number: int, *, corrected: bool = True) -> dict[tuple[str, str], str]:
    """(row, metric) -> the corrected value where there is one, or else the printed one."""
    return {
        (row["row"], row["metric"]): (corrected and row["corrected"]) or row["value"]
        for row in rows_of(FOLDER / f"otto2020_table{number}.csv")
    }


def confusion(number: int) -> np.ndarray:
    """[8, 9] counts; the last column is Undefined, as `confusion_matrix` has it."""
    cells = {metric: value for (_, metric), value in table(number).items()}
    columns = [*CLASSES, relations.UNDEFINED]
    return np.array(
        [[int(cells.get(f"test_balanced/confusion/{t}/{p}", 0)) for p in columns] for t in CLASSES]
    )


def prints_as(value: float, printed: str, slack: float = 1e-9) -> bool:
    """Whether a share is the printed percentage, rounded half up."""
    decimals = len(printed.partition(".")[2])
    return abs(100 * value - float(printed)) <= 0.5 * 10**-decimals + slack


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_form_of_the_tables(path):
    rows = rows_of(path)
    assert list(rows[0]) == ["row", "flagfile", "metric", "value", "unit", "note", "corrected"]
    keys = [(row["row"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        for name in ("value", "corrected"):
            assert not row[name] or np.isfinite(float(row[name]))
        # A number that is not printed, or printed wrongly, says why it is what it is.
        assert row["value"] or (row["corrected"] and row["note"].startswith("not printed"))
        assert row["note"] or not row["corrected"]
        if row["flagfile"]:
            assert common_flags.find_flagfile(row["flagfile"])


def test_seven_tables():
    assert [path.stem for path in FILES] == [f"otto2020_table{n}" for n in range(1, 8)]


def test_table_2_follows_from_table_1_once_corrected():
    def counts_of(number: int, **how: bool) -> dict[str, int]:
        items = table(number, **how).items()
        return {metric.removeprefix("pairs/"): int(value) for (_, metric), value in items}

    pairs = counts_of(1)
    assert sum(pairs[name] for name in CLASSES) == pairs.pop("pairs") == 224_856
    counts = {
        f"{metric} {value}": 0 for metric in METRICS for value in relations.METRIC_VALUES[metric]
    }
    for name, number in pairs.items():
        for metric, value in zip(METRICS, METRICS_OF[name], strict=True):
            counts[f"{metric} {value}"] += number
    assert counts_of(2) == counts
    printed = counts_of(2, corrected=False)
    assert {name for name in counts if printed[name] != counts[name]} == {"stat T", "stat 0"}


def votes_of_table_3() -> tuple[np.ndarray, np.ndarray]:
    """Given labels [800] and votes [800, 3] with the margins that the table's counts name."""
    cells = {metric: value for (_, metric), value in table(3).items()}
    hits, cast = (
        np.array([int(cells[f"votes_{name}/{label}"]) for label in CLASSES])
        for name in ("hit", "cast")
    )
    spare, per_pair = list(cast - hits), []
    for label in range(8):
        votes = [label] * hits[label]
        for other in sorted(range(8), key=lambda one: -spare[one]):
            while len(votes) < 300 and other != label and spare[other]:
                votes.append(other)
                spare[other] -= 1
        per_pair.append(votes + [agreement.UNSURE] * (300 - len(votes)))
    assert not any(spare)
    return np.repeat(np.arange(8), 100), np.array(per_pair).reshape(800, 3)


def test_table_3_counts_single_votes():
    given, votes = votes_of_table_3()
    assert (votes == agreement.UNSURE).sum() == 24 == int(table(3)[("annotators", "votes_unsure")])
    counts = agreement.vote_counts(given, votes, num_labels=8)
    for place, label in enumerate(CLASSES):
        for name in ("precision", "recall"):
            printed = table(3)[("annotators", f"vote_{name}/{label}")]
            assert prints_as(counts[name][place], printed), (label, name)
    pairs = [int(table(3)[("annotators", f"pairs/{label}")]) for label in CLASSES]
    assert pairs == confusion(4).sum(axis=1).tolist() and sum(pairs) == 798


@pytest.mark.parametrize(("number", "row", "hits"), [(4, "cascade", 593), (5, "classic", 645)])
def test_tables_4_and_5_from_their_confusion_matrices(number, row, hits):
    matrix = confusion(number)
    scores = classification.precision_recall_f1(matrix)
    for place, label in enumerate(CLASSES):
        assert (
            int(table(number)[(row, f"test_balanced/support/{label}")]) == scores["support"][place]
        )
        for name in ("precision", "recall"):
            printed = table(number)[(row, f"test_balanced/{name}/{label}")]
            assert prints_as(scores[name][place], printed), (label, name)
    assert np.trace(matrix) == hits and matrix.sum() == 798
    assert prints_as(classification.accuracy(matrix), table(7)[(row, "test_balanced/accuracy")])
    assert matrix[:, -1].sum() == {4: 27, 5: 0}[number]


def test_the_one_slip_of_tables_4_and_5():
    wrong = []
    for number, row in ((4, "cascade"), (5, "classic")):
        scores = classification.precision_recall_f1(confusion(number))
        for place, label in enumerate(CLASSES):
            for name in ("precision", "recall"):
                printed = table(number, corrected=False)[(row, f"test_balanced/{name}/{label}")]
                if not prints_as(scores[name][place], printed):
                    wrong.append((number, name, label))
    assert wrong == [(5, "recall", "Contrasting")]


def supports_of_metrics() -> dict[str, list[int]]:
    """Pairs of each value of each metric, from the rows of Table 5."""
    support = confusion(5).sum(axis=1)
    return {
        metric: [
            int(
                sum(
                    n
                    for n, name in zip(support, CLASSES, strict=True)
                    if METRICS_OF[name][place] == value
                )
            )
            for value in relations.METRIC_VALUES[metric]
        ]
        for place, metric in enumerate(METRICS)
    }


def solutions(metric: str, shares: dict, supports: list[int]) -> list[tuple]:
    """All (hits, predicted) per value that give the shares and predict 798 pairs in all."""
    options = []
    for value, support in zip(relations.METRIC_VALUES[metric], supports, strict=True):
        precision, recall = (
            shares[(metric, f"test_balanced/{n}/{metric} {value}")] for n in ("precision", "recall")
        )
        found = [
            (hits, predicted)
            for hits in range(support + 1)
            if prints_as(hits / support, recall)
            for predicted in range(max(hits, 1), 799)
            if prints_as(hits / predicted, precision)
        ]
        options.append(found)
    return [one for one in itertools.product(*options) if sum(p for _, p in one) == 798]


@pytest.mark.parametrize("metric", METRICS)
def test_table_6_has_one_solution_in_whole_numbers(metric):
    (solution,) = solutions(metric, table(6), supports_of_metrics()[metric])
    cells = table(6)
    for value, support, (hits, predicted) in zip(
        relations.METRIC_VALUES[metric], supports_of_metrics()[metric], solution, strict=True
    ):
        expected = {"hits": hits, "support": support, "predicted": predicted}
        for name, number in expected.items():
            assert int(cells[(metric, f"test_balanced/{name}/{metric} {value}")]) == number
    accuracy = sum(hits for hits, _ in solution) / 798
    assert prints_as(accuracy, table(7)[(metric, "test_balanced/accuracy")])


def test_table_6_as_printed_is_impossible_for_sc():
    printed = table(6, corrected=False)
    assert solutions("sc", printed, supports_of_metrics()["sc"]) == []
    for metric in ("cmi", "stat"):
        assert len(solutions(metric, printed, supports_of_metrics()[metric])) == 1


def predicted_margins(metric: str) -> dict:
    """Value -> pairs that the metric's classifier predicted with it."""
    return {
        value: int(table(6)[(metric, f"test_balanced/predicted/{metric} {value}")])
        for value in relations.METRIC_VALUES[metric]
    }


def undefined_leaves(seed: int) -> list[tuple]:
    """27 discarded leaves with what Table 4's classes leave of Table 6's predicted values."""
    counts = confusion(4)[:, :-1].sum(axis=0)
    left = {metric: predicted_margins(metric) for metric in METRICS}
    for number, name in zip(counts, CLASSES, strict=True):
        for metric, value in zip(METRICS, METRICS_OF[name], strict=True):
            left[metric][value] -= int(number)
    # With cmi = 1 only sc = 0 is discarded; with cmi = 0 and sc = 0 or 1 only stat = T or I is.
    overlap = [(1, 0)] * left["cmi"][1]
    unequal = [(0, 0)] * (left["sc"][0] - left["cmi"][1]) + [(0, 1)] * left["sc"][1]
    contradicting = [(0, -1)] * left["sc"][-1]
    assert len(overlap + unequal + contradicting) == 27 == sum(left["stat"].values())
    rng = np.random.default_rng(seed)
    status = rng.permutation(["T"] * left["stat"]["T"] + ["I"] * left["stat"]["I"]).tolist()
    rest = rng.permutation(status[len(unequal) :] + ["0"] * left["stat"]["0"]).tolist()
    pairs = zip(unequal + overlap + contradicting, status[: len(unequal)] + rest, strict=True)
    return [(*pair, stat) for pair, stat in pairs]


@pytest.mark.parametrize("seed", range(3))
def test_the_cascade_gives_table_4s_counts_from_table_6s_predictions(seed):
    """The tables do not say which 27 triples were undefined; any that fit give the same counts."""
    counts = confusion(4)[:, :-1].sum(axis=0)
    leaves = undefined_leaves(seed)
    assert len(leaves) == 27
    for number, name in zip(counts, CLASSES, strict=True):
        leaves += [METRICS_OF[name]] * int(number)
    predicted = dict(zip(METRICS, map(list, zip(*leaves, strict=True)), strict=True))
    for metric in METRICS:
        margins = {v: predicted[metric].count(v) for v in relations.METRIC_VALUES[metric]}
        assert margins == predicted_margins(metric)
    for order in itertools.permutations(METRICS):
        classes = relations.cascade(predicted, order=order)
        assert [classes.count(name) for name in CLASSES] == counts.tolist()
        assert classes.count(relations.UNDEFINED) == 27


def test_table_7_majority_rows():
    supports = {**supports_of_metrics(), "classic": confusion(5).sum(axis=1).tolist()}
    for metric, counts in supports.items():
        truth = np.repeat(np.arange(len(counts)), counts)
        share = classification.majority_baseline(truth)
        assert prints_as(share, table(7)[(metric, "test_balanced/majority")])
        if metric in ("cmi", "sc"):
            printed = table(7)[("predecessor", f"{metric}/test_balanced/accuracy")]
            assert prints_as(share, printed)
