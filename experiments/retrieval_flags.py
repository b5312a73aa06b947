"""The settings of Gordo2017's experiments: one field, one flag and one help text each."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from absl import flags

from experiments import settings_flags
from imgtext_tf.metrics import graded_ranking
from imgtext_tf.models import semantic_retrieval
from imgtext_tf.text_similarity import tfidf

TRIPLETS = ("mined", "ordered")
WEIGHTS = ("none", "similarity")

# What an evaluation may be told anew of a run that stands: what is measured, and where data lies.
EVALUATION = (
    *("eval_split", "queries", "r_grid", "auc_scale", "study_dir"),
    *("ndcg_gain", "ndcg_discount", "ndcg_ideal"),
)
PLACES = ("data_dir", "run_dir", "verify", "eval_only", "cache_features")

# The settings of a script that trains nothing.
OF_EVALUATIONS = (
    *("data_dir", "run_dir", "backbone", "backbone_weights", "input_range", "longest_side"),
    *("rmac_levels", "dimensions", "cache_features", "whitening", "whitening_regions"),
    *("whitening_floor", "term_weight", "idf", "min_documents", "seed", "verify", "eval_split"),
    *("queries", "r_grid", "auc_scale", "study_dir"),
    *("ndcg_gain", "ndcg_discount", "ndcg_ideal"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run; `HELP` says what each means.

    The defaults are the paper's (Gordo2017, Sections 5 and 6.1), and where it is silent those of
    docs/papers/gordo2017.md.
    """

    data_dir: str
    run_dir: str
    # Images.
    backbone: str = "resnet101"
    backbone_weights: str = "imagenet"
    input_range: tuple[float, ...] = ()
    tune_backbone: bool = False
    longest_side: int = 576
    rmac_levels: int = 2
    dimensions: int = 0
    cache_features: str = "auto"
    whitening: str = ""
    whitening_regions: int = 200_000
    whitening_floor: float = 0.0
    # Texts.
    term_weight: str = "count"
    idf: str = "plain"
    min_documents: int = 1
    # Training.
    embedding: str = "joint"
    margin: float = 0.1
    neighbours: int = 32
    triplets: str = "mined"
    triplet_weight: str = "none"
    pool_queries: int = 500
    pool_relevant: int = 9
    keep_hardest: int = 100
    mine_every: int = 64
    batch_size: int = 64
    micro_batches: int = 1
    learning_rate: float = 1e-5
    dropped_rate: float = 1e-6
    drop_step: int = 8000
    max_steps: int = 16_000
    checkpoint_every: int = 256
    eval_every: int = 0
    eval_steps: tuple[int, ...] = ()
    monitor: str = "val/ndcg_auc"
    seed: int = 0
    deterministic: bool = False
    mixed_precision: bool = False
    verify: str = "full"
    # Evaluation.
    eval_only: bool = False
    eval_split: str = "test"
    queries: int = 1000
    r_grid: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    auc_scale: str = "mean"
    ndcg_gain: str = "linear"
    ndcg_discount: str = "log2"
    ndcg_ideal: str = "database"
    study_dir: str = ""


HELP = {
    "backbone": "Image encoder: a Keras application in snake_case, a .keras file, or hub:<handle>.",
    "backbone_weights": "imagenet, none, or the path of a weights file.",
    "input_range": "What black and white become for a backbone that needs another range, as 0,1.",
    "tune_backbone": "Train the backbone, too (Section 5.1), with frozen batch normalisation; "
    "else its region vectors are computed once.",
    "longest_side": "Images are scaled to this longest side, in pixels (Section 6.1); 0: as found.",
    "rmac_levels": "Levels of R-MAC's grid (Section 6.1: two scales).",
    "dimensions": "Length of a descriptor; 0: the backbone's channels.",
    "cache_features": "Folder of the frozen backbone's region vectors, written once, or of its "
    "whole feature maps; 'auto' is a folder beside the shards.",
    "whitening": "whitening.npz of experiments.fit_whitening, or none; empty: fitted to the train "
    "split.",
    "whitening_regions": "Region vectors, at most, that the PCA is fitted to.",
    "whitening_floor": "Eigenvalues of the PCA are raised to this share of the largest.",
    "term_weight": "tf of a term that stands n times: count n, binary 1, log 1 + ln n.",
    "idf": "idf: plain ln(N/d), plus_one ln(N/d) + 1, smooth ln((1+N)/(1+d)) + 1.",
    "min_documents": "Terms in fewer train images are left out.",
    "embedding": "visual: Eq. 1; joint: Eq. 1 to 3; wsabie: Eq. 2 alone.",
    "margin": "m of Eq. 1 to 3; the paper does not say.",
    "neighbours": "k: so many nearest images by tf-idf are relevant (Section 5.1).",
    "triplets": "mined: the hardest of a pool (Section 6.1); ordered: any with s(q,+) > s(q,-).",
    "triplet_weight": "none, or similarity: triplets count by s(q,+) - s(q,-), as in WARP.",
    "pool_queries": "N: queries of a mining pool (Section 6.1).",
    "pool_relevant": "Relevant images drawn for each query of a pool (Section 6.1).",
    "keep_hardest": "Triplets kept for each query and relevant image (Section 6.1).",
    "mine_every": "t: updates between two minings (Section 6.1).",
    "micro_batches": "Parts of a batch that run in turn and add up their gradients; with a trained "
    "backbone so many parts of 16 images.",
    "learning_rate": "Adam's learning rate at the start (Section 6.1).",
    "dropped_rate": "Adam's learning rate from drop_step on (Section 6.1).",
    "drop_step": "Update after which the learning rate drops (Section 6.1: 8k).",
    "monitor": "The val metric that chooses the best weights.",
    "queries": "Queries of an evaluation, drawn from the split (Section 6.1); 0: all images.",
    "r_grid": "Values of R for NDCG@R and PCC@R.",
    "auc_scale": "Area under the curves: the mean over R, or trapezoids over linear or log R.",
    "ndcg_gain": "An image counts by its relevance (linear), or 2^relevance - 1 (exponential).",
    "ndcg_discount": "Rank i is divided by log2(i + 1), or by max(1, log2 i) (jarvelin).",
    "ndcg_ideal": "1 is the best order of the whole database, or of the R retrieved images.",
    "study_dir": "Folder of a user study's triplets.csv and its answers; empty: none.",
}
CHOICES = {
    "term_weight": tfidf.TERM_WEIGHTS,
    "idf": tfidf.IDFS,
    "embedding": tuple(semantic_retrieval.EMBEDDINGS),
    "triplets": TRIPLETS,
    "triplet_weight": WEIGHTS,
    "auc_scale": ("mean", "linear", "log"),
    "ndcg_gain": graded_ranking.GAINS,
    "ndcg_discount": graded_ranking.DISCOUNTS,
    "ndcg_ideal": graded_ranking.IDEALS,
}


def define_flags(
    names: Collection[str] | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """Defines a flag for each setting, or for those of these names; see `settings_flags.define`."""
    settings_flags.define(Settings, HELP, CHOICES, flag_values, names)


def settings_from_flags(
    names: Collection[str] | None = None,
    flag_values: flags.FlagValues = flags.FLAGS,
    **values: Any,
) -> Settings:
    """The settings that the command line gives; see `settings_flags.read`."""
    return settings_flags.read(Settings, flag_values, names, **values)
