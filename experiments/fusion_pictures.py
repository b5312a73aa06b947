"""Shah2019's Fig. 4 and 5 of a comparison of fusion classifiers, and a table of its labels."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from experiments import fusion_report, phrase_data
from experiments.fusion_data import Photos
from experiments.fusion_flags import Settings
from experiments.fusion_phrases import Phrases
from experiments.phrase_labels import Labels
from imgtext_tf import figures, label_figures, runs
from imgtext_tf.data import examples, images, pipeline
from imgtext_tf.metrics import multilabel

if TYPE_CHECKING:
    from experiments.fusion_experiment import Case

_TILES, _TEXT_LINES = 8, 4
TABLE = "labels.csv"


def write_pictures(
    settings: Settings,
    labels: Labels,
    everything: Photos,
    counts: np.ndarray,
    phrases: dict[str, Phrases],
    predictions: dict[Case, tuple[np.ndarray, np.ndarray]],
    run_dir: runs.RunDirectory,
) -> None:
    """Several labels: Fig. 4 and `labels.csv`; one label: Fig. 5, a sheet of photos.

    Args:
        settings: of the run.
        labels: the taxonomy.
        everything: all photos.
        counts: [L], the train photos that have each label, where photos have several.
        phrases: by the name of the phrase set.
        predictions: case -> ids and logits of the photos that it was evaluated on.
        run_dir: where the pictures go.
    """
    scores = fusion_report.by_comparison(everything, predictions)
    if everything.labels.ndim > 1:
        _curves(settings, labels, scores, run_dir)
        precisions = _precisions(settings, scores)
        _write_table(labels, counts, precisions, run_dir)
        _gains(settings, labels, counts, precisions, run_dir)
        return
    visual, both = _pair(settings, max(settings.strengths))
    if visual not in scores or both not in scores:
        return
    (truth, base), (_, ours) = scores[visual][0], scores[both][0]
    ids = np.sort(_ids_of(predictions, both))
    tiles = _tiles(settings, labels, everything, phrases, ids, truth=truth, base=base, ours=ours)
    if tiles:
        strength = f"{max(settings.strengths):.0%}"
        title = f"Pixels ({strength}) and phrases: what phrases mend, and what they spoil"
        sheet = figures.pair_sheet(tiles, title=title, text_lines=_TEXT_LINES)
        figures.save(sheet, run_dir.figures / "examples.png")


def _pair(settings: Settings, strength: float) -> tuple[str, str]:
    """The comparisons that the pictures are of: visual only, and with text."""
    return f"visual/{strength:g}", f"multimodal/{strength:g}/{settings.phrase_sets[0]}"


def _ends(settings: Settings) -> list[float]:
    """The weakest and the strongest visual embedding; one if they are the same."""
    return sorted({min(settings.strengths), max(settings.strengths)})


def _curves(
    settings: Settings, labels: Labels, scores: fusion_report.Scores, run_dir: runs.RunDirectory
) -> None:
    named = {}
    for strength in _ends(settings):
        visual, both = _pair(settings, strength)
        named |= {visual: f"visual {strength:.0%}", both: f"visual {strength:.0%} and text"}
    named[f"text/{settings.phrase_sets[0]}"] = "text only"
    curves = {
        shown: multilabel.precision_recall(
            *fusion_report.cells_of(settings, labels, *scores[name][0])
        )[:2]
        for name, shown in named.items()
        if name in scores
    }
    if curves:
        figure = label_figures.precision_recall_figure(curves)
        figures.save(figure, run_dir.figures / "precision_recall.png")


def _precisions(settings: Settings, scores: fusion_report.Scores) -> dict[str, np.ndarray]:
    """Comparison -> the average precision of each label, on average over the seeds."""
    how = {"unannotated": settings.unannotated}
    return {
        name: np.mean(
            [multilabel.average_precisions(logits, truth, **how) for truth, logits in seeds], axis=0
        )
        for name, seeds in scores.items()
    }


def _write_table(
    labels: Labels,
    counts: np.ndarray,
    precisions: dict[str, np.ndarray],
    run_dir: runs.RunDirectory,
) -> None:
    """A line a label: its train photos and its average precision by each comparison."""
    with (
        runs.atomic_path(run_dir.path / TABLE) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "term", "trainable", "train_photos", *precisions])
        for place, name in enumerate(labels.ids):
            values = [f"{one[place]:.4f}" for one in precisions.values()]
            own = [name, labels.terms[place][0], int(labels.trainable[place]), f"{counts[place]:g}"]
            writer.writerow([*own, *("" if value == "nan" else value for value in values)])


def _gains(
    settings: Settings,
    labels: Labels,
    counts: np.ndarray,
    precisions: dict[str, np.ndarray],
    run_dir: runs.RunDirectory,
) -> None:
    pairs = {f"visual {strength:.0%}": _pair(settings, strength) for strength in _ends(settings)}
    gains = {
        shown: precisions[both] - precisions[visual]
        for shown, (visual, both) in pairs.items()
        if {visual, both} <= set(precisions)
    }
    if gains:
        figure = label_figures.gain_figure(counts, gains, [own[0] for own in labels.terms])
        figures.save(figure, run_dir.figures / "gain_by_frequency.png")


def _ids_of(predictions: dict[Case, tuple], name: str) -> np.ndarray:
    """The photos of the first seed's comparison, folds joined."""
    variant, strength, phrase_set = name.split("/")
    seeds = sorted({case[3] for case in predictions})
    return np.concatenate(
        [
            ids
            for case, (ids, _) in predictions.items()
            if case[:4] == (variant, float(strength), phrase_set, seeds[0])
        ]
    )


def _tiles(
    settings: Settings,
    labels: Labels,
    everything: Photos,
    phrases: dict[str, Phrases],
    ids: np.ndarray,
    *,
    truth: np.ndarray,
    base: np.ndarray,
    ours: np.ndarray,
) -> list[figures.PairTile]:
    """Photos that one of both models gets right and the other does not, with their phrases."""
    a, b = base.argmax(1) == truth, ours.argmax(1) == truth
    # Drawn: photos lie in the order of their names, and the first may all have one label.
    draw = np.random.default_rng(settings.seed).permutation
    mended, spoilt = (draw(np.flatnonzero(rows))[: _TILES // 2] for rows in (~a & b, a & ~b))
    chosen = [*mended, *spoilt]
    row_of = {name: row for row, name in enumerate(everything.ids.tolist())}
    needed = ("train", "val") if settings.folds else (settings.eval_split,)
    readers = phrase_data.open_readers(settings.data_dir, "image_labels", needed, verify="size")
    tiles = []
    for place in chosen:
        name = ids[place]
        reader = next(r for r in readers.values() if name.encode() in r.index["id"])
        row = pipeline.rows_of_ids(reader.index, [name])
        photo = examples.from_bytes("image_labels", reader.read(row)[0])
        own = phrases[settings.phrase_sets[0]].of(everything.phrase[[row_of[name]]])[0]
        visual = labels.terms[base[place].argmax()][0]
        tiles.append(
            figures.PairTile(
                image=figures.thinned(images.checked_pixels(photo["image"])),
                text=f"By pixels alone: {visual}. Phrases: {', '.join(own)}",
                truth=labels.terms[truth[place]][0],
                predicted=labels.terms[ours[place].argmax()][0],
                title=name,
            )
        )
    return tiles
