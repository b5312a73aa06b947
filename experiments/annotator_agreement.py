r"""How far annotators agree with each other, and generated labels with them.

    python -m experiments.annotator_agreement --annotations=annotations.csv --run_dir=runs/agreement

The table has one line a vote (pair, annotator, label, and automatic, the generated label, where it
is known), or one line a pair with a column for each annotator. With --key and --votes it is first
written from what the annotators of export_annotation_kit saved:

    python -m experiments.annotator_agreement --annotations=annotations.csv --key=kit/key.csv \
        --votes=votes_ann.csv,votes_ben.csv,votes_cleo.csv

With --data_dir, the data set of the pairs, those with a majority label are also written with their
images (<run_dir>/labelled), as `build --jsonl` reads them: a test set whose truth is people's.

It prints Krippendorff's alpha, the majority labels' counts, and the generated labels' precision and
recall by single votes, as in the paper's Table 3, and by majority labels.

Reference: Otto2020, Section 5.1 and Table 3.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import time
from collections.abc import Sequence

import numpy as np
from absl import flags, logging

from experiments import common_flags, relation_annotated, run_steps, settings_flags
from imgtext_tf import annotation, figures, untrusted
from imgtext_tf.annotation import Annotations
from imgtext_tf.metrics import agreement, classification

_MISSING, _UNSURE = agreement.MISSING, agreement.UNSURE

flags.DEFINE_string("annotations", None, "CSV of the votes; written first where --votes is given.")
flags.DEFINE_string("key", "", "key.csv of the annotation kit that --votes belong to.")
flags.DEFINE_list("votes", [], "Files named votes_<annotator>.csv (comma-separated).")
flags.DEFINE_list("missing", ["NA", ".", "*"], "Labels that mean no vote, beside the empty one.")
for _name in ("run_dir", "seed", "data_dir", "eval_split"):
    flags.declare_key_flag(_name)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings; the flag of the same name says what each means."""

    annotations: str
    run_dir: str | None = None
    key: str = ""
    votes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("NA", ".", "*")
    data_dir: str = ""
    eval_split: str = "test"
    seed: int = 0


def run(settings: Settings) -> dict[str, float]:
    """Computes the agreement; with a run directory writes result, labels and a picture there.

    Returns:
        `alpha` with its 95 % bootstrap interval over pairs (Unsure counts as no vote),
        `alpha_with_unsure` (Unsure is a label of its own), `alpha/<class>` (the class against all
        others), `votes_paired` (votes on pairs with two or more, all that alpha sees); `pairs`,
        `pairs/<class>` by majority, `dropped_unsure`, `no_majority`; and, where generated labels
        are known, `vote_precision/<class>`, `vote_recall/<class>`,
        `votes_hit/<class>`, `votes_given/<class>`, `votes_cast/<class>`, and `majority/...`.

    Raises:
        AnnotationError: if a table cannot be used, or the data set has not its pairs.
        ShardError: if the data set is damaged.
    """
    if settings.data_dir and not settings.run_dir:
        raise annotation.AnnotationError("--data_dir needs --run_dir, where the pairs are written")
    started = time.monotonic()
    if settings.votes:
        import_votes(settings)
    votes = annotation.read_annotations(settings.annotations, missing=settings.missing)
    names = votes.names()
    if not names:
        raise annotation.AnnotationError(f"{settings.annotations}: holds no label")
    codes = votes.codes(names, missing=_MISSING, unsure=_UNSURE)
    majority = agreement.majority_labels(codes, num_labels=len(names))
    metrics = _alphas(votes, names, codes, settings.seed)
    metrics |= _majority(names, votes, codes, majority)
    given = np.array([names.index(name) if name else -1 for name in votes.automatic], np.int64)
    if (given >= 0).any():
        metrics |= _against_given(names, given, codes, majority)
    print(summary(metrics, names))
    if settings.run_dir:
        _write(settings, votes, names, majority, given, metrics, time.monotonic() - started)
    return metrics


