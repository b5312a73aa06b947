"""The settings of Shah2019's fusion classifier; `HELP` says what each means."""

from __future__ import annotations

import dataclasses

from imgtext_tf.models import fusion_classifier

PHRASE_SETS = ("all", "without_labels")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run.

    The defaults are the paper's (Shah2019, Sections 3.3 to 4.2), and where it is silent those of
    docs/papers/shah2019.md.
    """

    data_dir: str
    run_dir: str
    generator: str
    text_encoder: str
    # Visual embedding.
    backbone: str = "inception_v3"
    backbone_weights: str = "imagenet"
    image_size: int = 299
    central_fraction: float = 0.875
    cache_features: str = "auto"
    # What is compared.
    variants: tuple[str, ...] = ("visual", "text", "multimodal")
    strengths: tuple[float, ...] = (1.0,)
    phrase_sets: tuple[str, ...] = PHRASE_SETS
    output_space: str = "large"
    top: int = 3
    most_per_label: int = 0
    seeds: int = 1
    folds: int = 0
    # Model.
    fusion: str = "concat"
    fc_units: tuple[int, ...] = (1024, 512)
    dropout: float = 0.3
    normalize: bool = True
    # Training.
    learning_rate: float = 0.001
    weight_decay: float = 0.0
    batch_size: int = 128
    max_steps: int = 20_000
    seed: int = 0
    deterministic: bool = False
    verify: str = "full"
    # Evaluation.
    eval_split: str = "test"
    unannotated: str = "ignore"


HELP = {
    "generator": "Run folder of train_phrases: gives phrases and the 64-d bottleneck.",
    "text_encoder": "Run folder of train_query_encoder: gives the 200-d text embedding.",
    "backbone": "Visual embedding model: a Keras application, a .keras file, or hub:<handle>.",
    "backbone_weights": "imagenet, none, or the path of a weights file.",
    "image_size": "Height and width in pixels.",
    "central_fraction": "Share of height and width that is kept of an image.",
    "cache_features": "Folder of the pooled visual features, written once; 'auto' is a folder "
    "beside the shards.",
    "variants": f"What to train: some of {', '.join(fusion_classifier.VARIANTS)}.",
    "strengths": "Shares of the visual embedding's channels that are kept, drawn by the seed.",
    "phrase_sets": "all phrases, and those without_labels: no word of a label's terms in them.",
    "output_space": "small: the queries of the softmax by w_c; large: all prototypes (4.5).",
    "top": "Phrases whose embeddings are averaged (Section 3.3: 3).",
    "most_per_label": "Train photos of a label, at most, for few-shot results; 0: all.",
    "seeds": "How often everything is repeated, with seeds seed, seed + 1, ...",
    "folds": "Cross-validate over train and val in so many folds; 0: train on train.",
    "fusion": "How visual features and text meet (Section 3.5).",
    "fc_units": "Units of the layers before the output.",
    "dropout": "Rate before each layer.",
    "normalize": "Standardise each embedding (Deviation 4).",
    "learning_rate": "Of Adam.",
    "weight_decay": "Adam's decoupled weight decay a step.",
    "unannotated": "Labels without verification: ignore, or negative.",
}
CHOICES = {
    "output_space": ("small", "large"),
    "fusion": fusion_classifier.FUSIONS,
    "unannotated": ("ignore", "negative"),
}
