r"""Asks a trained classic classifier whether it reads text and picture, or only cues of the class.

    python -m experiments.evaluate_negatives --classic_run=runs/classic \
        --data_dir=datasets/relations --run_dir=runs/negatives

Four measurements: recall of the three negative classes; minimal pairs, which are one image with the
original and with the swapped text, right only when both are; the same with keywords that training
never swapped; and accuracy after the images were shuffled within each class, which a classifier
that ignores them survives.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from experiments import (
    common_flags,
    relation_negatives,
    relation_report,
    relation_runs,
    run_steps,
    settings_flags,
)
from experiments.relation_negatives import MinimalPair, Texts
from experiments.relation_runs import TrainedRun
from imgtext_tf import evaluation, figures, relations, runs
from imgtext_tf.data import edits, examples, images
from imgtext_tf.data.antonyms import AntonymList, load_antonyms
from imgtext_tf.data.edits import Edit, EditedReader
from imgtext_tf.metrics import classification

_SCRIPT = "experiments.evaluate_negatives"
_PAIRS_SHOWN = 8

flags.DEFINE_string(
    "keywords",
    "",
    "TSV of keywords for swaps that training never saw; entries that share a word with the train "
    "split's swaps are left out. Empty: the package's list of unseen keywords.",
)
flags.DEFINE_integer(
    "pairs_per_class", 0, "Most pairs of each class that are changed; 0: all.", lower_bound=0
)
for _name in ("data_dir", "run_dir", "seed", "verify", "eval_split", "classic_run"):
    flags.declare_key_flag(_name)
flags.declare_key_flag("cache_features")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; the flag of the same name says what each means."""

    data_dir: str
    run_dir: str
    classic_run: str
    keywords: str = ""
    pairs_per_class: int = 0
    eval_split: str = "test"
    cache_features: str = ""
    verify: str = "full"
    seed: int = 0


def run(settings: Settings) -> dict[str, Any]:
    """Changes the pairs of a split and predicts them all.

    Returns:
        What `result.json` holds. Metrics: `negatives/<part>/...`, `minimal_pairs/seen/...`,
        `minimal_pairs/unseen/...` (see `relation_negatives.score_pairs`) and `shuffled/...`.

    Raises:
        RunError: if the run is missing or no classic one.
        ShardError: if the data set is damaged.
        ValueError: if the list of keywords is malformed.
    """
    started = time.monotonic()
    with run_steps.evaluating(settings, script=_SCRIPT, module=__name__) as run_dir:
        trained = relation_runs.open_run(
            settings.classic_run,
            target="relation",
            data_dir=settings.data_dir,
            split=settings.eval_split,
            cache_features=settings.cache_features,
            verify=settings.verify,
        )
        split, seed, most = settings.eval_split, settings.seed, settings.pairs_per_class
        texts = Texts.read(trained.data.readers[split])
        keywords, dropped = unseen_keywords(trained, settings)
        negatives = texts.rows_of(relation_negatives.POSITIVE_OF, most=most, seed=seed)
        positives = texts.rows_of(relations.NEGATIVE_OF, most=most, seed=seed)
        every = texts.rows_of(relations.RELATIONS, most=most, seed=seed)
        seen, originals = relation_negatives.seen_pairs(texts, negatives)
        unseen, swapped = relation_negatives.unseen_pairs(texts, positives, keywords, seed=seed)
        shuffled = relation_negatives.shuffled_images(texts, every, seed=seed)
        made = [*originals, *swapped, *shuffled]
        place_of, logits = predict(trained, split, texts, made)
        truth = trained.data.truth(split)
        metrics = _recalls(trained, split, texts, truth, logits)
        for kind, pairs in (("seen", seen), ("unseen", unseen)):
            scores = relation_negatives.score_pairs(pairs, place_of, logits, seed=seed)
            metrics |= {f"minimal_pairs/{kind}/{name}": value for name, value in scores.items()}
        metrics |= _shuffled(shuffled, truth, place_of, logits, seed)
        _log(metrics)
        _write_pairs(run_dir, {"seen": seen, "unseen": unseen}, place_of, logits)
        _draw_pairs(run_dir, trained, texts, made, unseen, place_of, logits, seed)
        return run_dir.write_result(
            metrics=metrics,
            seed=trained.data.settings.seed,  # of the training, as in the run's own result
            dataset=trained.data.description(),
            steps=trained.result.get("steps", 0),
            seconds=time.monotonic() - started,
            parameters=trained.model.count_params(),
            command=run_steps.command(_SCRIPT),
            keywords={"used": len(keywords), "left out as seen": dropped},
        )


def unseen_keywords(trained: TrainedRun, settings: Settings) -> tuple[AntonymList, int]:
    """The keywords that no swap of the train split shares a word with; how many were left out."""
    keywords = load_antonyms(settings.keywords or edits.UNSEEN_PATH)
    if "train" not in trained.data.readers:
        logging.warning("no train split: whether training swapped the keywords is not known")
        return keywords, 0
    swaps = itertools.chain.from_iterable(
        swaps for _, swaps in edits.texts(trained.data.readers["train"])
    )
    kept = relation_negatives.without_seen(keywords, swaps)
    logging.info("%d of %d keywords were never swapped in training", len(kept), len(keywords))
    return kept, len(keywords) - len(kept)