def import_votes(settings: Settings) -> None:
    """Writes the table of annotations from the files that annotators saved.

    Raises:
        AnnotationError: if a file's name names no annotator of the kit, two files have the same
            one, or a vote does not fit the key.
    """
    if not settings.key:
        raise annotation.AnnotationError("--votes needs --key, the key.csv of the kit")
    paths: dict[str, str] = {}
    for path in settings.votes:
        # Browsers number repeated downloads: "votes_ann (1).csv".
        match = re.search(r"votes_(\w+?)(?: ?\(\d+\))?\.csv$", path)
        if not match:
            raise annotation.AnnotationError(f"{path}: rename it to votes_<annotator>.csv")
        if match.group(1) in paths:
            raise annotation.AnnotationError(
                f"{path} and {paths[match.group(1)]} are both of {match.group(1)!r}; give one"
            )
        paths[match.group(1)] = path
    rows = annotation.join_votes(settings.key, paths)
    annotation.write_table(settings.annotations, annotation.ANNOTATION_COLUMNS, rows)
    logging.info(
        "%d votes of %d annotators in %s",
        sum(bool(row["label"]) for row in rows),
        len(paths),
        settings.annotations,
    )


def _alphas(
    votes: Annotations, names: Sequence[str], codes: np.ndarray, seed: int
) -> dict[str, float]:
    labels = len(names)
    low, high = classification.bootstrap_interval(
        lambda rows: agreement.krippendorff_alpha(rows, num_labels=labels), codes, seed=seed
    )
    with_unsure = votes.codes(names, missing=_MISSING, unsure=labels)
    metrics = {
        "alpha": agreement.krippendorff_alpha(codes, num_labels=labels),
        "alpha_low": low,
        "alpha_high": high,
        "alpha_with_unsure": agreement.krippendorff_alpha(with_unsure, num_labels=labels + 1),
        "votes_paired": float(agreement.coincidence_matrix(codes, num_labels=labels).sum()),
    }
    for label, name in enumerate(names):
        if (codes == label).any():
            metrics[f"alpha/{name}"] = agreement.alpha_of_label(codes, label, num_labels=labels)
    return metrics


def _majority(
    names: Sequence[str], votes: Annotations, codes: np.ndarray, majority: np.ndarray
) -> dict[str, float]:
    metrics = {
        "pairs_seen": float(len(majority)),
        "annotators": float(len(votes.annotators)),
        "votes": float((codes != _MISSING).sum()),
        "votes_unsure": float((codes == _UNSURE).sum()),
        "pairs": float((majority >= 0).sum()),
        "dropped_unsure": float((majority == _UNSURE).sum()),
        "no_majority": float((majority == _MISSING).sum()),
    }
    metrics |= {f"pairs/{n}": float((majority == label).sum()) for label, n in enumerate(names)}
    for column, person in enumerate(votes.annotators):
        both = (majority >= 0) & (codes[:, column] != _MISSING)
        if both.any():
            same = codes[both, column] == majority[both]
            metrics[f"agrees_with_majority/{person}"] = float(same.mean())
    return metrics


def _against_given(
    names: Sequence[str], given: np.ndarray, codes: np.ndarray, majority: np.ndarray
) -> dict[str, float]:
    """What single votes and majority labels say of the generated labels."""
    known = given >= 0
    counts = agreement.vote_counts(given[known], codes[known], num_labels=len(names))
    metrics: dict[str, float] = {}
    for ours, theirs in (
        ("vote_precision", "precision"),
        ("vote_recall", "recall"),
        ("votes_hit", "hits"),
        ("votes_given", "given"),
        ("votes_cast", "cast"),
    ):
        values = counts[theirs]
        metrics |= {f"{ours}/{name}": float(v) for name, v in zip(names, values, strict=True)}
    hits, number = counts["hits"].sum(), counts["given"].sum()
    metrics["vote_agreement"] = float(hits / max(number, 1))
    both = known & (majority >= 0)
    if both.any():
        scores = classification.classification_metrics(majority[both], given[both], names)
        metrics |= {f"majority/{name}": value for name, value in scores.items()}
    return metrics


