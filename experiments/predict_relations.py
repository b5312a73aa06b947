r"""Predicts the relation of images and texts with a trained run.

    python -m experiments.predict_relations --run_dir=runs/classic --input=pairs.jsonl \
        --output=predictions.jsonl

The input is a JSONL file, `{"id": "7", "image": "photos/7.jpg", "text": "A dog runs."}` a line, or
a folder of pictures with a text beside each (`7.jpg`, `7.txt`). The output is a JSONL file, the
same as a table (`predictions.csv`), the records that cannot be used (`predictions_bad.tsv`) and a
summary (`predictions_summary.json`); with `--explain=20` also pictures of the words and regions
that counted in the first 20 pairs (`predictions_explained/`).

A prediction that was stopped goes on where it stopped when the same command runs again.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import tqdm
from absl import flags, logging

from experiments import common_flags, relation_predictions
from imgtext_tf import explain, filesystem, predict, runs, untrusted
from imgtext_tf.data import pairs
from imgtext_tf.data.shards import BadRecord

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of the same names say what each means."""

    run_dir: str
    input: str
    output: str
    images_dir: str = ""
    which: str = "best"
    abstain_below: float = 0.0
    max_bad_records: float = 0.01
    explain: int = 0


flags.DEFINE_string(
    "images_dir", Settings.images_dir, "Folder of the JSONL's image paths; default: the file's own."
)
flags.DEFINE_float(
    "abstain_below",
    Settings.abstain_below,
    "Give no class where the most probable one has less than this (calibrated) probability; the "
    "run's calibration.json says what that costs and gains.",
    lower_bound=0,
    upper_bound=1,
)
flags.DEFINE_float(
    "max_bad_records",
    Settings.max_bad_records,
    "Share of bad records above which it fails, once the others are predicted.",
    lower_bound=0,
    upper_bound=1,
)
flags.DEFINE_integer(
    "explain",
    Settings.explain,
    "Draw for the first pairs, so many, which words, sentences and regions counted.",
    lower_bound=0,
)
for _name in ("run_dir", "input", "output", "which"):
    flags.declare_key_flag(_name)


def run(settings: Settings) -> dict[str, Any]:
    """Predicts all pairs of the input.

    Returns:
        What the summary holds.

    Raises:
        ValueError: if too many records are bad (after the others' predictions were written), the
            input or output has a wrong name, or a stopped prediction of other settings lies there.
        runs.RunError: if a file of the run is missing.
    """
    filesystem.must_be_local(settings.output, "predictions grow by a line at a time")
    output = pathlib.Path(settings.output)
    if output.suffix != ".jsonl":
        raise ValueError(f"--output={output}: give a name that ends in .jsonl")
    total = sum(1 for _ in _items(settings))
    if not total:
        raise ValueError(f"--input={settings.input}: holds no pair")
    classifier = predict.load(
        settings.run_dir, which=settings.which, abstain_below=settings.abstain_below
    )
    if settings.which == "last":
        logging.warning(
            "calibration.json is of the best model: the last one's probabilities are not calibrated"
        )
    elif not classifier.run.calibration:
        logging.warning(
            "%s has no calibration.json: probabilities are not calibrated; "
            "its training script makes it with --eval_only", settings.run_dir,
        )  # fmt: skip
    # Made before the long part, since some models have no attention.
    explainer = explain.Explainer(classifier.run.model) if settings.explain else None
    bad_file = output.with_name(f"{output.stem}_bad.tsv")
    started, predicted, bad = time.monotonic(), 0, []
    with relation_predictions.Partial(
        output.with_suffix(".partial"), _identity(settings, classifier)
    ) as partial:
        for result in _results(classifier, settings, partial, total):
            predicted += 1
            if isinstance(result, BadRecord):
                bad.append(result)
        counts = relation_predictions.write(output, partial)
    relation_predictions.write_bad(bad_file, bad)
    seconds = time.monotonic() - started
    calibration = {
        name: value for name, value in classifier.run.calibration.items() if name != "dataset"
    }
    summary = {
        "pairs": total,
        "bad": len(bad),
        **counts,
        "pairs_per_second": round(predicted / seconds, 2),
        "calibration": calibration,
        **dataclasses.asdict(settings),
    }
    runs.write_json(output.with_name(f"{output.stem}_summary.json"), summary)
    if explainer:
        folder = output.with_name(f"{output.stem}_explained")
        relation_predictions.draw(
            classifier, explainer, _items(settings), folder, count=settings.explain
        )
    # Only now, so that all bad records are known and the others are not lost; what was predicted
    # stays in the partial file, for the run after the mend.
    if len(bad) > settings.max_bad_records * total:
        raise ValueError(_too_many(bad, total, settings, bad_file))
    partial.remove()
    return summary


