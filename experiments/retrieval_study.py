"""A user study as tables: its triplets, the answers of its users, and the agreement of methods."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping

import numpy as np

from imgtext_tf import filesystem, untrusted

# Published studies of this form (IRSGS) call it anon_results.csv.
_JOINED = ("answers.csv", "anon_results.csv")
_OF_PAGE = re.compile(r"answers_([0-9a-f]{12})_.*\.csv")
# The rows of Table 1, and the agreement on the common triplets (Section 3).
_ROWS = {
    "human": "Human annotators",
    "human_common": "Human annotators, common triplets",
    "visual": "Visual baseline: R-MAC",
    "objects": "Object annotations",
    "meteor": "Human captions: METEOR",
    "fisher": "Human captions: word vectors + FV",
    "tfidf": "Human captions: tf-idf",
    "generated": "Generated captions: tf-idf",
    "random": "Random (x5)",
}
_TARGETS = ("query_id", "target_id1", "target_id2")


def digest(triplets: bytes) -> str:
    """What a study's page knows its `triplets.csv` by: 12 hexadecimal digits."""
    return hashlib.sha256(triplets).hexdigest()[:12]


def read_study(
    folder: str | os.PathLike,
) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Reads a user study: `triplets.csv`, and its answers.

        triplet_id,query_id,target_id1,target_id2
        user_id,answer,triplet_id                   answer: 0 first, 1 second, 2 both, 3 neither

    The answers stand in `answers.csv`, or in the files that the study's page saved, one a user.

    Returns:
        [T, 3] str image ids; users [A]; [A] int places of their triplets; [A] int answers.

    Raises:
        ValueError: naming file and line of what does not fit.
        FileNotFoundError: if there are no triplets or no answers.
    """
    triplets, place_of = [], {}
    path = os.path.join(folder, "triplets.csv")
    for number, row in _rows(path, ("triplet_id", *_TARGETS)):
        name = row["triplet_id"].strip()
        if name in place_of:
            raise ValueError(f"{path}, line {number}: the triplet {name!r:.80} stands twice")
        place_of[name] = len(triplets)
        triplets.append([row[target].strip() for target in _TARGETS])
        if not all(triplets[-1]):
            raise ValueError(f"{path}, line {number}: an image of the triplet has no id")
    users, places, answers = [], [], []
    for path in _answer_files(folder):
        for number, row in _rows(path, ("user_id", "answer", "triplet_id")):
            try:
                answer = int(row["answer"])
                places.append(place_of[row["triplet_id"].strip()])
            except (KeyError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number}: {error!r}; expected user_id,answer,triplet_id of a "
                    "triplet in triplets.csv"
                ) from None
            if answer not in range(4):
                raise ValueError(f"{path}, line {number}: the answer {answer} is not 0, 1, 2 or 3")
            users.append(row["user_id"].strip())
            answers.append(answer)
    return np.array(triplets), users, np.array(places, np.int64), np.array(answers, np.int64)


def _answer_files(folder: str | os.PathLike) -> list[str]:
    """The joined answers, or those that the page saved, one file a user.

    Raises:
        ValueError: if a file answers other triplets than those of this folder.
        FileNotFoundError: if there are none.
    """
    names = filesystem.listdir(folder)
    for name in _JOINED:
        if name in names:
            return [os.path.join(folder, name)]
    found = [match for match in map(_OF_PAGE.fullmatch, names) if match]
    if not found:
        raise FileNotFoundError(
            f"{folder}: has neither {' nor '.join(_JOINED)}, nor the files answers_<study>_<user>"
            ".csv that the study's page saves"
        )
    own = digest(filesystem.read_bytes(os.path.join(folder, "triplets.csv")))
    for match in found:
        if match[1] != own:
            raise ValueError(
                f"{os.path.join(folder, match[0])}: answers the study {match[1]}, and triplets.csv "
                f"here is {own}: take the file away, or put back that study's triplets.csv"
            )
    return [os.path.join(folder, match[0]) for match in found]


def _rows(path: str, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    for number, row in untrusted.read_table(path, needed=needed):
        if isinstance(row, str):
            raise ValueError(f"{path}, line {number}: {row}")
        yield number, row


def agreement_table(metrics: Mapping[str, float], split: str) -> str:
    """Table 1 in Markdown: a line for each row of the paper that has a number.

    Both means of the agreement stand there: divided by the shares of users that chose, and plain.
    """
    lines = ["| | agreement | plain mean | triplets |", "|---|---|---|---|"]
    for name, title in _ROWS.items():
        start = f"{split}/study/{name}"
        if start not in metrics:
            continue
        cells = []
        for key in (start, f"{start}/plain"):
            spread = metrics.get(f"{key}/std")
            cells.append(f"{metrics[key]:.1f}" + ("" if spread is None else f" ± {spread:.1f}"))
        count = metrics.get(f"{start}/triplets")
        lines.append(f"| {title} | {' | '.join(cells)} | {'' if count is None else int(count)} |")
    return "\n".join(lines)
