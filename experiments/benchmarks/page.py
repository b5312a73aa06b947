"""The outcomes of a benchmark as a page of Markdown: machine, versions, a table a comparison."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.benchmarks.measure import Outcome, Row
from experiments.benchmarks.place import memory
from imgtext_tf import runs

# What a page says of its machine that must be the same for parts to stand together.
_SAME = ("cpu", "cores", "memory", "device", "versions")
PEERS = ("scikit-learn", "faiss-cpu", "scann", "torch", "torchmetrics")


@dataclasses.dataclass(frozen=True)
class Part:
    """The outcomes of a part's comparisons, and the commit that they were measured at."""

    outcomes: Sequence[Outcome]
    git_commit: str


def earlier(path: str, of: Mapping[str, Any]) -> dict[str, Part]:
    """The parts of an earlier page: title -> part; none where there is no such page.

    Args:
        path: of the JSON file beside the page.
        of: `machine()`.

    Raises:
        ValueError: naming what differs, if they are of another machine or of other versions.
    """
    if not os.path.exists(path):
        return {}
    found = runs.read_json(path)
    other = [name for name in _SAME if found["machine"][name] != of[name]]
    if other:
        raise ValueError(
            f"{path}: {', '.join(other)} were not those of now; measure all parts, or choose "
            "another --output"
        )
    return {
        title: Part(
            [
                Outcome(**outcome | {"rows": tuple(Row(**row) for row in outcome["rows"])})
                for outcome in part["outcomes"]
            ],
            part["git_commit"],
        )
        for title, part in found["parts"].items()
    }


def machine() -> dict[str, Any]:
    """What the measurements were made on: hardware, system, versions."""
    found = runs.environment()
    versions = dict(found["versions"])
    for peer in PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[peer] = importlib.metadata.version(peer)
    return {
        "cpu": found["cpu"],
        "cores": found["cpu_cores"],
        "memory": f"{memory() / 2**30:.0f} GB",
        "device": found["device"],
        "system": found["platform"],
        "load before the start": f"{os.getloadavg()[0]:.1f}",
        "versions": versions,
        "git_commit": found["git_commit"],
    }


def write(head: Sequence[str], of: Mapping[str, Any], parts: Mapping[str, Part]) -> str:
    """A page of Markdown.

    Args:
        head: lines of a list: how it was measured.
        of: `machine()`.
        parts: title -> part.
    """
    versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    facts = [
        f"machine: {of['cpu']}, {of['cores']} cores, {of['memory']} of memory, {of['device']}",
        f"system: {of['system']}, load {of['load before the start']} before the start",
        f"versions: {versions}",
        *head,
    ]
    blocks = ["# Speed", "\n".join(f"- {fact}" for fact in facts)]
    for title, part in parts.items():
        blocks.append(f"## {title}")
        if part.git_commit != of["git_commit"]:
            blocks.append(f"Measured before, at commit {part.git_commit[:9]}.")
        for outcome in part.outcomes:
            blocks += [f"### {outcome.title}", *filter(None, [outcome.note]), table(outcome)]
    return "\n\n".join(blocks) + "\n"


def table(outcome: Outcome) -> str:
    """A Markdown table: a row a way; median, smallest and largest of the rounds."""
    rate = [f"{outcome.unit}/s"] if outcome.unit else []
    more = list(dict.fromkeys(name for row in outcome.rows for name in row.facts))
    header = ["way", "median", "spread", *rate, "times as fast as the first", *more]
    lines = [header, ["---"] * len(header)]
    for row in outcome.rows:
        if row.not_run:
            lines.append([row.way, f"not run: {row.not_run}", *[""] * (len(header) - 2)])
        else:
            speed = [_number(outcome.amount / np.median(row.seconds))] if rate else []
            facts = [row.facts.get(name, "") for name in more]
            lines.append([row.way, *_times(row), *speed, _ratio(row), *facts])
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _times(row: Row) -> tuple[str, str]:
    low, middle, high = np.quantile(row.seconds, [0, 0.5, 1])
    unit, factor = ("s", 1.0) if middle >= 1 else ("ms", 1e3) if middle >= 1e-3 else ("µs", 1e6)
    texts = [_number(value * factor) for value in (low, middle, high)]
    return f"{texts[1]} {unit}", f"{texts[0]} to {texts[2]}"


def _ratio(row: Row) -> str:
    low, middle, high = np.quantile(row.ratios, [0, 0.5, 1])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