def predict(
    trained: TrainedRun, split: str, texts: Texts, made: Sequence[Edit]
) -> tuple[dict[str, int], np.ndarray]:
    """Predicts all records of a split, and changed ones behind them.

    Returns:
        Record id -> row; and [records + changed, 8] logits.
    """
    reader = trained.data.readers[split]
    kept = [Edit(record_id, row) for row, record_id in enumerate(texts.ids)]
    both = EditedReader(reader, [*kept, *made])
    data = dataclasses.replace(trained.data, readers={**trained.data.readers, split: both})
    arrays = evaluation.predict(trained.model, data.evaluation_batches(split))
    ids = [edit.id for edit in (*kept, *made)]
    logits = relation_runs.by_id(arrays, np.array(ids))["logits"]
    return {record_id: row for row, record_id in enumerate(ids)}, logits


def _recalls(
    trained: TrainedRun, split: str, texts: Texts, truth: np.ndarray, logits: np.ndarray
) -> dict[str, float]:
    """Of each negative class: recall, and the share that was taken for its positive."""
    names = list(relations.RELATIONS)
    predicted = logits[: len(truth)].argmax(axis=1)
    metrics: dict[str, float] = {}
    for part, chosen in relation_report.parts_of(trained.data, split, np.array(texts.ids)).items():
        matrix = classification.confusion_matrix(
            truth[chosen], predicted[chosen], num_classes=len(names)
        )
        recalls = []
        for negative, positive in relation_negatives.POSITIVE_OF.items():
            row = matrix[names.index(negative)]
            if row.sum():
                recalls.append(float(row[names.index(negative)] / row.sum()))
                name = f"negatives/{part}"
                metrics[f"{name}/recall/{negative}"] = recalls[-1]
                taken = row[names.index(positive)] / row.sum()
                metrics[f"{name}/taken_for_positive/{negative}"] = float(taken)
                metrics[f"{name}/support/{negative}"] = float(row.sum())
        if recalls:
            metrics[f"negatives/{part}/macro_recall"] = float(np.mean(recalls))
        metrics[f"negatives/{part}/accuracy_of_all_classes"] = classification.accuracy(matrix)
    return metrics


def _shuffled(
    shuffled: Sequence[Edit],
    truth: np.ndarray,
    place_of: dict[str, int],
    logits: np.ndarray,
    seed: int,
) -> dict[str, float]:
    """Accuracy of the same pairs with their own and with another image of their class."""
    if not shuffled:
        return {}
    rows = np.array([edit.row for edit in shuffled])
    labels = truth[rows]
    own = logits[rows].argmax(axis=1)
    other = logits[[place_of[edit.id] for edit in shuffled]].argmax(axis=1)

    def drop(labels: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
        return float(np.mean(own == labels) - np.mean(other == labels))

    low, high = classification.bootstrap_interval(drop, labels, own, other, seed=seed)
    metrics = {
        "shuffled/pairs": float(len(rows)),
        "shuffled/accuracy": float(np.mean(other == labels)),
        "shuffled/accuracy_before": float(np.mean(own == labels)),
        "shuffled/drop": drop(labels, own, other),
        "shuffled/drop_low": low,
        "shuffled/drop_high": high,
        "shuffled/same_answer": float(np.mean(own == other)),
    }
    for label, name in enumerate(relations.RELATIONS):
        chosen = labels == label
        if chosen.any():
            metrics[f"shuffled/recall/{name}"] = float(np.mean(other[chosen] == label))
            metrics[f"shuffled/recall_before/{name}"] = float(np.mean(own[chosen] == label))
    return metrics


def _write_pairs(
    run_dir: runs.RunDirectory,
    kinds: dict[str, list[MinimalPair]],
    place_of: dict[str, int],
    logits: np.ndarray,
) -> None:
    """A table of every minimal pair and what was said of both its texts."""
    names = relations.RELATIONS
    said = logits.argmax(axis=1)
    lines = ["\t".join(("keywords", "class", "original", "swapped", "said", "said_swapped"))]
    for kind, pairs in kinds.items():
        for pair in pairs:
            answers = [names[said[place_of[name]]] for name in (pair.original, pair.swapped)]
            lines.append("\t".join((kind, pair.relation, pair.original, pair.swapped, *answers)))
    with runs.atomic_path(run_dir.path / "minimal_pairs.tsv") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _draw_pairs(
    run_dir: runs.RunDirectory,
    trained: TrainedRun,
    texts: Texts,
    made: Sequence[Edit],
    pairs: Sequence[MinimalPair],
    place_of: dict[str, int],
    logits: np.ndarray,
    seed: int,
) -> None:
    """Some minimal pairs with keywords never swapped in training, original beside swapped."""
    if not pairs:
        return
    kept = [Edit(record_id, row) for row, record_id in enumerate(texts.ids)]
    reader = EditedReader(trained.data.readers[trained.data.settings.eval_split], [*kept, *made])
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:_PAIRS_SHOWN]
    tiles = []
    for record_id in itertools.chain.from_iterable(
        (pairs[place].original, pairs[place].swapped) for place in chosen
    ):
        row = place_of[record_id]
        record = examples.from_bytes("relation", reader.read([row])[0])
        chances = np.exp(evaluation.log_softmax(logits[row]))
        tiles.append(
            figures.PairTile(
                image=figures.thinned(images.checked_pixels(record["image"])),
                text=" ".join(record["sentences"]),
                truth=record["relation"],
                predicted=relations.RELATIONS[int(chances.argmax())],
                probability=float(chances.max()),
                title=record_id,
            )
        )
    title = "each image with its original and its swapped text, two pairs a row"
    sheet = figures.pair_sheet(tiles, columns=4, title=title)
    figures.save(sheet, run_dir.figures / "minimal_pairs.png")


def _log(metrics: dict[str, float]) -> None:
    for name, value in metrics.items():
        if name.endswith(("macro_recall", "/pairs", "/both", "told_apart", "/drop")):
            logging.info("%s: %.4f", name, value)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "run_dir", "classic_run"])
    common_flags.run_main(main)
