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
        arrays: `ids` [N] str, `labels` and `predicted` [N] int, of all or some pairs of the split.

    Returns:
        `<split>/source/<source>/accuracy` and `.../pairs`.
    """
    index = data.readers[split].index
    rows = pipeline.rows_of_ids(index, arrays["ids"].tolist())
    sources = np.char.decode(index["source"][rows], "utf-8")
    right = arrays["labels"] == arrays["predicted"]
    metrics: dict[str, float] = {}
    for source in np.unique(sources).tolist():
        chosen = right[sources == source]
        metrics[f"{split}/source/{source}/accuracy"] = float(chosen.mean())
        metrics[f"{split}/source/{source}/pairs"] = float(len(chosen))
    return metrics