def summary(metrics: dict[str, float], names: Sequence[str]) -> str:
    """The metrics as a text for people."""
    lines = [
        f"Krippendorff's alpha {metrics['alpha']:.3f} (95 % over pairs: "
        f"{metrics['alpha_low']:.3f} to {metrics['alpha_high']:.3f}); with Unsure as a class "
        f"{metrics['alpha_with_unsure']:.3f}",
        f"{metrics['votes']:.0f} votes of {metrics['annotators']:.0f} annotators on "
        f"{metrics['pairs_seen']:.0f} pairs, {metrics['votes_unsure']:.0f} of them Unsure",
        f"{metrics['pairs']:.0f} pairs have a majority label; Unsure has the majority of "
        f"{metrics['dropped_unsure']:.0f}, nothing has it of {metrics['no_majority']:.0f}",
    ]
    if not metrics["votes_paired"]:
        lines.append("no pair has two votes for classes: alpha says nothing here")
    columns = ["alpha", "pairs", "vote_recall", "vote_precision"]
    columns = [c for c in columns if any(f"{c}/{name}" in metrics for name in names)]
    width = max(map(len, names)) + 2
    lines.append("class".ljust(width) + "".join(column.rjust(16) for column in columns))
    for name in names:
        cells = []
        for column in columns:
            value = metrics.get(f"{column}/{name}")
            form = "{:.0f}" if column == "pairs" else "{:.3f}"
            cells.append(("–" if value is None else form.format(value)).rjust(16))
        lines.append(name.ljust(width) + "".join(cells))
    return "\n".join(lines)


def _write(
    settings: Settings,
    votes: Annotations,
    names: Sequence[str],
    majority: np.ndarray,
    given: np.ndarray,
    metrics: dict[str, float],
    seconds: float,
) -> None:
    script = "experiments.annotator_agreement"
    with run_steps.evaluating(settings, script=script, module=__name__) as run_dir:
        said = {_UNSURE: annotation.UNSURE, _MISSING: ""}
        labels = [said.get(label, "") or names[label] * (label >= 0) for label in majority.tolist()]
        rows = [
            {"pair": pair, "label": label, "automatic": automatic}
            for pair, label, automatic in zip(votes.pairs, labels, votes.automatic, strict=True)
        ]
        annotation.write_table(run_dir.path / "labels.csv", ("pair", "label", "automatic"), rows)
        if settings.data_dir:
            count = relation_annotated.write(
                run_dir.path / "labelled",
                dict(zip(votes.pairs, labels, strict=True)),
                data_dir=settings.data_dir,
                split=settings.eval_split,
            )
            logging.info("%d pairs in %s", count, run_dir.path / "labelled" / "pairs.jsonl")
        both = (majority >= 0) & (given >= 0)
        if both.any():
            matrix = classification.confusion_matrix(
                majority[both], given[both], num_classes=len(names)
            )
            figure = figures.confusion_matrix_figure(
                matrix,
                names,
                title="generated labels against the majority of the annotators",
                rows="majority of the annotators (pairs)",
                columns="generated label",
            )
            figures.save(figure, run_dir.figures / "generated_against_majority.png")
        data = untrusted.read_bytes(settings.annotations, most=None)
        digest = hashlib.sha256(data).hexdigest()
        name = os.path.basename(settings.annotations)
        run_dir.write_result(
            metrics=metrics,
            seed=settings.seed,
            dataset={"name": name, "kind": "annotations", "sha256": digest},
            steps=0,
            seconds=seconds,
            parameters=0,
            command=run_steps.command(script),
        )


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(settings_flags.read(Settings))


if __name__ == "__main__":
    flags.mark_flags_as_required(["annotations"])
    common_flags.run_main(main)
