"""The settings of Liu2019's matching and their flags, beside those of `common_flags`."""

from __future__ import annotations

import dataclasses

from imgtext_tf import branches, losses
from imgtext_tf.data import captions
from imgtext_tf.stages import MODES, Stage

SPLITS = ("train", "val", "test")

# Of the stages that go on from trained triplets: a tenth of the rate of S1.
_LATER_RATE = 2e-5
# What the names of stages stand for; the flags --stages and --adversarial_* fill in the rest.
STAGES = {
    "S1": {"train": ("image", "text"), "losses": ("triplet",)},
    "S2": {"train": ("classifier",), "losses": ("modality",)},
    "S3": {
        "train": ("image", "text", "classifier"),
        "losses": ("triplet", "modality", "adversarial"),
        "learning_rate": _LATER_RATE,
    },
    "S4": {
        "train": ("image", "text", "classifier", "cnn"),
        "losses": ("triplet", "modality", "adversarial"),
        "learning_rate": _LATER_RATE,
    },
}
# VSE++'s fine-tuning: no classifier at all.
STAGES["S4T"] = {
    "train": ("image", "text", "cnn"),
    "losses": ("triplet",),
    "learning_rate": _LATER_RATE,
}

# What an evaluation may be told anew; all else is the trained run's.
EVALUATION = (
    *("data_dir", "precomputed", "precomputed_test", "precomputed_captions"),
    *("run_dir", "verify", "eval_only"),
    *("eval_split", "protocol", "folds"),
)
# Stands among the saved settings: a run goes on with the data it was begun with, wherever it lies,
# and so does a run that starts from its weights.
DIGEST = "data_sha256"


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run; the flag of the same name says what each means.

    The paper's text gives no number; the defaults are those of VSE++ (docs/papers/liu2019.md).
    """

    run_dir: str
    data_dir: str = ""
    precomputed: str = ""
    precomputed_test: str = "test"
    precomputed_captions: int = 5
    drop_shared_captions: bool = True
    # Image.
    backbone: str = "resnet152"
    backbone_weights: str = "imagenet"
    image_size: int = 224
    central_fraction: float = 0.875
    live_images: bool = False
    cache_features: str = "auto"
    feature_maps: bool = False
    crop: bool = True
    flip: bool = True
    image_pooling: str = "mean"
    image_hidden: int = 0
    image_dropout: float = 0.0
    normalize_features: bool = True
    center_features: bool = False
    # Text.
    captions_per_image: int = 5
    min_count: int = 4
    max_words: int = 50
    vectors: str = ""
    train_vectors: bool = True
    scan_vocabulary: str = ""
    tokens: str = "words"
    word_dim: int = 300
    gru_layers: int = 1
    bidirectional: bool = False
    text_pooling: str = "last"
    word_dropout: float = 0.0
    # Model.
    embed_dim: int = 1024
    measure: str = "cosine"
    unit_images: bool = True
    absolute: bool = False
    classifier_units: tuple[int, ...] = (512,)
    classifier_dropout: float = 0.5
    # Training.
    stages: str = "S1:steps=6090:decay_at=3045:all_negatives_steps=203"
    stage_start: str = "best"
    start: str = ""
    batch_size: int = 128
    by_length: bool = True
    margin: float = 0.2
    mining: str = "hardest"
    mask_same_image: bool = False
    clip: float = 2.0
    adversarial_target: str = "reverse"
    adversarial_mode: str = "reversal"
    adversarial_lambda: float = 1.0
    adversarial_ramp: bool = True
    refit: bool = False
    max_steps: int = 1_000_000
    eval_every: int = 500
    checkpoint_every: int = 500
    seed: int = 0
    deterministic: bool = False
    mixed_precision: bool = False
    verify: str = "full"
    # Evaluation.
    eval_only: bool = False
    eval_split: str = "test"
    protocol: str = ""
    folds: int = 1


HELP = {
    "precomputed": "Folder of {split}_ims.npy and {split}_caps.txt (vsepp, SCAN), not --data_dir.",
    "precomputed_test": "Files that are split test of --precomputed: testall are COCO's 5k images.",
    "precomputed_captions": "Captions a row of --precomputed, where there are more than rows.",
    "drop_shared_captions": "Leave out train captions of --precomputed that stand word for word in "
    "val or test; build_captions does so for shards.",
    "backbone": "Image encoder: a Keras application in snake_case, small_cnn, a .keras file, or "
    "hub:<TF-Hub handle or folder>; 'run:<folder>' none but that run's.",
    "backbone_weights": "imagenet, none, or the path of a weights file.",
    "image_size": "Height and width in pixels.",
    "central_fraction": "Share of height and width that is kept of an undistorted image.",
    "live_images": "Train on pixels with crop and flip; needed where a stage trains the CNN.",
    "cache_features": "Folder of cached features; 'auto' is a folder beside the shards.",
    "feature_maps": "Cache whole feature maps, not their means, for --image_pooling.",
    "crop": "Distort live images: random crop.",
    "flip": "Distort live images: mirror half of them.",
    "image_pooling": "How regions become one vector.",
    "image_hidden": "Units of a ReLU layer beside the linear one; 0: none.",
    "image_dropout": "Dropout rate of the pooled image features.",
    "normalize_features": "Scale pooled image features to unit length before the linear layer.",
    "center_features": "Subtract the mean over train images from pooled features.",
    "captions_per_image": "Use the first so many captions of an image; 0: all.",
    "min_count": "Words that occur less often in train captions are unknown.",
    "max_words": "Words a caption; further ones are cut off.",
    "vectors": "Word vectors to start from: a fastText .bin, .vec or .vec.gz; empty: random.",
    "train_vectors": "Train the word vectors.",
    "scan_vocabulary": "SCAN's {name}_precomp_vocab.json, instead of the train captions' words.",
    "tokens": "Words without punctuation, or NLTK's tokens as vsepp and SCAN have them.",
    "word_dim": "Length of a word vector where they start at random.",
    "gru_layers": "GRUs one on the other.",
    "bidirectional": "Read captions in both directions and take the mean.",
    "text_pooling": "Of the states: the last valid one, or mean or maximum over words.",
    "word_dropout": "Dropout rate of word vectors.",
    "embed_dim": "Dimensions of the joint embedding.",
    "measure": "Similarity: cosine, or order embeddings'.",
    "unit_images": "Scale image embeddings to unit length; VSE0 does not.",
    "absolute": "Take absolute values of embeddings, as order embeddings do.",
    "classifier_units": "Units of the modality classifier's hidden layers.",
    "classifier_dropout": "Dropout rate of the modality classifier.",
    "stages": "Stages, separated by ';': a name (S1: triplet, S2: classifier, S3: joint, S4: joint "
    "with the CNN, S4T: triplet with the CNN) and settings :name=value, see "
    "imgtext_tf.stages.Stage. The learning_rate is 0.0002, and 0.00002 in S3, S4 and S4T.",
    "stage_start": "Which weights of a stage the next begins with.",
    "start": "Folder of a finished run of the same model and data, or of an imported checkpoint: "
    "begin with its weights.",
    "by_length": "Batches of captions of like lengths.",
    "margin": "m of the triplet loss.",
    "mining": "Negatives of the triplet loss.",
    "mask_same_image": "Captions of one image are no negatives of each other.",
    "clip": "Largest global norm of a gradient; 0: any.",
    "adversarial_target": "What the encoders want the classifier to say.",
    "adversarial_mode": "A gradient reversal layer, or steps in turn.",
    "adversarial_lambda": "Weight of the adversarial loss (a mean) beside the triplets (a sum).",
    "adversarial_ramp": "Let lambda grow from 0 as in DANN.",
    "refit": "After the choice on val train anew on train and val, up to the chosen steps.",
    "protocol": "Name of the evaluation in the result; empty: by data set and size.",
    "folds": "Cut the evaluated images into so many parts and average (COCO 1k: 5).",
}
CHOICES = {
    "image_pooling": branches.POOLINGS,
    "text_pooling": branches.TEXT_POOLINGS,
    "tokens": captions.TOKENS,
    "measure": ("cosine", "order"),
    "stage_start": ("best", "last"),
    "mining": losses.MINING,
    "adversarial_target": losses.TARGETS,
    "adversarial_mode": MODES,
}


def parse_stages(settings: Settings) -> tuple[Stage, ...]:
    """The stages of `settings.stages`, with the settings that all share.

    Raises:
        ValueError: naming the stage and what is wrong.
    """
    stages = []
    for part in settings.stages.split(";"):
        name, *pairs = part.strip().split(":")
        if name not in STAGES:
            raise ValueError(f"--stages: unknown stage {name!r}: use {', '.join(STAGES)}")
        values = {
            "name": f"{len(stages) + 1}_{name}",
            "margin": settings.margin,
            "mining": settings.mining,
            "mask_same_image": settings.mask_same_image,
            "clip": settings.clip,
            "target": settings.adversarial_target,
            "mode": settings.adversarial_mode,
            "strength": settings.adversarial_lambda,
            "ramp": settings.adversarial_ramp,
            **STAGES[name],
        }
        kinds = {field.name: field.type for field in dataclasses.fields(Stage)}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or key not in kinds or key == "name":
                raise ValueError(f"--stages: {pair!r} of stage {name} is no setting: use "
                                 f"{', '.join(sorted(set(kinds) - {'name'}))}")  # fmt: skip
            values[key] = _value(key, value, kinds[key])
        stage = Stage(**values)
        # Not in Stage: a refit may well end within the steps of all negatives.
        if stage.all_negatives_steps > stage.steps:
            raise ValueError(
                f"--stages: all_negatives_steps={stage.all_negatives_steps} of stage {name} are "
                f"more than its steps={stage.steps}: give fewer, or --mining=all"
            )
        stages.append(stage)
    return tuple(stages)


def _value(key: str, text: str, kind: str):
    try:
        if kind == "bool":
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind.startswith("tuple"):
            one = int if "int" in kind else str
            return tuple(one(part) for part in text.split(",") if part)
        return {"int": int, "float": float, "str": str}[kind](text)
    except (KeyError, ValueError):
        raise ValueError(f"--stages: {key}={text}: give a value of type {kind}") from None
