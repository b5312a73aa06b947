r"""Trains the baselines that every classifier of relations should beat, on the same split.

    python -m experiments.train_baselines --data_dir=datasets/relations --run_dir=runs/baselines \
        --backbone=efficientnet_lite0.keras --image_size=224

`majority` always says the most frequent class; `length` sees how long a text is and no word of it;
`image` sees the mean feature map and no text; `tfidf` sees the words and no image; `both` sees the
words and the mean feature map's 256 principal components. All but the first are logistic
regressions with balanced classes, whose regularisation is chosen on val by the mean recall. A
classifier of texts or images only is `train_classic --inputs=text` or `--inputs=image`.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from absl import flags, logging
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments import (
    common_flags,
    relation_data,
    relation_flags,
    relation_matrices,
    relation_report,
    run_steps,
)
from experiments.relation_data import Data
from experiments.relation_flags import Settings
from imgtext_tf import runs, training
from imgtext_tf.data import text

FLAGS = flags.FLAGS

BASELINES = ("majority", "length", "image", "tfidf", "both")
_STRENGTHS = (0.1, 1.0, 10.0)
_COMPONENTS = 256

flags.DEFINE_enum("target", "relation", ["relation", "cmi", "sc", "stat"], "What to predict.")
flags.DEFINE_list("baselines", list(BASELINES), "The baselines to train.")
for _name in ("data_dir", "run_dir", "seed", "verify", "eval_split"):
    flags.declare_key_flag(_name)
for _name in ("backbone", "backbone_weights", "image_size", "central_fraction", "cache_features"):
    flags.declare_key_flag(_name)

# The inputs of a baseline on one split: [N, D], dense or sparse.
Inputs = Callable[[str], Any]


def run(settings: Settings, baselines: tuple[str, ...] = BASELINES) -> dict[str, Any]:
    """Trains and evaluates the baselines.

    Returns:
        What `result.json` holds: metrics named `<baseline>/<split>/<metric>`.

    Raises:
        ValueError: if a baseline is unknown.
        ShardError: if the data set is damaged.
    """
    if settings.leave_out_source:
        raise ValueError("the baselines know no --leave_out_source: leave it out")
    unknown = sorted(set(baselines) - set(BASELINES))
    if unknown:
        raise ValueError(f"unknown baseline {unknown[0]!r}: use {', '.join(BASELINES)}")
    run_dir = runs.RunDirectory(settings.run_dir)
    with run_dir.locked():
        started = time.monotonic()
        run_dir.begin(
            dataclasses.asdict(settings) | {"baselines": baselines},
            script="experiments.train_baselines",
            module=__name__,
        )
        data = Data(settings, relation_data.open_readers(settings), text.Vocabulary(()))
        metrics: dict[str, float] = {}
        for baseline in baselines:
            metrics |= _evaluate(baseline, data, run_dir)
        return run_dir.write_result(
            metrics=metrics,
            seed=settings.seed,
            dataset=data.description(),
            steps=0,
            seconds=time.monotonic() - started,
            parameters=0,
            command=run_steps.command("experiments.train_baselines"),
        )


def _evaluate(baseline: str, data: Data, run_dir: runs.RunDirectory) -> dict[str, float]:
    """The metrics of a baseline on a split and on its balanced part, and their pictures."""
    split = data.settings.eval_split
    truth = data.truth(split)
    if baseline == "majority":
        predicted = np.full(len(truth), np.bincount(data.truth("train")).argmax())
    else:
        inputs = {"length": _lengths, "image": _images, "tfidf": _words, "both": _both}[baseline]
        inputs = inputs(data)
        predicted = _fit(inputs, data, baseline).predict(inputs(split))
    ids = np.char.decode(data.readers[split].index["id"], "utf-8")
    parts = relation_report.parts_of(data, split, ids)
    metrics = {}
    for part, chosen in parts.items():
        of_part = relation_report.part_metrics(data, truth[chosen], predicted[chosen])
        metrics |= {f"{baseline}/{part}/{name}": value for name, value in of_part.items()}
        relation_matrices.draw(
            run_dir,
            part,
            truth[chosen],
            predicted[chosen],
            data.labels,
            of=baseline,
            name=baseline,
        )
        logging.info("%s, %s: accuracy %.4f", baseline, part, of_part["accuracy"])
    return metrics


def _fit(inputs: Inputs, data: Data, baseline: str) -> Any:
    """The logistic regression whose strength of regularisation gives the best recall on val."""
    train, val = (inputs(split) for split in ("train", "val"))
    best, best_recall = None, -1.0
    for strength in _STRENGTHS:
        # Sparse tf-idf has its own scale, and centring would make it dense.
        steps = [] if baseline in ("tfidf", "both") else [StandardScaler()]
        model = make_pipeline(*steps, _regression(strength))
        with warnings.catch_warnings():
            # A baseline that stops a little early is a baseline still; val decides.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, data.truth("train"))
        recall = balanced_accuracy_score(data.truth("val"), model.predict(val))
        if recall > best_recall:
            best, best_recall = model, recall
    return best


def _regression(strength: float) -> LogisticRegression:
    # Classes weigh the same, as on the balanced test pairs.
    return LogisticRegression(C=strength, max_iter=300, class_weight="balanced")


def _lengths(data: Data) -> Inputs:
    """Sentences, words, longest sentence and mean sentence of a text, and their logarithms."""

    def inputs(split: str) -> np.ndarray:
        index = data.readers[split].index
        columns = [index[name].astype(np.float64) for name in ("sentences", "words", "longest")]
        columns.append(columns[1] / np.maximum(columns[0], 1))
        return np.stack([*columns, *(np.log1p(column) for column in columns)], axis=1)

    return inputs


def _images(data: Data) -> Inputs:
    """The mean of the feature map."""
    settings = dataclasses.replace(
        data.settings, cache_features=data.settings.cache_features or "auto"
    )
    training.set_seed(settings.seed)
    encoder = relation_data.open_encoder(settings)
    cache = relation_data.open_features(settings, data.readers, encoder)

    @functools.cache
    def inputs(split: str) -> np.ndarray:
        # Many pairs show one image.
        rows, places = np.unique(
            cache.lookup(data.readers[split].index["image_id"]), return_inverse=True
        )
        parts = np.array_split(rows, -(-len(rows) // 256))
        means = [cache.read(part).mean(axis=(1, 2), dtype=np.float32) for part in parts]
        return np.concatenate(means)[places]

    return inputs


def _words(data: Data) -> Inputs:
    """Tf-idf of words and pairs of words; a word of the train split's texts, at least twice."""

    @functools.cache
    def documents(split: str) -> list[list[str]]:
        return [
            [word for sentence in sentences for word in sentence]
            for sentences in relation_data.texts(data.readers[split])
        ]

    vectorizer = TfidfVectorizer(
        analyzer=lambda words: [*words, *map(" ".join, zip(words, words[1:], strict=False))],
        min_df=2,
        sublinear_tf=True,
        dtype=np.float32,
    ).fit(documents("train"))
    return lambda split: vectorizer.transform(documents(split))


def _both(data: Data) -> Inputs:
    """Tf-idf of the words beside the mean feature map, at the scale of tf-idf."""
    words, images = _words(data), _images(data)
    # All channels, dense as they are, would make a sparse regression several times as slow.
    rows, channels = images("train").shape
    pca = PCA(min(_COMPONENTS, rows, channels), random_state=data.settings.seed)
    reduced = make_pipeline(StandardScaler(), pca).fit(images("train"))

    def inputs(split: str) -> scipy.sparse.csr_matrix:
        # Rows of tf-idf have length 1; a row of standardised features has that of the root of D.
        features = reduced.transform(images(split)) / channels**0.5
        return scipy.sparse.hstack([words(split), scipy.sparse.csr_matrix(features)]).tocsr()

    return inputs


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(relation_flags.settings_from_flags(FLAGS.target), tuple(FLAGS.baselines))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data_dir", "run_dir"])
    common_flags.run_main(main)
