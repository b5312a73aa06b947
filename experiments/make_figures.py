r"""Draws the figures of Otto2020 as PNG files.

    python -m experiments.make_figures --figures_dir=figures \
        --data_dir=datasets/relations --run_dir=runs/classic

Figure 3 (classes and metrics), 4 (categorization), 8 (the network; of the run, or else the paper's)
and 9 (precision and recall by class: the paper's and those of experiments/results) need nothing;
5 to 7 (examples of each class) need --data_dir, 10 (example predictions) also --run_dir.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags, logging
from matplotlib.figure import Figure

from experiments import common_flags
from imgtext_tf import figures, relation_figures, relations, report, runs, untrusted
from imgtext_tf.data import edits, examples, images, pipeline, shards

FLAGS = flags.FLAGS

_HERE = pathlib.Path(__file__).resolve().parent
# Examples of the classes in the figures of Section 3.2.
_EXAMPLES = {
    "5": ("Uncorrelated", "Interdependent", "Complementary"),
    "6": ("Anchorage", "Illustration"),
    "7": ("Contrasting", "Bad Illustration", "Bad Anchorage"),
}
_PER_CLASS = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flag of the same name says what each means."""

    figures_dir: str
    data_dir: str = ""
    run_dir: str = ""
    eval_split: str = "test"
    seed: int = 0
    tables_dir: str = str(_HERE / "tables")
    results_dir: str = str(_HERE / "results")


flags.DEFINE_string("figures_dir", "figures", "Folder of the pictures.")
for _name in ("data_dir", "run_dir", "eval_split", "seed"):
    flags.declare_key_flag(_name)


def run(settings: Settings) -> list[pathlib.Path]:
    """Draws what can be drawn; the files' paths.

    Raises:
        ShardError: if the data set is damaged.
        RunError: if the run is not trained.
    """
    if settings.run_dir and not settings.data_dir:
        raise ValueError("--run_dir needs --data_dir, too: the pictures of the examples")
    paths = []
    for name, figure in _figures(settings):
        path = pathlib.Path(settings.figures_dir, f"otto2020_figure{name}.png")
        paths.append(figures.save(figure, path))
        logging.info("%s written", path)
    return paths


def _figures(settings: Settings) -> Iterator[tuple[str, Figure]]:
    yield "3", relation_figures.classes_figure()
    yield "4", relation_figures.categorization_figure()
    yield "8", relation_figures.model_figure(_sizes(settings.run_dir))
    yield "9", _bars(settings)
    if not settings.data_dir:
        return
    reader = shards.ShardReader(settings.data_dir, settings.eval_split)
    for name, classes in _EXAMPLES.items():
        tiles = [tile for relation in classes for tile in _tiles(reader, relation, settings.seed)]
        title = f"Examples: {', '.join(classes)}"
        if any(tile.truth in relations.NEGATIVE_OF.values() for tile in tiles):
            title += "   (in brackets: what was swapped)"
        if tiles:  # own class names have no such figure
            yield name, figures.pair_sheet(tiles, columns=_PER_CLASS, title=title)
    if settings.run_dir:
        yield "10", _predictions(reader, settings)


def _sizes(run_dir: str) -> dict[str, Any]:
    """What Fig. 8 shows of a run; without one the paper's sizes."""
    saved: dict[str, Any] = {
        "backbone": "inception_resnet_v2", "gru_units": 512, "image_attention": "context",
        "fc_units": (1024, 512, 256, 128), "image_dropout": 0.3, "text_dropout": 0.4,
    }  # fmt: skip
    shape, word_dim, classes = (8, 8, 1536), 300, len(relations.RELATIONS)
    if run_dir:
        loaded = runs.load(run_dir)
        saved = runs.read_settings(runs.RunDirectory(run_dir).settings_file)["settings"]
        model, classes = loaded.model, len(loaded.labels)
        if "image" in model.input:
            shape = model.get_layer("image_encoder").output_shape[1:]
            model = model.get_layer("relation_classifier")
        if "word_ids" in model.input:
            words = model.get_layer("text_encoder").get_layer("sentences").encoder
            word_dim = words.get_layer("embedding").dim
    return saved | {
        "backbone": pathlib.PurePath(saved["backbone"]).stem,
        "feature_shape": shape,
        "word_dim": word_dim,
        "text_dim": 2 * saved["gru_units"],
        "classes": classes,
    }


