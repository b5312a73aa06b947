"""Tables of a report in Markdown: printed numbers, our means and spreads, matrices, questions."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from imgtext_tf.report import Cell, Run, mean_and_spread, paired_difference

_CONFUSION = "/confusion/"
# Pairs of seeds that it takes to answer a question.
_ENOUGH = 5


def numbers_and_matrices(
    cells: Sequence[Cell], runs: Sequence[Run], *, reason: str = "no run"
) -> str:
    """A table: one line a number, with one column a data set; or matrices for confusions.

    Args:
        cells: the paper's numbers.
        runs: ours; those of other rows are left out.
        reason: why a cell without a run has none.
    """
    matrices = [cell for cell in cells if _CONFUSION in cell.metric]
    numbers = [cell for cell in cells if _CONFUSION not in cell.metric]
    layout = _wide if _is_wide(numbers) else _numbers
    parts = [layout(numbers, runs, reason)] if numbers else []
    for row in dict.fromkeys(cell.row for cell in matrices):
        parts.append(_matrices([cell for cell in matrices if cell.row == row], runs))
    return "\n\n".join(parts)


def _is_wide(cells: Sequence[Cell]) -> bool:
    """Whether many rows share a few metrics: then a line is a row, not a number."""
    rows, metrics = ({getattr(cell, name) for cell in cells} for name in ("row", "metric"))
    return len(rows) > 3 and 1 < len(metrics) <= 9 and len(cells) >= 2 * len(rows)


def _wide(cells: Sequence[Cell], runs: Sequence[Run], reason: str) -> str:
    """One line a row and source, one column a metric."""
    metrics = list(dict.fromkeys(cell.metric for cell in cells))
    lines = [["row", "source", *metrics], ["---"] * (len(metrics) + 2)]
    notes = []
    for row in dict.fromkeys(cell.row for cell in cells):
        of_row = {cell.metric: cell for cell in cells if cell.row == row}
        printed = {name: _text(cell.value, cell.decimals) for name, cell in of_row.items()}
        if any(printed.values()):
            lines.append([row, "printed", *(printed.get(name, "") for name in metrics)])
        names = dict.fromkeys(run.data for run in runs if run.row == row)
        for name in names:
            texts = [_ours(of_row[m], runs, name) if m in of_row else "" for m in metrics]
            lines.append([row, f"ours, {name}", *texts])
        if not names and not any(printed.values()):
            lines.append([row, f"not run: {reason}", *[""] * len(metrics)])
        of_notes = dict.fromkeys(cell.note for cell in of_row.values() if cell.note)
        notes += [f"- {row}: {note}" for note in of_notes]
    return _joined(lines) + ("\n\n" + "\n".join(notes) if notes else "")


def _numbers(cells: Sequence[Cell], runs: Sequence[Run], reason: str) -> str:
    rows = {cell.row for cell in cells}
    names = list(dict.fromkeys(run.data for run in runs if run.row in rows))
    corrected = any(cell.corrected is not None for cell in cells)
    # What only we measure has no printed number to stand beside.
    printed = any(cell.value is not None for cell in cells)
    head = ["row", "metric", *(["paper"] if printed else [])]
    head += ["corrected"] if corrected else []
    columns = [[name, "difference"] if printed else [name] for name in names] or [["ours"]]
    head += [title for column in columns for title in column]
    lines = [head, ["---"] * len(head)]
    for cell in cells:
        line = [cell.row, cell.metric]
        line += [_text(cell.value, cell.decimals)] if printed else []
        line += [_text(cell.corrected, cell.decimals)] if corrected else []
        target = cell.value if cell.corrected is None else cell.corrected
        for name in names:
            values = _values(cell, runs, name)
            line.append(_ours(cell, runs, name) or f"not run: {reason}")
            mean = mean_and_spread(values)[0] if values else None
            both = mean is not None and target is not None
            difference = f"{mean - target:+.{cell.decimals}f}" if both else ""
            line += [difference] if printed else []
        lines.append(line if names else [*line, f"not run: {reason}"])
    notes = _notes(cells)
    return _joined(lines) + ("\n\n" + "\n".join(notes) if notes else "")


def _notes(cells: Sequence[Cell]) -> list[str]:
    """Each note once, with the numbers that it is of: all of up to three, else the first."""
    of_note = collections.defaultdict(list)
    for cell in cells:
        if cell.note:
            of_note[cell.note].append(f"{cell.row}, {cell.metric}")
    return [
        f"- {'; '.join(names if len(names) <= 3 else names[:1])}"
        + (f" and {len(names) - 1} more: {note}" if len(names) > 3 else f": {note}")
        for note, names in of_note.items()
    ]


def _values(cell: Cell, runs: Sequence[Run], data: str) -> list[float]:
    scale = 100 if cell.unit == "%" else 1
    return [
        scale * run.metrics[cell.metric]
        for run in runs
        if run.row == cell.row and run.data == data and cell.metric in run.metrics
    ]


def _text(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:,.{decimals}f}"


def _ours(cell: Cell, runs: Sequence[Run], data: str) -> str:
    """The mean and spread over seeds, or one run's number with its interval; "" without a run."""
    values = _values(cell, runs, data)
    if not values:
        return ""
    mean, spread = mean_and_spread(values)
    text = _text(mean, cell.decimals)
    if spread is not None:
        return f"{text} ± {_text(spread, cell.decimals)} ({len(values)} seeds)"
    ends = [
        _values(dataclasses.replace(cell, metric=f"{cell.metric}_{end}"), runs, data)
        for end in ("low", "high")
    ]
    if not all(ends):
        return text
    low, high = (_text(*end, cell.decimals) for end in ends)
    return f"{text} ({low} to {high})"


