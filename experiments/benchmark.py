r"""Measures the parts against what a user would write or take instead, as ratios of one run.

    python -m experiments.benchmark
    python -m experiments.benchmark --parts=matching,search --output=speed.md
    python -m experiments.benchmark --parts=search --keep
    python -m experiments.benchmark --parts=classic --flagfile=small_classic --batch_size=12 \
        --data_dir=datasets/relations --backbone=efficientnet_lite0.keras --vectors=en.vec.gz

The ways to do one thing take turns, so that a slow moment of the machine meets all of them, and
ratios are those of a round. Nothing is needed: where no data is named, scenes are drawn or arrays
made. What cannot be measured here has a row that says why. The page is written anew after each
comparison, and a JSON file with all measurements stands beside it; `--keep` leaves the page's other
parts on it, where they are of the same machine and versions. `--quick` tries everything at
small sizes, which say nothing of speed.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from absl import app, flags, logging

from experiments import common_flags, relation_flags
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
    workers,
)
from experiments.benchmarks.place import Place
from imgtext_tf import runs

PARTS = {
    "classic": classic,
    "pipeline": pipeline,
    "workers": workers,
    "matching": matching,
    "retrieval": retrieval,
    "phrases": phrases,
    "search": search,
    "metrics": metrics,
}

flags.adopt_module_key_flags(relation_flags)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure, how often and on which data; see `define_flags`."""

    output: str = "docs/performance.md"
    parts: tuple[str, ...] = tuple(PARTS)
    quick: bool = False
    rounds: int = 5
    budget: float = 45
    keep: bool = False
    captions_dir: str = ""
    relations: relation_flags.Settings | None = None


def run(settings: Settings, *, sizes: Mapping[str, Any] | None = None) -> str:
    """Measures the parts and writes a page of Markdown, which it returns.

    Args:
        settings: what to measure, and how.
        sizes: part -> its `Sizes`, in place of those that `quick` says.

    Raises:
        RuntimeError: in the end, if a part failed; the others are measured.
    """
    machine = page.machine()
    head = [
        f"each way is measured {settings.rounds} times, in turn; three times where a comparison "
        f"takes longer than {settings.budget:.0f} s; medians, and from the smallest to the largest",
        "a ratio is the median of the rounds' own ratios to the first way; above 1 is faster",
    ]
    if settings.quick:
        head.append("**sizes of a try (`--quick`): they say nothing of speed**")
    earlier = page.earlier(_json_file(settings.output), machine) if settings.keep else {}
    found: dict[str, page.Part] = {}
    text, failed, started = "", [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        place = Place(
            pathlib.Path(folder),
            quick=settings.quick,
            relations=settings.relations,
            captions_dir=settings.captions_dir,
        )
        for number, name in enumerate(settings.parts):
            _say_progress(settings, number, time.monotonic() - started)
            part = PARTS[name]
            of_part = (sizes or {}).get(name) or (part.QUICK if settings.quick else part.Sizes())
            outcomes: list[measure.Outcome] = []
            found[part.TITLE] = page.Part(outcomes, machine["git_commit"])
            for outcome in _outcomes(part, place, of_part, settings, failed):
                outcomes.append(outcome)
                logging.info("%s\n%s", outcome.title, page.table(outcome))
                parts = _in_order(earlier | found)
                text = page.write(head, machine, parts)
                _write(settings.output, text, machine, parts)
    logging.info("%s: after %.1f minutes", settings.output, (time.monotonic() - started) / 60)
    if failed:
        raise RuntimeError(f"{settings.output} lacks what failed: {'; '.join(failed)}")
    return text


def _say_progress(settings: Settings, number: int, seconds: float) -> None:
    minutes = sum(PARTS[name].MINUTES for name in settings.parts[number:])
    logging.info(
        "part %d of %d: %s; %.1f minutes so far, %s left",
        number + 1,
        len(settings.parts),
        settings.parts[number],
        seconds / 60,
        "a little" if settings.quick else f"about {minutes:.0f} minutes",
    )


def _outcomes(
    part: Any, place: Place, sizes: Any, settings: Settings, failed: list[str]
) -> Iterator[measure.Outcome]:
    """Measures the comparisons of a part, one in memory at a time; one that fails ends its part."""
    try:
        for comparison in part.comparisons(place, sizes):
            yield measure.compare(comparison, rounds=settings.rounds, budget=settings.budget)
            del comparison
            gc.collect()
    except measure.NotRunError as error:
        yield measure.not_run(str(error))
    except Exception as error:  # the other parts are still to be measured
        logging.exception("%s", part.TITLE)
        failed.append(f"{part.TITLE} ({type(error).__name__}: {error})")
        yield measure.not_run(f"failed with {type(error).__name__}: {str(error)[:200]}")


def _in_order(parts: Mapping[str, page.Part]) -> dict[str, page.Part]:
    titles = [part.TITLE for part in PARTS.values()]
    return {title: parts[title] for title in titles if title in parts}


def _json_file(output: str) -> str:
    return os.path.splitext(output)[0] + ".json"


def _write(
    output: str, text: str, machine: Mapping[str, Any], parts: Mapping[str, page.Part]
) -> None:
    with runs.atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    of_parts = {title: dataclasses.asdict(part) for title, part in parts.items()}
    runs.write_json(_json_file(output), {"machine": machine, "parts": of_parts})


def define_flags() -> None:
    """Defines the script's own flags, when it is started: other scripts have some of the names."""
    flags.DEFINE_list("parts", list(PARTS), f"What to measure: {', '.join(PARTS)}.")
    flags.DEFINE_bool("quick", False, "Small sizes: a try, not a measurement.")
    flags.DEFINE_integer("rounds", Settings.rounds, "How often each way is measured.", 1)
    flags.DEFINE_float(
        "budget", Settings.budget, "Seconds of a comparison; then three rounds are enough.", 0
    )
    flags.DEFINE_bool("keep", False, "Leave the other parts of an earlier page on it.")
    flags.DEFINE_string("captions_dir", "", "Shards of captions for matching; empty: random ones.")
    flags.FLAGS.set_default("output", Settings.output)


def settings_from_flags() -> Settings:
    """The settings that the command line gives.

    Raises:
        app.UsageError: if there is no such part.
    """
    values = {
        field.name: flags.FLAGS[field.name].value
        for field in dataclasses.fields(Settings)
        if field.name != "relations"
    }
    values["parts"] = tuple(values["parts"])
    if not values["parts"] or set(values["parts"]) - set(PARTS):
        raise app.UsageError(
            f"--parts={','.join(values['parts'])}: use one or more of {', '.join(PARTS)}"
        )
    relations = None
    if flags.FLAGS.data_dir:
        relations = relation_flags.settings_from_flags("relation")
    return Settings(**values, relations=relations)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags, measures and prints the page."""
    common_flags.reject_positional(argv)
    print(run(settings_from_flags()))


if __name__ == "__main__":
    define_flags()
    common_flags.run_main(main)
