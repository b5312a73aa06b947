r"""Compares proxies of semantic similarity by their agreement with the users of a study.

    python -m experiments.compare_proxies --data_dir=datasets/vg --study_dir=study \
        --run_dir=runs/t1 --vectors=GoogleNews-vectors-negative300.bin --generated=captions.json

Users, the visual baseline, objects, METEOR, Fisher vectors of word vectors, tf-idf of captions, of
generated captions, and chance. What lacks its data is left out and named. Prints Table 1.

Reference: Gordo2017, Section 4 and Table 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags, logging
from tqdm import tqdm

from experiments import (
    common_flags,
    retrieval_data,
    retrieval_flags,
    retrieval_proxies,
    retrieval_report,
    retrieval_study,
    settings_flags,
)
from experiments.retrieval_data import Data
from experiments.retrieval_flags import Settings
from imgtext_tf import runs, text_similarity
from imgtext_tf.data import photos
from imgtext_tf.metrics import triplet_agreement
from imgtext_tf.models import semantic_retrieval

_RANDOM_DRAWS = 5
# The first and second images' similarity to the query, [T] each.
Similarities = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Proxies:
    """What the proxies need beside the data set; the flags' help says what each means."""

    vectors: str = ""
    gaussians: int = 16
    power: float = 1.0
    generated: str = ""
    meteor: str = "nltk"
    max_triplets: int = 0
    common: int = 50
    min_answers: int = 1


def run(settings: Settings, proxies: Proxies) -> dict[str, Any]:
    """Evaluates all proxies whose data is there and returns what `result.json` holds.

    Raises:
        ValueError: if no triplet of the study lies in the split.
    """
    run_dir = runs.RunDirectory(settings.run_dir)
    with run_dir.locked():
        data = retrieval_data.open_data(settings)
        run_dir.begin(
            {name: getattr(settings, name) for name in retrieval_flags.OF_EVALUATIONS}
            | dataclasses.asdict(proxies),
            script="experiments.compare_proxies",
            module=semantic_retrieval.__name__,
            may_change={field.name for kind in (Settings, Proxies)
                        for field in dataclasses.fields(kind)},
        )  # fmt: skip
        rows, counts, metrics = _study(settings, data, proxies)
        for name, similarities in _proxies(settings, proxies, data, rows):
            start = time.monotonic()
            first, second = similarities()
            values = triplet_agreement.method_agreement(first, second, counts[: len(first)])
            metrics |= {
                f"study/{name}": values["normalised"],
                f"study/{name}/plain": values["plain"],
                f"study/{name}/triplets": values["triplets"],
            }
            logging.info(
                "%-10s %5.1f (plain %.1f), %d triplets, %.1f s",
                name, values["normalised"], values["plain"], values["triplets"],
                time.monotonic() - start,
            )  # fmt: skip
        has_synonyms = proxies.meteor == "java" or text_similarity.find_wordnet() is not None
        metrics |= {"study/meteor/synonyms": float(has_synonyms)}
        metrics |= _chance(counts, settings.seed)
        return retrieval_report.report(
            settings, data, run_dir, metrics, script="experiments.compare_proxies", outcome={}
        )


def _chance(counts: np.ndarray, seed: int) -> dict[str, float]:
    """The agreement of similarities that are drawn."""
    draws = [
        triplet_agreement.method_agreement(*rng.random([2, len(counts)]), counts)
        for rng in (np.random.default_rng([seed, n]) for n in range(_RANDOM_DRAWS))
    ]
    metrics = {}
    for end, key in (("", "normalised"), ("/plain", "plain")):
        values = [draw[key] for draw in draws]
        metrics[f"study/random{end}"] = float(np.mean(values))
        metrics[f"study/random{end}/std"] = float(np.std(values))
    return metrics | {"study/random/triplets": draws[0]["triplets"]}


