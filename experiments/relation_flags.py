"""The settings of the Otto2020 classifiers and their flags, beside those of `common_flags`."""

from __future__ import annotations

import dataclasses

from absl import app, flags

from experiments import common_flags

FLAGS = flags.FLAGS


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
    "word_scores",
)

flags.DEFINE_string(
    "init_from",
    Settings.init_from,
    "Run directory to start from: its model and vocabulary, with a new output layer where the "
    "classes are others.",
)
# Image.
flags.DEFINE_string(
    "backbone",
    Settings.backbone,
    "Image encoder: a Keras application in snake_case, small_cnn, a path of a .keras file, or "
    "hub:<TF-Hub handle or folder>.",
)
flags.DEFINE_string(
    "backbone_weights", Settings.backbone_weights, "imagenet, none, or the path of a weights file."
)
flags.DEFINE_bool("tune_backbone", Settings.tune_backbone, "Train the image encoder, too.")
flags.DEFINE_integer("image_size", Settings.image_size, "Height and width in pixels.")
flags.DEFINE_list(
    "input_range",
    list(Settings.input_range),
    "What black and white become for a backbone that needs another range than is assumed, such as "
    "0,1 (comma-separated); empty: the backbone's own.",
)
flags.DEFINE_float(
    "central_fraction",
    Settings.central_fraction,
    "Share of height and width that is kept of an image without distortions.",
)
flags.DEFINE_string(
    "cache_features",
    Settings.cache_features,
    "Folder of feature maps, written once and reused, so that training needs no CNN (and no "
    "distortions happen); 'auto' is a folder beside the shards; empty: live pixels.",
)
flags.DEFINE_bool("crop", Settings.crop, "Distort: random crop of 5 to 100 % of the image.")
flags.DEFINE_bool("flip", Settings.flip, "Distort: mirror half of the images (left is right).")
flags.DEFINE_bool("colour", Settings.colour, "Distort brightness, saturation, hue and contrast.")
# Text.
flags.DEFINE_string(
    "vectors",
    Settings.vectors,
    "Word vectors: a fastText .bin, .vec or .vec.gz; empty: trained with gensim on the train "
    "split's texts; 'learnt': trained with the classifier from random ones.",
)
flags.DEFINE_integer("vectors_limit", Settings.vectors_limit, "Read so many vectors; 0: all.")
flags.DEFINE_bool(
    "extend_vocabulary",
    Settings.extend_vocabulary,
    "Also keep the vectors of words that the train split lacks; for files without n-grams, which "
    "say nothing of unknown words.",
)
flags.DEFINE_bool("train_vectors", Settings.train_vectors, "Train the word vectors further.")
flags.DEFINE_integer("max_sentences", Settings.max_sentences, "Sentences a text (Section 5).")
flags.DEFINE_integer("max_words", Settings.max_words, "Words a sentence (Section 5).")
flags.DEFINE_bool("fixed_padding", Settings.fixed_padding, "Pad every batch to both limits.")
flags.DEFINE_float(
    "drop_sentences", Settings.drop_sentences, "Share of sentences that a training text loses."
)
flags.DEFINE_float(
    "drop_words", Settings.drop_words, "Share of words that a training sentence loses."
)
# Model.
flags.DEFINE_enum("inputs", Settings.inputs, ["both", "text", "image"], "What the model sees.")
flags.DEFINE_enum(
    "image_attention",
    Settings.image_attention,
    ["context", "regions", "prepend", "none"],
    "How the image steers the reading of the text (Section 4.2, Fig. 8).",
)
flags.DEFINE_integer(
    "gru_units", Settings.gru_units, "Units of each GRU and direction; twice as many make the text."
)
flags.DEFINE_enum(
    "fusion",
    Settings.fusion,
    ["concat", "product"],
    "What the connected layers see: both embeddings, or also their product.",
)
flags.DEFINE_integer(
    "image_dim", Settings.image_dim, "Project the feature map to so many channels; 0: do not."
)
flags.DEFINE_list(
    "fc_units",
    [str(units) for units in Settings.fc_units],
    "Units of the layers before the output.",
)
flags.DEFINE_float("image_dropout", Settings.image_dropout, "Dropout rate of the image embedding.")
flags.DEFINE_float("text_dropout", Settings.text_dropout, "Dropout rate of the text embedding.")
flags.DEFINE_float(
    "word_dropout", Settings.word_dropout, "Dropout rate of what the word-level GRU reads."
)
flags.DEFINE_float(
    "region_dropout",
    Settings.region_dropout,
    "Dropout rate of the feature map's channels, for the attention to regions only.",
)
flags.DEFINE_bool(
    "word_scores",
    Settings.word_scores,
    "Add a linear model of the text's words to the scores of the classes.",
)
flags.DEFINE_bool(
    "metric_logits",
    Settings.metric_logits,
    "Score a class by the sum of its three metrics' scores (Fig. 4), not by one of its own.",
)
# Training.
flags.DEFINE_float("learning_rate", Settings.learning_rate, "Adam's learning rate at the start.")
flags.DEFINE_enum(
    "learning_rate_schedule",
    Settings.learning_rate_schedule,
    ["constant", "cosine"],
    "The learning rate's way to max_steps; cosine ends at 0.",
)
flags.DEFINE_float("weight_decay", Settings.weight_decay, "Adam's decoupled weight decay a step.")
flags.DEFINE_float("ema", Settings.ema, "Momentum of averaged weights, such as 0.999; 0: none.")
flags.DEFINE_bool("class_weights", Settings.class_weights, "Weight pairs by 1 / class frequency.")
flags.DEFINE_float(
    "class_balance",
    Settings.class_balance,
    "Draw a class of n pairs in proportion to n ** (1 - class_balance): 0 as they are, 1 equally.",
)
flags.DEFINE_float(
    "logit_adjustment",
    Settings.logit_adjustment,
    "Train on scores with so many times the logarithm of a class's frequency added, so that the "
    "scores alone choose as if classes were equally frequent (Menon et al. 2021); 0: none.",
)
flags.DEFINE_string("monitor", Settings.monitor, "The val metric that chooses the best weights.")

flags.DEFINE_string(
    "leave_out_source",
    Settings.leave_out_source,
    "Train and choose without the pairs of this source, and evaluate on them only: how far a "
    "metric is known beyond the style of its sources.",
)

flags.adopt_module_key_flags(common_flags)


def settings_from_flags(target: str) -> Settings:
    """The settings that the command line gives.

    Args:
        target: "relation", "cmi", "sc" or "stat".

    Raises:
        app.UsageError: if a list holds something else than numbers, or too many.
    """
    values = {
        field.name: getattr(FLAGS, field.name)
        for field in dataclasses.fields(Settings)
        if field.name != "target"
    }
    for name in ("eval_steps", "fc_units"):
        values[name] = common_flags.numbers(name, values[name])
    values["input_range"] = common_flags.numbers("input_range", values["input_range"], float)
    if len(values["input_range"]) not in (0, 2):
        raise app.UsageError("--input_range: give two numbers, such as -1,1")
    if values["metric_logits"] and target != "relation":
        raise app.UsageError("--metric_logits is for the eight classes: leave it out")
    if values["leave_out_source"] and target == "relation":
        raise app.UsageError(
            "--leave_out_source: a class comes from one source, so that nothing could learn it; "
            "train a metric"
        )
    if values["leave_out_source"] and values["eval_split"] == "val":
        raise app.UsageError("--leave_out_source: val chooses the weights; report on test")
    return Settings(target=target, **values)
