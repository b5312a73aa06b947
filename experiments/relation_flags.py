"""The settings of the Otto2020 classifiers and their flags, beside those of `common_flags`."""

from __future__ import annotations

import dataclasses

from absl import app, flags

from experiments import common_flags, settings_flags


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run; the flag of the same name says what each means.

    The defaults are the paper's (Otto2020, Sections 4.2 and 5), and where it is silent those of
    docs/papers/otto2020.md.
    """

    data_dir: str
    run_dir: str
    target: str = "relation"
    init_from: str = ""
    # Image.
    backbone: str = "inception_resnet_v2"
    backbone_weights: str = "imagenet"
    tune_backbone: bool = False
    image_size: int = 299
    input_range: tuple[float, ...] = ()
    central_fraction: float = 0.875
    cache_features: str = ""
    crop: bool = True
    flip: bool = True
    colour: bool = True
    # Text.
    vectors: str = ""
    vectors_limit: int = 0
    extend_vocabulary: bool = False
    train_vectors: bool = False
    max_sentences: int = 30
    max_words: int = 50
    fixed_padding: bool = False
    drop_sentences: float = 0.0
    drop_words: float = 0.0
    # Model.
    inputs: str = "both"
    image_attention: str = "context"
    gru_units: int = 512
    image_dim: int = 0
    fusion: str = "concat"
    fc_units: tuple[int, ...] = (1024, 512, 256, 128)
    image_dropout: float = 0.3
    text_dropout: float = 0.4
    word_dropout: float = 0.0
    region_dropout: float = 0.0
    word_scores: bool = False
    metric_logits: bool = False
    # Training.
    batch_size: int = 12
    max_steps: int = 100_000
    learning_rate: float = 0.001
    learning_rate_schedule: str = "constant"
    weight_decay: float = 0.0
    ema: float = 0.0
    class_weights: bool = False
    class_balance: float = 0.0
    logit_adjustment: float = 0.0
    eval_steps: tuple[int, ...] = ()
    eval_every: int = 0
    checkpoint_every: int = 1000
    monitor: str = "val/accuracy"
    seed: int = 0
    deterministic: bool = False
    mixed_precision: bool = False
    jit_compile: bool = False
    verify: str = "full"
    leave_out_source: str = ""
    # Evaluation.
    eval_only: bool = False
    eval_split: str = "test"


# What a run that starts from another one takes over from it.
OF_MODEL = (
    *("backbone", "backbone_weights", "tune_backbone", "image_size", "input_range"),
    *("central_fraction", "vectors", "vectors_limit", "extend_vocabulary", "train_vectors"),
    *("max_sentences", "max_words", "inputs", "image_attention", "gru_units", "image_dim"),
    *("fusion", "fc_units", "image_dropout", "text_dropout", "word_dropout", "region_dropout"),
    *("word_scores", "metric_logits"),
)

HELP = {
    "init_from": "Run directory to start from: its model and vocabulary, with a new output layer "
    "where the classes are others.",
    # Image.
    "backbone": "Image encoder: a Keras application in snake_case, small_cnn, a path of a .keras "
    "file, or hub:<TF-Hub handle or folder>.",
    "backbone_weights": "imagenet, none, or the path of a weights file.",
    "tune_backbone": "Train the image encoder, too.",
    "image_size": "Height and width in pixels.",
    "input_range": "What black and white become for a backbone that needs another range than is "
    "assumed, such as 0,1 (comma-separated); empty: the backbone's own.",
    "central_fraction": "Share of height and width that is kept of an image without distortions.",
    "cache_features": "Folder of feature maps, written once and reused, so that training needs no "
    "CNN (and no distortions happen); 'auto' is a folder beside the shards; empty: live pixels.",
    "crop": "Distort: random crop of 5 to 100 % of the image.",
    "flip": "Distort: mirror half of the images (left is right).",
    "colour": "Distort brightness, saturation, hue and contrast.",
    # Text.
    "vectors": "Word vectors: a fastText .bin, .vec or .vec.gz; empty: trained with gensim on the "
    "train split's texts; 'learnt': trained with the classifier from random ones.",
    "vectors_limit": "Read so many vectors; 0: all.",
    "extend_vocabulary": "Also keep the vectors of words that the train split lacks; for files "
    "without n-grams, which say nothing of unknown words.",
    "train_vectors": "Train the word vectors further.",
    "max_sentences": "Sentences a text (Section 5).",
    "max_words": "Words a sentence (Section 5).",
    "fixed_padding": "Pad every batch to both limits.",
    "drop_sentences": "Share of sentences that a training text loses.",
    "drop_words": "Share of words that a training sentence loses.",
    # Model.
    "inputs": "What the model sees.",
    "image_attention": "How the image steers the reading of the text (Section 4.2, Fig. 8).",
    "gru_units": "Units of each GRU and direction; twice as many make the text.",
    "fusion": "What the connected layers see: both embeddings, or also their product.",
    "image_dim": "Project the feature map to so many channels; 0: do not.",
    "fc_units": "Units of the layers before the output.",
    "image_dropout": "Dropout rate of the image embedding.",
    "text_dropout": "Dropout rate of the text embedding.",
    "word_dropout": "Dropout rate of what the word-level GRU reads.",
    "region_dropout": "Dropout rate of the feature map's channels, for the attention to regions "
    "only.",
    "word_scores": "Add a linear model of the text's words to the scores of the classes.",
    "metric_logits": "Score a class by the sum of its three metrics' scores (Fig. 4), not by one "
    "of its own.",
    # Training.
    "learning_rate": "Adam's learning rate at the start.",
    "learning_rate_schedule": "The learning rate's way to max_steps; cosine ends at 0.",
    "weight_decay": "Adam's decoupled weight decay a step.",
    "ema": "Momentum of averaged weights, such as 0.999; 0: none.",
    "class_weights": "Weight pairs by 1 / class frequency.",
    "class_balance": "Draw a class of n pairs in proportion to n ** (1 - class_balance): 0 as they "
    "are, 1 equally.",
    "logit_adjustment": "Train on scores with so many times the logarithm of a class's frequency "
    "added, so that the scores alone choose as if classes were equally frequent (Menon et al. "
    "2021); 0: none.",
    "monitor": "The val metric that chooses the best weights.",
    "leave_out_source": "Train and choose without the pairs of this source, and evaluate on them "
    "only: how far a metric is known beyond the style of its sources.",
}
CHOICES = {
    "inputs": ("both", "text", "image"),
    "image_attention": ("context", "regions", "prepend", "none"),
    "fusion": ("concat", "product"),
    "learning_rate_schedule": ("constant", "cosine"),
}
# On import, unlike other papers' flags: evaluations and comparisons adopt some of them.
settings_flags.define(Settings, HELP, CHOICES, names=HELP)
flags.adopt_module_key_flags(common_flags)


def settings_from_flags(target: str) -> Settings:
    """The settings that the command line gives.

    Args:
        target: "relation", "cmi", "sc" or "stat".

    Raises:
        app.UsageError: if a list holds something else than numbers, or too many.
    """
    names = [field.name for field in dataclasses.fields(Settings) if field.name != "target"]
    found = settings_flags.read(Settings, names=names, target=target)
    if len(found.input_range) not in (0, 2):
        raise app.UsageError("--input_range: give two numbers, such as -1,1")
    if found.metric_logits and target != "relation":
        raise app.UsageError("--metric_logits is for the eight classes: leave it out")
    if found.leave_out_source and target == "relation":
        raise app.UsageError(
            "--leave_out_source: a class comes from one source, so that nothing could learn it; "
            "train a metric"
        )
    if found.leave_out_source and found.eval_split == "val":
        raise app.UsageError("--leave_out_source: val chooses the weights; report on test")
    return found
