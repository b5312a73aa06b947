"""The files that `predict_relations` writes, and how it goes on after a stop."""

from __future__ import annotations

import collections
import csv
import itertools
import json
import pathlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imgtext_tf import explain, explain_figures, figures, predict, runs, untrusted
from imgtext_tf.data import pairs
from imgtext_tf.data.shards import BadRecord


class Partial:
    """Predictions so far, a line each, in a file that survives a kill."""

    def __init__(self, path: pathlib.Path, identity: Mapping[str, Any]) -> None:
        """Opens the file, or begins it.

        Raises:
            ValueError: if it holds predictions of another identity.
        """
        self._path = path
        self._found: dict[int, tuple[str, int]] = {}  # place -> digest of the pair, byte
        self._offsets: dict[int, int] = {}  # place -> byte, of pairs that are in the input
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115
        self._file.seek(0)
        head = self._file.readline()
        if head.endswith(b"\n"):
            if _parsed(head) != dict(identity):
                self._file.close()
                raise ValueError(
                    f"{path}: holds predictions of another model or threshold that were stopped; "
                    "use another --output, or delete it"
                )
            self._read()
        else:
            self._file.truncate(0)
            self._write(identity)

    def _read(self) -> None:
        offset = self._file.tell()
        for line in self._file:
            record = _parsed(line)
            # Cut by a kill, or damaged: predicted again, from here on.
            if not line.endswith(b"\n") or record.pop("check", None) != _check_sum(record):
                self._file.truncate(offset)
                break
            self._found[record["place"]] = (record["digest"], offset)
            offset += len(line)

    def _write(self, record: Mapping[str, Any]) -> int:
        offset = self._file.seek(0, 2)
        self._file.write(json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n")
        self._file.flush()
        return offset

    def __enter__(self) -> Partial:
        """Is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file, which stays."""
        self._file.close()

    def has(self, place: int, digest: str) -> bool:
        """Whether the pair at this place, and no other, was predicted."""
        found, offset = self._found.get(place, ("", 0))
        if found == digest:
            self._offsets[place] = offset
        return found == digest

    def add(self, place: int, digest: str, prediction: dict[str, Any]) -> None:
        """Writes a prediction."""
        record = {"place": place, "digest": digest, "prediction": prediction}
        self._offsets[place] = self._write({**record, "check": _check_sum(record)})

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The predictions in the order of the input."""
        for place in sorted(self._offsets):
            self._file.seek(self._offsets[place])
            yield _parsed(self._file.readline())["prediction"]

    def remove(self) -> None:
        """Deletes the file."""
        self._path.unlink()


def _check_sum(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _parsed(line: bytes) -> dict[str, Any]:
    """The object of a line; an empty one for a line that is damaged."""
    try:
        record = untrusted.parse_json(line)
    except untrusted.DamagedError:
        return {}
    return record if isinstance(record, dict) else {}


def write(output: pathlib.Path, partial: Partial) -> dict[str, Any]:
    """Writes JSONL and CSV; gives the counts of classes, abstentions, warnings, repeated ids."""
    classes, abstained, warned = collections.Counter(), 0, 0
    ids = collections.Counter()
    with (
        runs.atomic_path(output) as lines,
        runs.atomic_path(output.with_suffix(".csv")) as table,
        open(lines, "w", encoding="utf-8") as jsonl,
        open(table, "w", newline="", encoding="utf-8") as sheet,
    ):
        writer = csv.writer(sheet)
        for number, prediction in enumerate(partial):
            jsonl.write(json.dumps(prediction, ensure_ascii=False) + "\n")
            row = _row(prediction)
            if number == 0:
                writer.writerow(row)
            writer.writerow(row.values())
            ids[prediction["id"]] += 1
            classes[prediction["label"]] += 1
            abstained += not prediction["label"]
            warned += bool(prediction["warnings"])
    del classes[""]
    return {
        "classes": dict(classes.most_common()),
        "abstained": abstained,
        "warned": warned,
        "repeated_ids": sum(count > 1 for count in ids.values()),
    }


def _row(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction as a row of the table."""
    row = {name: prediction[name] for name in ("id", "label", "probability")}
    row |= {metric: prediction["metrics"].get(metric, "") for metric in prediction["marginals"]}
    row |= {f"p({name})": share for name, share in prediction["probabilities"].items()}
    for metric, shares in prediction["marginals"].items():
        row |= {f"p({metric} {value})": share for value, share in shares.items()}
    return row | {"warnings": "; ".join(prediction["warnings"])}


def draw(
    classifier: predict.Classifier,
    explainer: explain.Explainer,
    items: Iterable[pairs.Item],
    folder: pathlib.Path,
    *,
    count: int,
) -> None:
    """Draws what counted in the first pairs that can be used: attention, and what hiding costs.

    Args:
        classifier: that predicted them.
        explainer: of its model.
        items: the pairs.
        folder: where the PNG files go.
        count: how many to draw.
    """
    usable = (item for item in items if not isinstance(classifier.prepare(item), BadRecord))
    for number, item in enumerate(itertools.islice(usable, count)):
        pair, answer = classifier.prepare(item), next(classifier.many([item]))
        best = max(answer.probabilities, key=answer.probabilities.get)
        inputs, label = classifier.inputs([pair]), classifier.labels.index(best)
        figure = explain_figures.picture(
            pair.sentences,
            explainer(inputs),
            explainer.effect(inputs, label, temperature=classifier.run.temperature),
            pair.image,
            title=f"{best} {100 * answer.probability:.0f} %   ({pair.id})",
        )
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", pair.id)[:80]
        figures.save(figure, folder / f"{number:04d}_{name}.png")


def write_bad(path: pathlib.Path, bad: list[BadRecord]) -> None:
    """Writes a table of the ids and faults of bad records."""
    with runs.atomic_path(path) as temporary:
        lines = [f"{record.id}\t{' '.join(record.reason.split())}\n" for record in bad]
        temporary.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
