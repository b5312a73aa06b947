"""The papers' printed numbers and the results of our runs; `markdown` prints both.

A table is a CSV file: `row,flagfile,metric,value,unit,note,corrected`. `row` names a setting,
`metric` one of the metrics of its runs' `result.json`, `value` is what the paper prints (empty
where it prints nothing), `corrected` what the paper's own data say where that is something else.
A run belongs to a row by the folder it lies in: `<results>/<key>/<row>/<file>.json`.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgtext_tf import untrusted

_RESAMPLES = 10_000


class ReportError(untrusted.ShortError, ValueError):
    """A table or a result cannot be read."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of a table, as the paper prints it.

    Attributes:
        row: the setting.
        metric: name in a run's metrics.
        value: the printed number; None where nothing is printed.
        unit: such as "%", which our shares in [0, 1] are brought to.
        note: where the number comes from, or what is wrong with it.
        corrected: the number that the paper's own data give; None where it is the printed one.
        flagfile: the setting's flags.
        decimals: places behind the point that the paper prints.
    """

    row: str
    metric: str
    value: float | None
    unit: str = ""
    note: str = ""
    corrected: float | None = None
    flagfile: str = ""
    decimals: int = 1


@dataclasses.dataclass(frozen=True)
class Run:
    """One run's outcome.

    Attributes:
        row: the setting.
        data: name of the data set.
        seed: of the run.
        metrics: name -> value.
        command: that made it.
        steps: of training.
        seconds: of training.
        device: it ran on.
        digest: of the data set's manifest.
    """

    row: str
    data: str
    seed: int
    metrics: Mapping[str, float]
    command: str = ""
    steps: int = 0
    seconds: float = 0.0
    device: str = ""
    digest: str = ""


def read_table(path: str | os.PathLike) -> list[Cell]:
    """Reads a table of printed numbers.

    Raises:
        ReportError: naming the file and the line that does not fit.
    """
    cells = []
    with open(path, encoding="utf-8", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                cells.append(
                    Cell(
                        row["row"],
                        row["metric"],
                        _number(row["value"]),
                        row["unit"],
                        row.get("note") or "",
                        _number(row.get("corrected")),
                        row.get("flagfile") or "",
                        _decimals(row["value"] or row.get("corrected") or "", row["unit"]),
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ReportError(
                    f"{path}, line {line}: {error!r}; write row,flagfile,metric,value,unit,note"
                ) from error
    return cells


def _decimals(text: str, unit: str) -> int:
    if text:
        return len(text.partition(".")[2])
    return {"%": 1, "points": 1, "pairs": 0}.get(unit, 3)


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def read_runs(folder: str | os.PathLike) -> list[Run]:
    """Reads all results of one paper, `<folder>/<row>/<file>.json`, in the order of their names.

    Data sets that share a name but differ are told apart by the digest of their manifest, and drawn
    data are called synthetic.

    Raises:
        ReportError: naming a file that is no result.
    """
    found, digests = [], collections.defaultdict(set)
    for path in sorted(Path(folder).glob("*/*.json")):
        try:
            result = checked_result(untrusted.read_json(path), path)
            data = result["dataset"]
            name = data["name"] + " (synthetic)" * (data.get("kind") == "synthetic")
            digests[name].add(data.get("manifest_sha256", ""))
            found.append(
                Run(
                    path.parent.name,
                    name,
                    result["seed"],
                    result["metrics"],
                    result.get("command", ""),
                    result.get("steps", 0),
                    result.get("seconds", 0.0),
                    _device(result.get("environment", {})),
                    data.get("manifest_sha256", ""),
                )
            )
        except (TypeError, ValueError) as error:
            raise ReportError(f"{path} is no result of a run: {error}") from error
    return [
        dataclasses.replace(run, data=f"{run.data} {run.digest[:8]}")
        if len(digests[run.data]) > 1
        else run
        for run in found
    ]


def checked_result(result: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    """A result as a run writes it, without metrics that have no value (NaN).

    Raises:
        ReportError: naming the file and the field that is missing or of another kind.
    """
    kinds = {"dataset": dict, "metrics": dict, "seed": int}
    kinds |= {"environment": dict} if "environment" in result else {}
    try:
        untrusted.need(result, kinds, path)
        untrusted.need(result["dataset"], {"name": str}, path)
        metrics = {name: value for name, value in result["metrics"].items() if value is not None}
        untrusted.need(metrics, dict.fromkeys(metrics, (int, float)), path)
    except untrusted.DamagedError as error:
        raise ReportError(str(error)) from None
    return {**result, "metrics": metrics}


def _device(environment: Mapping[str, Any]) -> str:
    if environment.get("device", "CPU") != "CPU":
        return environment["device"]
    return f"{environment.get('cpu_cores', '?')} cores, {environment.get('cpu', 'CPU')}"


def portable(value: Any) -> Any:
    """A copy of a result without the folders of the machine: `/a/b/c` becomes `c`."""
    if isinstance(value, str):
        return re.sub(r"(?<![\w.:/])(?:/[\w.+@-]+)+/([\w.+@-]+)", r"\1", value)
    if isinstance(value, Mapping):
        return {name: portable(item) for name, item in value.items()}
    return [portable(item) for item in value] if isinstance(value, list) else value


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the standard deviation of single values (n - 1); None for a single one."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None


def paired_difference(
    first: Mapping[Any, float], second: Mapping[Any, float], *, seed: int = 0
) -> dict[str, float]:
    """How much more the first has than the second, over the keys that both have (seeds).

    Returns:
        `pairs`, and where there are any `mean`; from two pairs on `spread`, the standard deviation
        of single differences, and `low` and `high`, the 95 % percentile bootstrap interval of the
        mean over the pairs.
    """
    keys = sorted(first.keys() & second.keys())
    differences = np.array([first[key] - second[key] for key in keys])
    outcome = {"pairs": len(keys)}
    if len(keys):
        outcome["mean"] = float(differences.mean())
    if len(keys) > 1:
        draws = np.random.default_rng(seed).integers(0, len(keys), (_RESAMPLES, len(keys)))
        low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
        spread = mean_and_spread(differences)[1]
        outcome |= {"spread": spread, "low": float(low), "high": float(high)}
    return outcome