def _matrices(cells: Sequence[Cell], runs: Sequence[Run]) -> str:
    """The paper's confusion matrix and, for each data set, the mean of ours."""
    prefix = cells[0].metric.split(_CONFUSION)[0]
    counts = {tuple(c.metric.split(_CONFUSION)[1].split("/")): c.value for c in cells}
    truths = list(dict.fromkeys(truth for truth, _ in counts))
    columns = list(dict.fromkeys(predicted for _, predicted in counts))
    parts = [_matrix(f"{cells[0].row}, the paper's", counts, truths, columns)]
    ours = [run for run in runs if run.row == cells[0].row]
    for name in dict.fromkeys(run.data for run in ours):
        chosen = [run.metrics for run in ours if run.data == name]
        mean = {
            (truth, column): float(
                np.mean([m.get(f"{prefix}{_CONFUSION}{truth}/{column}", 0) for m in chosen])
            )
            for truth in truths
            for column in columns
        }
        seeds = "" if len(chosen) == 1 else f", mean of {len(chosen)} seeds"
        parts.append(_matrix(f"{cells[0].row}, ours on {name}{seeds}", mean, truths, columns))
    return "\n\n".join(parts)


def _matrix(
    title: str, counts: Mapping[tuple[str, str], float], truths: list[str], columns: list[str]
) -> str:
    def count(truth: str, column: str) -> float:
        return counts.get((truth, column)) or 0

    def share(part: float, whole: float) -> str:
        return f"{100 * part / whole:.1f}" if whole else "–"

    lines = [[title, *columns, "sum", "recall, %"], ["---"] * (len(columns) + 3)]
    for truth in truths:
        row = [count(truth, column) for column in columns]
        numbers = [f"{value:g}" if value % 1 == 0 else f"{value:.1f}" for value in row]
        lines.append([truth, *numbers, f"{sum(row):g}", share(count(truth, truth), sum(row))])
    sums = {column: sum(count(truth, column) for truth in truths) for column in columns}
    precision = [share(count(c, c), sums[c]) if c in truths else "–" for c in columns]
    hits, total = sum(count(t, t) for t in truths), sum(sums.values())
    lines.append(["precision, %", *precision, f"{total:g}", f"accuracy {share(hits, total)}"])
    return _joined(lines)


def questions(claims: Iterable[Mapping[str, str]], runs: Sequence[Run]) -> str:
    """Answers questions of the kind "does A beat B?" by runs of the same seeds and data.

    Args:
        claims: each with `question`, `first` and `second` (rows), `metric`, and `second_metric`
            where the second row calls it otherwise. A second row of one run without training
            steps stands against all seeds of the first.
        runs: ours.
    """
    lines = [["question", "data", "difference", "95 % interval", "seeds", "answer"], ["---"] * 6]
    for claim in claims:
        names = dict.fromkeys(run.data for run in runs if run.row == claim["first"])
        for name in names or ["–"]:
            first = _by_seed(runs, claim["first"], name, claim["metric"])
            metric = claim.get("second_metric") or claim["metric"]
            second = _by_seed(runs, claim["second"], name, metric)
            if len(second) == 1 and _is_fixed(runs, claim["second"], name):
                second = dict.fromkeys(first, *second.values())
            lines.append([claim["question"], name, *_answer(paired_difference(first, second))])
    return _joined(lines)


def _by_seed(runs: Sequence[Run], row: str, data: str, metric: str) -> dict[int, float]:
    return {
        run.seed: run.metrics[metric]
        for run in runs
        if (run.row, run.data) == (row, data) and metric in run.metrics
    }


def _is_fixed(runs: Sequence[Run], row: str, data: str) -> bool:
    """Whether a row was fitted, not trained in steps, so that every seed gives the same."""
    return all(run.steps == 0 for run in runs if (run.row, run.data) == (row, data))


def _answer(outcome: Mapping[str, float]) -> list[str]:
    """Difference, interval, seeds and the answer they allow."""
    pairs = str(outcome["pairs"])
    if not outcome["pairs"]:
        return ["", "", pairs, "not run"]
    low, high = outcome.get("low", -math.inf), outcome.get("high", math.inf)
    answer = "yes" if low > 0 else "no, the other way round" if high < 0 else "not settled"
    if outcome["pairs"] < _ENOUGH:  # an interval over so few says little
        answer = f"not settled: fewer than {_ENOUGH} seeds"
    difference, interval = f"{outcome['mean']:+.4f}", ""
    if outcome["pairs"] > 1:
        difference += f" ± {outcome['spread']:.4f}"
        interval = f"{low:+.4f} to {high:+.4f}"
    return [difference, interval, pairs, answer]


def run_list(runs: Sequence[Run]) -> str:
    """Every run in a line: setting, data, seed, steps, time, device, command."""
    lines = [["row", "data", "seed", "steps", "minutes", "device", "command"], ["---"] * 7]
    for run in runs:
        minutes = f"{run.seconds / 60:.1f}"
        lines.append(
            [run.row, run.data, str(run.seed), f"{run.steps:,}", minutes, run.device]
            + [f"`{run.command}`"]
        )
    return _joined(lines)


def _joined(lines: Iterable[Sequence[str]]) -> str:
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)
