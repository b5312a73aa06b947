r"""Compares two kinds of matching runs in pairs: what the second does to recall and modality gap.

    python -m experiments.compare_matching --first=runs/base0,runs/base1,... \
        --second=runs/adversarial0,runs/adversarial1,... --output=adversarial.md

A run of the second kind belongs to the run that it began with (`--start`), or to the one that began
with the same run, such as with another lambda; one that began with none belongs to the run of its
seed. Prints mean and spread of both kinds, and the mean difference with
its spread and the 95 % bootstrap interval over the pairs.

Reference: Liu2019, Section 4.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from experiments import common_flags, matching_start
from imgtext_tf import report, runs

# Printed in this order; those that no run has are left out.
METRICS = (
    *(f"{way}_r{cutoff}" for way in ("i2t", "t2i") for cutoff in (1, 5, 10)),
    *("i2t_median", "t2i_median", "i2t_mean", "t2i_mean", "rsum"),
    *("probe_accuracy", "centroid_distance", "classifier_accuracy"),
)
_SHARES = ("probe_accuracy", "centroid_distance", "classifier_accuracy")
_ENOUGH = 5  # pairs that it takes for an interval to say something

flags.adopt_module_key_flags(common_flags)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    split: str = "test"
    output: str = ""


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run with its result.

    Attributes:
        folder: of the run.
        seed: of the run.
        start: the run that it began with; "" for none.
        data: sha256 of what it was evaluated on.
        metrics: name -> value.
    """

    folder: pathlib.Path
    seed: int
    start: str
    data: str
    metrics: dict[str, float]


def run(settings: Settings) -> str:
    """Compares, and returns a table in Markdown, which is written where `output` says.

    Raises:
        runs.RunError: if a run is not finished.
        ValueError: if runs do not make pairs, or were evaluated on other data.
    """
    first, second = (
        [read(folder) for folder in part] for part in (settings.first, settings.second)
    )
    pairs = pair(first, second)
    page = table(pairs, split=settings.split)
    if settings.output:
        with runs.atomic_path(settings.output) as temporary:
            pathlib.Path(temporary).write_text(page, encoding="utf-8")
    return page


def read(folder: str) -> Finished:
    """A finished run.

    Raises:
        runs.RunError: if it is not finished.
    """
    run_dir = runs.RunDirectory(folder)
    if not run_dir.result_file.exists():
        raise runs.RunError(f"{folder}: has no {run_dir.result_file.name}: train it to its end")
    result: dict[str, Any] = runs.read_json(run_dir.result_file)
    return Finished(
        run_dir.path.resolve(),
        result["seed"],
        matching_start.settings_of(run_dir).start,
        result["dataset"].get("manifest_sha256", ""),
        result["metrics"],
    )


def pair(first: Sequence[Finished], second: Sequence[Finished]) -> list[tuple[Finished, Finished]]:
    """Each run of the second kind with its run of the first.

    Raises:
        ValueError: naming a run that has no partner, or another's, or other data.
    """
    of_folder = {pathlib.Path(one.start).resolve(): one for one in first if one.start}
    of_folder |= {one.folder: one for one in first}
    of_seed = {one.seed: one for one in first}
    if len(of_seed) < len(first):
        raise ValueError("--first: two runs have one seed: give one run a seed")
    pairs = []
    for other in second:
        if other.start:
            one = of_folder.get(pathlib.Path(other.start).resolve())
            wanted = f"the run that it began with, {other.start}, or another that did so,"
        else:
            one, wanted = of_seed.get(other.seed), f"a run of its seed {other.seed}"
        if one is None:
            raise ValueError(f"{other.folder}: {wanted} is not among --first")
        if one.data != other.data:
            raise ValueError(f"{one.folder} and {other.folder} were evaluated on other data")
        pairs.append((one, other))
    if len({one.folder for one, _ in pairs}) < len(pairs) or not pairs:
        raise ValueError("--second: give one run for each of --first")
    return pairs


def table(pairs: Sequence[tuple[Finished, Finished]], *, split: str = "test") -> str:
    """Both kinds, their difference and its interval, a line a metric.

    Args:
        pairs: of `pair`.
        split: whose metrics to print.
    """
    lines = ["| metric | first | second | second - first | 95 % interval |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name in METRICS:
        key = f"{split}/{name}"
        values = [
            {place: two[side].metrics[key] for place, two in enumerate(pairs)}
            for side in (0, 1)
            if all(key in two[side].metrics for two in pairs)
        ]
        if len(values) < 2:
            continue
        places = 3 if name in _SHARES else 1
        means = [_spread(list(part.values()), places) for part in values]
        differences = [values[1][place] - values[0][place] for place in values[0]]
        outcome = report.paired_difference(values[1], values[0])
        interval = ""
        if "low" in outcome:
            interval = f"{outcome['low']:+.{places}f} to {outcome['high']:+.{places}f}"
        lines.append(
            f"| {name} | {means[0]} | {means[1]} | {_spread(differences, places, '+')} "
            f"| {interval} |"
        )
    few = f" Fewer than {_ENOUGH}: the intervals say little." if len(pairs) < _ENOUGH else ""
    seeds = ", ".join(f"{one.seed}" for one, _ in pairs)
    note = f"{len(pairs)} pairs (seeds {seeds}); mean ± standard deviation.{few}"
    return "\n".join([*lines, "", note]) + "\n"


def _spread(values: Sequence[float], places: int, sign: str = "") -> str:
    mean, spread = report.mean_and_spread(values)
    text = f"{mean:{sign}.{places}f}"
    return text if spread is None else f"{text} ± {spread:.{places}f}"


def define_flags() -> None:
    """Defines the script's own flags, when it is started: other scripts have some of the names."""
    flags.DEFINE_list("first", [], "Folders of the runs to compare with, such as the baseline's.")
    flags.DEFINE_list("second", [], "Folders of the runs that are compared.")
    flags.DEFINE_string("split", "test", "Prefix of the metrics: test, val, test_1k.")


def main(argv: list[str]) -> None:
    """Fills the settings from the flags, compares and prints the table."""
    common_flags.reject_positional(argv)
    values = flags.FLAGS
    print(
        run(Settings(tuple(values.first), tuple(values.second), values.split, values.output or ""))
    )


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["first", "second"])
    common_flags.run_main(main)