def _bars(settings: Settings) -> Figure:
    """Fig. 9: the paper's scores and the means of our runs."""
    found = report.read_runs(pathlib.Path(settings.results_dir, "otto2020"))
    scores: dict[str, dict[str, list[float]]] = {"precision": {}, "recall": {}}
    for row, table in (("classic", "table5"), ("cascade", "table4")):
        path = pathlib.Path(settings.tables_dir, f"otto2020_{table}.csv")
        printed = {cell.metric: cell.value / 100 for cell in report.read_table(path)
                   if cell.unit == "%" and cell.value is not None}  # fmt: skip
        names = {
            measure: [f"test_balanced/{measure}/{name}" for name in relations.RELATIONS]
            for measure in scores
        }
        of_row = [one for one in found if one.row == row and names["recall"][0] in one.metrics]
        for measure, classifiers in scores.items():
            classifiers[f"{row}, paper"] = [printed[name] for name in names[measure]]
            for data in dict.fromkeys(one.data for one in of_row):
                ours = [one.metrics for one in of_row if one.data == data]
                means = [float(np.mean([one[name] for one in ours])) for name in names[measure]]
                classifiers[f"{row}, {data}"] = means
    return relation_figures.class_bars_figure(
        scores, relations.RELATIONS, title="Precision and recall by class"
    )


def _tiles(reader: shards.ShardReader, relation: str, seed: int) -> list[figures.PairTile]:
    """A few random pairs of a class, always the same ones."""
    rows = np.flatnonzero(reader.index["relation"] == relation.encode())
    chosen = np.random.default_rng(seed).permutation(rows)[:_PER_CLASS]
    return [_tile(record, reader.record_kind, marked=True) for record in reader.read(chosen)]


def _tile(data: bytes, kind: str, *, marked: bool = False) -> figures.PairTile:
    """A record with its text, or with marks in it where words were swapped."""
    pair = examples.from_bytes(kind, data)
    swaps = [untrusted.parse_json(swap) for swap in pair["swaps"]]
    return figures.PairTile(
        image=figures.thinned(images.checked_pixels(pair["image"])),
        text=" ".join(edits.marked(pair["sentences"], swaps if marked else [])),
        truth=pair["relation"],
        title=pair["id"],
    )


def _predictions(reader: shards.ShardReader, settings: Settings) -> Figure:
    """Fig. 10: two right and two wrong predictions of each class, as far as there are such."""
    path = runs.RunDirectory(settings.run_dir).path / f"predictions_{settings.eval_split}.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    order = np.random.default_rng(settings.seed).permutation(len(lines))
    found: dict[tuple[str, bool], list[tuple[str, ...]]] = {}
    for line in (lines[place].split("\t") for place in order):
        found.setdefault((line[1], line[1] == line[2]), []).append(tuple(line))
    # Classes in the order of the paper; the wrong ones first.
    names = dict.fromkeys((*relations.RELATIONS, *sorted(truth for truth, _ in found)))
    keys = [(name, right) for name in names for right in (False, True)]
    chosen = [line for key in keys for line in found.get(key, [])[: _PER_CLASS // 2]]
    records = reader.read(pipeline.rows_of_ids(reader.index, [line[0] for line in chosen]))
    tiles = [
        dataclasses.replace(
            _tile(record, reader.record_kind), predicted=predicted, probability=float(probability)
        )
        for record, (_, _, predicted, probability) in zip(records, chosen, strict=True)
    ]
    return figures.pair_sheet(tiles, columns=_PER_CLASS, title="Example predictions")


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    names = ("figures_dir", "data_dir", "run_dir", "eval_split", "seed")
    run(Settings(**{name: getattr(FLAGS, name) or getattr(Settings, name, "") for name in names}))


if __name__ == "__main__":
    common_flags.run_main(main)