def _items(settings: Settings) -> Iterator[pairs.Item]:
    return pairs.read(settings.input, settings.images_dir or None)


def _identity(settings: Settings, classifier: predict.Classifier) -> dict[str, Any]:
    """What all predictions of one output have in common."""
    model = runs.RunDirectory(settings.run_dir).model_file(settings.which)
    return {
        "model": filesystem.sha256_of(model),
        "temperature": classifier.run.temperature,
        "abstain_below": settings.abstain_below,
    }


def _results(
    classifier: predict.Classifier,
    settings: Settings,
    partial: relation_predictions.Partial,
    total: int,
) -> Iterator[predict.Prediction | BadRecord]:
    """Predicts what `partial` lacks, and adds it there."""
    order: collections.deque[tuple[int, str]] = collections.deque()

    def lacking() -> Iterator[pairs.Item]:
        for place, item in enumerate(_items(settings)):
            digest = hashlib.sha256(repr(item).encode("utf-8", "replace")).hexdigest()[:16]
            if partial.has(place, digest):
                bar.update()
            else:
                order.append((place, digest))
                yield item

    bar = tqdm.tqdm(
        total=total,
        desc="predict",
        unit="pair",
        # A log file gets a line now and then, a terminal a live bar.
        mininterval=0.2 if sys.stderr.isatty() else 15,
    )
    with bar:
        for result in classifier.many(lacking()):
            place, digest = order.popleft()
            if isinstance(result, predict.Prediction):
                partial.add(place, digest, result.to_json())
            bar.update()
            yield result


def _too_many(bad: list[BadRecord], total: int, settings: Settings, bad_file: pathlib.Path) -> str:
    examples = "\n".join(
        f"  {untrusted.shortened(f'{record.id}: {record.reason}', 300)}" for record in bad[:20]
    )
    return (
        f"{len(bad)} bad records are more than the share --max_bad_records="
        f"{settings.max_bad_records} of {total} allows ({bad_file} lists them all). "
        f"{settings.output} has the other {total - len(bad):,}. Mend the bad ones and run the same "
        f"command, which predicts these alone, or raise the share:\n{examples}"
    )


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    names = [field.name for field in dataclasses.fields(Settings)]
    summary = run(Settings(**{name: getattr(FLAGS, name) for name in names}))
    _log(summary)
    return summary


def _log(summary: dict[str, Any]) -> None:
    """Says what came out."""
    classes = ", ".join(f"{label} {count}" for label, count in summary["classes"].items())
    logging.info("%d pairs, %d bad records; %s", summary["pairs"], summary["bad"], classes)
    logging.info("no class for %d pairs, a warning for %d", summary["abstained"], summary["warned"])
    if summary["repeated_ids"]:
        logging.warning("%d ids name several pairs each", summary["repeated_ids"])
    if calibration := summary["calibration"]:
        logging.info(
            "temperature %.3f; expected calibration error on val %.4f before, %.4f after",
            *(calibration[name] for name in ("temperature", "ece", "ece_calibrated")),
        )
    logging.info("written to %s", summary["output"])


if __name__ == "__main__":
    flags.mark_flags_as_required(["run_dir", "input", "output"])
    common_flags.run_main(main)
