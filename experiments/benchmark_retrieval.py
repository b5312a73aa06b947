r"""Measures Gordo2017's parts at the paper's sizes against plain loops and scikit-learn.

    python -m experiments.benchmark_retrieval --output=retrieval.md

R-MAC (2,048 channels of a 576 x 448 image), mining of a pool (500 queries, 5,000 images, 9 relevant
ones each) and NDCG (1,000 queries, 10,000 images). Both ways take turns in one run and must agree.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from absl import flags, logging

from experiments import common_flags, retrieval_speed
from imgtext_tf import runs

COMPARISONS: dict[str, Callable[..., dict[str, float]]] = {
    "R-MAC, the loop eager": retrieval_speed.rmac,
    "R-MAC, the loop compiled": functools.partial(retrieval_speed.rmac, compiled_loop=True),
    "mining, Eq. 1": retrieval_speed.mine,
    "mining, Eq. 1 to 3": functools.partial(retrieval_speed.mine, joint=True),
    "NDCG, scikit-learn's": retrieval_speed.ndcg,
}


def run(
    output: str,
    *,
    repeats: int = 3,
    comparisons: Mapping[str, Callable[..., dict[str, float]]] = COMPARISONS,
) -> str:
    """Measures and writes a page of Markdown, which it returns.

    Args:
        output: the file.
        repeats: how often each way is timed.
        comparisons: name -> function of `repeats` to the seconds of both ways and their ratio.

    Raises:
        ValueError: if two ways give different results.
    """
    machine = runs.environment()
    lines = [
        "# Retrieval",
        "",
        f"Machine: {machine['cpu']}, {machine['cpu_cores']} cores, {machine['device']}. Medians of "
        f"{repeats} turns.",
        "",
        "| part | seconds | seconds of the plain way | times faster |",
        "|---|---|---|---|",
    ]
    for name, compare in comparisons.items():
        found = compare(repeats=repeats)
        values = f"{found['seconds']:.3f} | {found['plain_seconds']:.3f} | {found['ratio']:.1f}"
        lines.append(f"| {name} | {values} |")
        logging.info("%s", lines[-1])
    page = "\n".join(lines) + "\n"
    with runs.atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page


def main(argv: list[str]) -> None:
    """Reads the flags and measures."""
    common_flags.reject_positional(argv)
    print(run(flags.FLAGS.output, repeats=flags.FLAGS.repeats))


if __name__ == "__main__":
    flags.DEFINE_integer("repeats", 3, "How often each way is timed.", lower_bound=1)
    flags.mark_flag_as_required("output")
    common_flags.run_main(main)
