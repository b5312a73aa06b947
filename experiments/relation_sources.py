"""How a classifier does on the pairs of each source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from experiments.relation_data import Data
from imgtext_tf.data import pipeline


def by_source(data: Data, split: str, arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The accuracy of the pairs of each source, to stand beside a run that was trained without it.

    Args:
        data: the opened data set.
        split: the pairs'.
        arrays: `ids` [N] str, `labels` and `predicted` [N] int, `logits` [N, C], of all or some
            pairs of the split.

    Returns:
        `<split>/source/<source>/` and `accuracy`; `constant`, that of the source's most frequent
        label; `accuracy_among`, where only labels that the source has are allowed, so that a
        source is not lost by the labels of others; `pairs`.
    """
    index = data.readers[split].index
    rows = pipeline.rows_of_ids(index, arrays["ids"].tolist())
    sources = np.char.decode(index["source"][rows], "utf-8")
    metrics: dict[str, float] = {}
    for source in np.unique(sources).tolist():
        chosen = sources == source
        truth = arrays["labels"][chosen]
        labels, counts = np.unique(truth, return_counts=True)
        among = labels[arrays["logits"][chosen][:, labels].argmax(axis=1)]
        of_source = {
            "accuracy": np.mean(truth == arrays["predicted"][chosen]),
            "constant": counts.max() / len(truth),
            "accuracy_among": np.mean(truth == among),
            "pairs": len(truth),
        }
        metrics |= {f"{split}/source/{source}/{k}": float(v) for k, v in of_source.items()}
    return metrics
