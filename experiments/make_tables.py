r"""Writes docs/results.md: the papers' printed numbers beside ours.

    python -m experiments.make_tables
    python -m experiments.make_tables --add=runs/classic_0,runs/classic_1 --row=otto2020/classic
    python -m experiments.make_tables --add_data=datasets/relations --row=otto2020/data

The printed numbers are `tables/<key>_<table>.csv`, our results `results/<key>/<row>/*.json`, both
beside this script. `--add` takes the results of run directories among them, without the folders of
the machine, and writes the page anew; `--add_data` does so with the counts of a data set.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import pathlib
import re
from typing import Any

from absl import app, flags, logging

from experiments import common_flags
from imgtext_tf import markdown, relations, report, runs
from imgtext_tf.data import shards

FLAGS = flags.FLAGS

_HERE = pathlib.Path(__file__).resolve().parent
# Beside an installed package there is no docs folder: then the page goes where the user is.
_DOCS = _HERE.parent / "docs"
_PAGE = _DOCS / "results.md" if _DOCS.is_dir() else pathlib.Path("results.md")
_NAME = re.compile(r"[a-z]+\d{4}/[\w.,+'() \[\]-]+")
_SCALARS = (int, float, str)
# Settings that may differ between the seeds of a row: seeds, folders and files, what is only looked
# at during training.
_OF_ONE_RUN = re.compile(
    "^(seed|start|init_from|generator|text_encoder|backbone|vectors|cache_features|verify|strategy"
    "|(eval|checkpoint|log)_every)$|_(dir|run|runs|sha256)$"
)
_HEAD = """# Results

The numbers that the papers print, and those of this package's runs. A run on other data than the
paper's stands in a column of its own, under the name of its data, and its difference from the
paper's number is no error: data, backbone and length of training differ. "±" is the standard
deviation over seeds; behind the number of a single run stands 95 % of a bootstrap over its test
pairs, in brackets. This page is written by `python -m experiments.make_tables` from
`experiments/tables` and `experiments/results`; do not edit it."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flag of the same name says what each means."""

    page: str = str(_PAGE)
    tables_dir: str = str(_HERE / "tables")
    results_dir: str = str(_HERE / "results")
    add: tuple[str, ...] = ()
    add_data: str = ""
    row: str = ""
    replace: bool = False


flags.DEFINE_string("page", Settings.page, "The page to write.")
flags.DEFINE_string("tables_dir", Settings.tables_dir, "Folder of the papers' numbers.")
flags.DEFINE_string("results_dir", Settings.results_dir, "Folder of our results.")
flags.DEFINE_list("add", list(Settings.add), "Run directories whose results to take first.")
flags.DEFINE_string("add_data", Settings.add_data, "Data set of relations whose counts to take.")
flags.DEFINE_string("row", Settings.row, "Where --add puts them: <key>/<row> of a table.")
flags.DEFINE_bool("replace", Settings.replace, "Let --add take the place of an earlier result.")


