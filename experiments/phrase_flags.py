"""The settings of Shah2019's phrase generator; `HELP` says what each means."""

from __future__ import annotations

import dataclasses

from imgtext_tf import layers, search

OPTIMIZERS = ("lazy_adam", "adagrad", "row_adagrad", "adam")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run.

    The defaults are the paper's (Shah2019, Section 3.2), and where it is silent those of
    docs/papers/shah2019.md.
    """

    data_dir: str
    run_dir: str
    # Image.
    backbone: str = "resnet101"
    backbone_weights: str = "imagenet"
    tune_backbone: bool = True
    image_size: int = 224
    central_fraction: float = 1.0
    cache_features: str = ""
    crop: bool = True
    flip: bool = True
    colour: bool = True
    # Model.
    embedding_dim: int = 64
    hidden_units: tuple[int, ...] = ()
    dropout: float = 0.0
    # Queries.
    train_share: float = 1.0
    leave_out_labels: tuple[str, ...] = ()
    min_images: int = 1
    vocabulary_size: int = 0
    sampler: str = "log_uniform"
    num_sampled: int = 4096
    scale: float = 20.0
    learn_scale: bool = False
    log_q: bool = True
    # Training.
    optimizer: str = "lazy_adam"
    learning_rate: float = 0.001
    learning_rate_schedule: str = "constant"
    batch_size: int = 128
    max_steps: int = 100_000
    checkpoint_every: int = 1000
    eval_every: int = 0
    eval_steps: tuple[int, ...] = ()
    monitor: str = "val/precision@3"
    seed: int = 0
    deterministic: bool = False
    mixed_precision: bool = False
    verify: str = "full"
    # Phrases.
    prototype_images: int = 1
    normalize: bool = True
    more_queries: bool = True
    backend: str = "exact"
    # Evaluation.
    eval_only: bool = False
    eval_split: str = "test"


HELP = {
    "backbone": "Image encoder: a Keras application in snake_case, a .keras file, or hub:<handle>.",
    "backbone_weights": "imagenet, none, or the path of a weights file.",
    "tune_backbone": "Train the image encoder, too; not with --cache_features.",
    "image_size": "Height and width in pixels.",
    "central_fraction": "Share of height and width that is kept of an image without distortions.",
    "cache_features": "Folder of the pooled features of all images, written once; 'auto' is a "
    "folder beside the shards; empty: live pixels.",
    "crop": "Distort: random crop of 5 to 100 % of the image.",
    "flip": "Distort: mirror half of the images.",
    "colour": "Distort brightness, saturation, hue and contrast.",
    "embedding_dim": "Length of the bottleneck x (Section 3.2: 64).",
    "hidden_units": "Units of layers between backbone and bottleneck (Deviation 2).",
    "dropout": "Rate before the bottleneck (Deviation 2).",
    "train_share": "Share of the train photos to train on, by a hash of their content; the others "
    "are for a fusion classifier.",
    "leave_out_labels": "Data sets of build_labels (comma-separated): queries with a word of one "
    "of their labels are left out everywhere, as if nobody had asked them.",
    "min_images": "Train images that a query of the softmax has, at least.",
    "vocabulary_size": "Most frequent queries that the softmax has; 0: all.",
    "sampler": "Which queries stand for all others in a step.",
    "num_sampled": "Queries sampled a step, on average; 0: all (a full softmax).",
    "scale": "s of softmax(s cos), or its first value; Eq. 1 has 1.",
    "learn_scale": "Learn the scale.",
    "log_q": "Correct for how often the sampler draws a query.",
    "optimizer": "lazy_adam, adagrad and row_adagrad touch the rows of the sample only.",
    "learning_rate": "Learning rate at the start.",
    "learning_rate_schedule": "The learning rate's way to max_steps; cosine ends at 0.",
    "monitor": "The val metric that chooses the best weights.",
    "prototype_images": "Train images that a query with a prototype has, at least.",
    "normalize": "Embeddings have length 1 before they are averaged to prototypes.",
    "more_queries": "Prototypes for the data set's further queries, too.",
    "backend": "Search among the prototypes (Eq. 3).",
}
CHOICES = {
    "sampler": layers.SAMPLERS,
    "optimizer": OPTIMIZERS,
    "learning_rate_schedule": ("constant", "cosine"),
    "backend": tuple(search.BACKENDS),
}
