"""Times several ways to do one thing by turns, in one run, and says how they compare.

Every way is measured once a round, so that a slow moment of the machine meets all of them, and a
ratio is that of two measurements of one round.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging

# Measures once: the seconds of one unit.
Timer = Callable[[], float]

_FEWEST_ROUNDS = 3
_MOST_CALLS = 1000
_LEAST = 0.2  # seconds of a measurement


class NotRunError(Exception):
    """What a part needs is not here; the message says what, and how to get it."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several ways to do one thing.

    Attributes:
        title: what is done, with its size.
        ways: name -> timer, or why this way is not run. Ratios are to the first that is run.
        unit: what the rate counts, such as "pairs"; "" prints no rate.
        amount: how many of them one unit of the timers is.
        note: what a reader must know of it: data, what was checked.
        facts: way -> further columns, such as {"recall@10": "0.98"}.
    """

    title: str
    ways: Mapping[str, Timer | str]
    unit: str = ""
    amount: float = 1
    note: str = ""
    facts: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of a comparison, measured, or not run for a reason.

    Attributes:
        way: its name.
        seconds: of one unit, for each round.
        ratios: how many times as fast as the first way, for each round.
        facts: further columns.
        not_run: the reason.
    """

    way: str
    seconds: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    not_run: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A comparison and its rows."""

    title: str
    rows: tuple[Row, ...]
    unit: str = ""
    amount: float = 1
    note: str = ""


def compare(comparison: Comparison, *, rounds: int, budget: float = math.inf) -> Outcome:
    """Measures every way once a round, in turn.

    Args:
        comparison: what to measure.
        rounds: how many.
        budget: seconds after which no further round begins, three being the fewest.
    """
    timers = {name: way for name, way in comparison.ways.items() if callable(way)}
    measured: dict[str, list[float]] = {name: [] for name in timers}
    started = time.monotonic()
    for number in range(rounds if timers else 0):
        begun = time.monotonic()
        spent = begun - started
        # The first round builds graphs: it tells little of the others.
        if number >= _FEWEST_ROUNDS and spent * (number + 1) / number > budget:
            break
        for name, timer in timers.items():
            measured[name].append(timer())
        seconds = time.monotonic() - begun
        logging.info("%s: round %d of %d, %.0f s", comparison.title, number + 1, rounds, seconds)
    first = np.array(next(iter(measured.values()), []))
    rows = []
    for name, way in comparison.ways.items():
        if isinstance(way, str):
            rows.append(Row(name, not_run=way))
            continue
        ratios = first / np.array(measured[name])
        facts = comparison.facts.get(name, {})
        rows.append(Row(name, tuple(measured[name]), tuple(ratios.tolist()), facts))
    return Outcome(
        comparison.title, tuple(rows), comparison.unit, comparison.amount, comparison.note
    )


def not_run(reason: str) -> Outcome:
    """What stands in the place of a part's comparisons."""
    return Outcome("All comparisons", (Row("all ways", not_run=reason),))


def timer(function: Callable[[], Any], *, units: int = 1, warm: bool = True) -> Timer:
    """Times calls of a function, as many at once as fill a fifth of a second.

    Args:
        function: does `units` units; must wait for its own end.
        units: of work a call.
        warm: call it once before the first measurement, which builds graphs.
    """
    calls = 0 if warm else 1

    def measure() -> float:
        nonlocal calls
        if not calls:
            function()
            calls = 1
        while True:
            started = time.perf_counter()
            for _ in range(calls):
                function()
            spent = time.perf_counter() - started
            if spent > _LEAST / 2 or calls == _MOST_CALLS:
                return spent / (calls * units)
            calls = min(_MOST_CALLS, math.ceil(calls * _LEAST / max(spent, 1e-9)))

    return measure


def draining(batches: Iterable[Any], *, units: int = 1) -> Timer:
    """Times an input pipeline from its second batch on: the first waits for threads to start.

    Args:
        batches: at least two; iterated anew for each measurement.
        units: in a batch.
    """

    def measure() -> float:
        iterator = iter(batches)
        next(iterator)
        started = time.perf_counter()
        count = sum(1 for _ in iterator)
        return (time.perf_counter() - started) / (count * units)

    return measure


def must_agree(agree: bool, what: str) -> None:
    """Stops a comparison of speed whose ways do different things.

    Raises:
        ValueError: if they do not agree.
    """
    if not agree:
        raise ValueError(f"{what}: the ways give different results")