def run(settings: Settings) -> str:
    """Writes the page, and returns it.

    Raises:
        ReportError: naming a table or result that cannot be read.
        RunError: if a folder of `add` is no finished run.
        ValueError: if `row` is no <key>/<row>, or a run has other settings than the row's others.
    """
    for folder in settings.add:
        path = pathlib.Path(folder, "result.json")
        _add(report.checked_result(runs.read_json(path), path), settings)
    if settings.add_data:
        _add(_counts(settings.add_data), settings)
    text = page_text(settings)
    with runs.atomic_path(settings.page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logging.info("%s written", settings.page)
    return text


def page_text(settings: Settings) -> str:
    """The page, in Markdown."""
    tables = sorted(pathlib.Path(settings.tables_dir).glob("*_*.csv"))
    titles = _rows(pathlib.Path(settings.tables_dir, "titles.csv"))
    about = {row["table"]: row for row in titles}
    parts = [_HEAD]
    for key in sorted({path.stem.split("_")[0] for path in tables}):
        found = report.read_runs(pathlib.Path(settings.results_dir, key))
        name = about.get(key, {})
        parts.append(f"## {name.get('title', key)}")
        parts += [name["text"]] if name.get("text") else []
        for path in tables:
            if path.stem.startswith(f"{key}_"):
                parts += _table(path, about.get(path.stem, {}), found, name.get("reason", ""))
        if found:
            parts += ["### Runs", markdown.run_list(found)]
    return "\n\n".join(parts) + "\n"


def _table(
    path: pathlib.Path, about: dict[str, str], found: list[report.Run], reason: str
) -> list[str]:
    part = path.stem.split("_", 1)[1]
    title = about.get("title") or re.sub(r"(?<=[a-z])(?=\d)", " ", part.replace("_", " "))
    lines = [f"### {title[0].upper()}{title[1:]}"]
    lines += [about["text"]] if about.get("text") else []
    if part == "questions":
        return [*lines, markdown.questions(_rows(path), found)]
    why = about.get("reason") or reason or "no run"
    return [*lines, markdown.numbers_and_matrices(report.read_table(path), found, reason=why)]


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _counts(data_dir: str) -> dict[str, Any]:
    """The pairs of each class and metric value of a data set, as a result.

    Raises:
        ValueError: if its classes are not the eight ones.
    """
    manifest = shards.verify(data_dir, level="size")
    counts = collections.Counter()
    for split in manifest["splits"].values():
        classes = split.get("classes") or {}
        if manifest["record_kind"] != "relation" or not classes.keys() <= set(relations.RELATIONS):
            raise ValueError(
                f"--add_data={data_dir}: Tables 1 and 2 count Otto2020's eight classes, and these "
                f"records have {', '.join(classes) or 'no classes'}"
            )
        for relation, count in classes.items():
            counts[f"pairs/{relation}"] += count
            counts["pairs"] += count
            for metric, value in zip(
                relations.METRIC_VALUES, relations.METRICS_OF_RELATION[relation], strict=True
            ):
                counts[f"pairs/{metric} {value}"] += count
    build = dict(manifest["build"])
    # A manifest names the sources, not where they lay.
    given = [f"--{source}=<{source}>" for source in build.pop("sources", [])]
    given += [f"--{name}={value}" for name, value in build.items() if isinstance(value, _SCALARS)]
    return {
        "command": " ".join(
            ["python -m tfrecords_tools.build", f"--output_dir={data_dir}", *given]
        ),
        "seed": build.get("seed", 0),
        "metrics": dict(sorted(counts.items())),
        "dataset": {
            "name": manifest["name"],
            "kind": manifest["kind"],
            "manifest_sha256": shards.digest(manifest),
        },
    }


def _add(result: dict[str, Any], settings: Settings) -> None:
    if not _NAME.fullmatch(settings.row):
        raise ValueError(f"--row={settings.row}: name it as <key>/<row>, such as otto2020/classic")
    result = report.portable(result)
    digest = result["dataset"].get("manifest_sha256", "")[:8]
    name = "-".join(filter(None, [result["dataset"]["name"], digest, f"seed{result['seed']}"]))
    # The data's own name may hold anything, "../" too.
    name = re.sub(r"[^\w.,+@() -]", "_", name)
    path = pathlib.Path(settings.results_dir, settings.row, f"{name}.json")
    if path.exists() and runs.read_json(path) != result and not settings.replace:
        raise ValueError(f"{path} is another run of these data and this seed: --replace takes it")
    _check_settings(path, result)
    runs.write_json(path, result)
    logging.info("%s written", path)


def _check_settings(path: pathlib.Path, result: dict[str, Any]) -> None:
    """A row's seeds are one setting: a mean over two would be nobody's."""
    for other in sorted(path.parent.glob(f"{path.stem.rpartition('-')[0]}-seed*.json")):
        if other == path:
            continue
        ours, theirs = (one.get("settings", {}) for one in (result, runs.read_json(other)))
        for name in sorted(ours.keys() & theirs.keys()):
            if not _OF_ONE_RUN.search(name) and ours[name] != theirs[name]:
                raise ValueError(
                    f"{path.parent}: this run has {name}={ours[name]!r}, {other.name} has "
                    f"{theirs[name]!r}; give it a row of its own, or delete the earlier files first"
                )


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    if bool(FLAGS.add or FLAGS.add_data) != bool(FLAGS.row):
        raise app.UsageError("--add or --add_data, and --row go together")
    values = {field.name: getattr(FLAGS, field.name) for field in dataclasses.fields(Settings)}
    run(Settings(**values | {"add": tuple(values["add"])}))


if __name__ == "__main__":
    common_flags.run_main(main)