def _study(
    settings: Settings, data: Data, proxies: Proxies
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Rows [T, 3] of answered triplets inside the split, their votes, and the users' agreement."""
    triplets, users, places, answers = retrieval_study.read_study(settings.study_dir)
    names = data.splits[settings.eval_split].ids.tolist()
    row_of = {name: row for row, name in enumerate(names)}
    rows = np.array([[row_of.get(one, -1) for one in triplet] for triplet in triplets])
    known = (rows >= 0).all(axis=1)
    if not known.any():
        raise ValueError(
            f"{settings.study_dir}: no triplet lies in split {settings.eval_split} of "
            f"{settings.data_dir}"
        )
    counts = triplet_agreement.votes(users, places, answers, count=len(triplets))
    known &= counts.any(axis=1)
    if not known.any():
        raise ValueError(f"{settings.study_dir}: no triplet of split {settings.eval_split} has an "
                         "answer")  # fmt: skip
    common = known & (np.arange(len(known)) < proxies.common)
    metrics = {}
    for name, kept in (("human", known), ("human_common", common)):
        metrics |= human_agreement(name, users, places, answers, kept, proxies.min_answers)
    return rows[known], counts[known], metrics


def human_agreement(
    name: str,
    users: list[str],
    places: np.ndarray,
    answers: np.ndarray,
    kept: np.ndarray,
    min_answers: int,
) -> dict[str, float]:
    """The users' agreement with each other on some triplets; empty where they share none.

    Args:
        name: of the metrics, behind "study/".
        users: [A], with `places` and `answers` of `retrieval_study.read_study`.
        places: [A] int.
        answers: [A] int.
        kept: [T] bool, the triplets that count: those that the methods are compared on.
        min_answers: users with fewer answers have no score.
    """
    rows = np.flatnonzero(kept[places])
    try:
        found = triplet_agreement.user_agreement(
            [users[row] for row in rows],
            places[rows],
            answers[rows],
            count=len(kept),
            min_answers=min_answers,
        )
    except ValueError as error:
        logging.warning("%s: no agreement among users: %s", name, error)
        return {}
    ends = {"": "normalised", "/std": "normalised_std", "/plain": "plain"}
    ends |= {"/plain/std": "plain_std", "/users": "users", "/triplets": "triplets"}
    return {f"study/{name}{end}": found[key] for end, key in ends.items()}


def _proxies(
    settings: Settings, proxies: Proxies, data: Data, rows: np.ndarray
) -> Iterator[tuple[str, Callable[[], Similarities]]]:
    """The name of each proxy whose data is there, and what computes it."""
    split, train = data.splits[settings.eval_split], data.splits["train"]

    def of_vectors(vectors: Any) -> Similarities:
        """Dot products of rows, dense or sparse."""
        sides = []
        for place in (1, 2):
            first, second = vectors[rows[:, 0]], vectors[rows[:, place]]
            product = first.multiply(second) if hasattr(first, "multiply") else first * second
            sides.append(np.asarray(product.sum(axis=1)).ravel())
        return sides[0], sides[1]

    def visual() -> Similarities:
        return of_vectors(retrieval_report.baseline_vectors(settings, data, settings.eval_split))

    yield "visual", visual
    objects = {
        name: photos.text_lists(part.reader, "objects")
        for name, part in (("train", train), ("test", split))
    }
    if any(objects["train"]):
        vectorizer = text_similarity.TfIdf.learn(objects["train"], units="labels")
        yield "objects", lambda: of_vectors(vectorizer.transform(objects["test"]))
    else:
        logging.warning("objects: left out, the data set was built without objects.json")
    yield "meteor", lambda: _meteor(proxies, split.sentences, rows)
    if proxies.vectors:
        vectors = retrieval_proxies.load_vectors(proxies.vectors)
        fisher = text_similarity.FisherVectors(
            vectors, gaussians=proxies.gaussians, power=proxies.power
        )
        yield (
            "fisher",
            lambda: of_vectors(
                fisher.learn(train.sentences, seed=settings.seed).transform(split.sentences)
            ),
        )
    else:
        logging.warning("fisher: left out, give --vectors")
    yield "tfidf", lambda: of_vectors(split.tfidf)
    if proxies.generated:
        captions = retrieval_proxies.read_captions(proxies.generated)
        texts = [captions.get(name, []) for name in split.ids.tolist()]
        if not any(texts):
            raise ValueError(
                f"{proxies.generated}: has no caption of an image of split {settings.eval_split}; "
                f"its ids are such as {next(iter(captions), None)!r}, theirs {split.ids[0]!r}"
            )
        yield "generated", lambda: of_vectors(data.vectorizer.transform(texts))
    else:
        logging.warning("generated: left out, give --generated")


def _meteor(proxies: Proxies, sentences: list[list[str]], rows: np.ndarray) -> Similarities:
    rows = rows[: proxies.max_triplets or None]
    with contextlib.ExitStack() as stack:
        if proxies.meteor == "java":
            meteor = stack.enter_context(text_similarity.JavaMeteor())
        else:
            wordnet = text_similarity.find_wordnet()
            logging.info(
                "meteor: NLTK's, %s synonyms", "without WordNet's" if wordnet is None else "with"
            )
            meteor = text_similarity.nltk_meteor(wordnet)
        kernel = functools.partial(text_similarity.match_kernel, meteor=meteor)
        found = [
            [kernel(sentences[query], sentences[image]) for image in images]
            for query, *images in tqdm(rows.tolist(), desc="meteor", unit="triplet")
        ]
    return tuple(np.array(found).T)


def main(argv: list[str]) -> dict[str, Any]:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    settings = retrieval_flags.settings_from_flags(retrieval_flags.OF_EVALUATIONS)
    result = run(settings, settings_flags.read(Proxies))
    print(retrieval_study.agreement_table(result["metrics"], settings.eval_split))
    return result


if __name__ == "__main__":
    retrieval_flags.define_flags(retrieval_flags.OF_EVALUATIONS)
    flags.DEFINE_string("vectors", "", "Word vectors, such as word2vec's in text format.")
    flags.DEFINE_integer("gaussians", Proxies.gaussians, "Gaussians of the Fisher vectors.")
    flags.DEFINE_float(
        "power", Proxies.power, "Power normalisation of the Fisher vectors; 1: none."
    )
    flags.DEFINE_string("generated", "", "JSON of captions that a model generated, by image id.")
    flags.DEFINE_enum(
        "meteor",
        Proxies.meteor,
        ["nltk", "java"],
        "NLTK's METEOR of 2007, with synonyms where its WordNet is installed; or 1.5 in Java.",
    )
    flags.DEFINE_integer("max_triplets", 0, "Triplets that METEOR is computed for; 0: all.")
    flags.DEFINE_integer(
        "common",
        Proxies.common,
        "The first so many triplets, that all users see: agreement among users on these, too "
        "(Section 3).",
    )
    flags.DEFINE_integer(
        "min_answers", Proxies.min_answers, "Users with fewer answers get no score of agreement."
    )
    flags.mark_flags_as_required(["data_dir", "run_dir", "study_dir"])
    common_flags.run_main(main)
