"""Stages of a training as data: what trains, by which losses, how fast and how long."""

from __future__ import annotations

import dataclasses
import itertools
import math

import keras

from imgtext_tf import losses

PARTS = ("image", "text", "classifier", "cnn")
LOSSES = ("triplet", "modality", "adversarial")
MODES = ("reversal", "alternating")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes:
        name: of the stage's folder and curves.
        train: the parts whose weights change: of "image", "text", "classifier" and "cnn".
        losses: of "triplet" (image and text), "modality" (the classifier's) and "adversarial" (of
            image and text, against the classifier).
        steps: training steps.
        learning_rate: Adam's, of image, text and CNN.
        decay_at: steps at which it is multiplied by 0.1.
        cosine: whether it falls to 0 as a cosine instead.
        classifier_learning_rate: Adam's, of the classifier.
        clip: largest global norm of a gradient; of the classifier's and the others' by themselves.
        margin: of the triplet loss.
        mining: see `losses.bidirectional_hinge`.
        all_negatives_steps: first so many steps take all negatives, whatever `mining` says.
        mask_same_image: whether captions of one image are no negatives of each other.
        target: of the adversarial loss, see `losses.adversarial_loss`.
        mode: "reversal": one pass, a gradient reversal layer between embeddings and classifier, for
            the target "reverse" only; "alternating": the classifier's step on the embeddings as
            they are, then the encoders' step against it.
        strength: lambda, the weight of the adversarial loss (a mean over embeddings) beside the
            triplet loss (a sum over the batch).
        ramp: whether lambda grows from 0 to `strength` as in DANN.
        classifier_steps: of the classifier for each of the encoders, in the mode "alternating".
    """

    name: str
    train: tuple[str, ...] = ("image", "text")
    losses: tuple[str, ...] = ("triplet",)
    steps: int = 1
    learning_rate: float = 2e-4
    decay_at: tuple[int, ...] = ()
    cosine: bool = False
    classifier_learning_rate: float = 2e-4
    clip: float = 2.0
    margin: float = 0.2
    mining: str = "hardest"
    all_negatives_steps: int = 0
    mask_same_image: bool = False
    target: str = "reverse"
    mode: str = "reversal"
    strength: float = 1.0
    ramp: bool = True
    classifier_steps: int = 1

    def __post_init__(self):
        """Sees that the settings go together.

        Raises:
            ValueError: naming the setting that does not.
        """
        allowed = {
            "train": PARTS,
            "losses": LOSSES,
            "mining": losses.MINING,
            "target": losses.TARGETS,
            "mode": MODES,
        }
        for name, known in allowed.items():
            value = getattr(self, name)
            values = (value,) if isinstance(value, str) else value
            if wrong := [one for one in values if one not in known] or not values:
                raise ValueError(f"stage {self.name}: {name} {wrong}: use {', '.join(known)}")
        encoders = {"image", "text", "cnn"} & set(self.train)
        if encoders and "triplet" not in self.losses and "adversarial" not in self.losses:
            raise ValueError(f"stage {self.name}: image and text train without a loss of theirs")
        if ("classifier" in self.train) != ("modality" in self.losses):
            raise ValueError(f'stage {self.name}: "classifier" trains by the loss "modality" only')
        if "adversarial" in self.losses and self.mode == "reversal":
            if self.target != "reverse" or "modality" not in self.losses:
                raise ValueError(
                    f'stage {self.name}: mode "reversal" needs target "reverse" and the loss '
                    '"modality"; use mode "alternating"'
                )
        self._check_numbers()

    def _check_numbers(self) -> None:
        """Sees that the numbers are such as can train; what is not a number never is.

        Raises:
            ValueError: naming the setting, its flag and what may stand there.
        """
        if self.steps < 1 or self.classifier_steps < 1:
            raise ValueError(f"stage {self.name}: steps must be 1 or more")
        for name in ("learning_rate", "classifier_learning_rate"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"stage {self.name}: {name}={value} in --stages: use a number "
                                 "above 0, such as 0.0002")  # fmt: skip
        flags = {"margin": "margin", "clip": "clip", "strength": "adversarial_lambda"}
        for name, flag in flags.items():
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"stage {self.name}: {name} is {value}: use a number that is 0 or "
                                 f"more, --{flag}=... or :{name}=... in --stages")  # fmt: skip
        if self.all_negatives_steps < 0:
            raise ValueError(f"stage {self.name}: all_negatives_steps={self.all_negatives_steps} "
                             "in --stages: use 0 or more")  # fmt: skip
        if any(one >= two for one, two in itertools.pairwise((0, *self.decay_at))):
            raise ValueError(f"stage {self.name}: decay_at={self.decay_at} in --stages: give steps "
                             "above 0 that rise, such as decay_at=4,8")  # fmt: skip
        if self.cosine and self.decay_at:
            raise ValueError(f"stage {self.name}: cosine and decay_at in --stages are two "
                             "schedules: give one of them")  # fmt: skip

    def adam(self, rate: float) -> keras.optimizers.Optimizer:
        """A new optimiser that begins at a learning rate and follows the stage's schedule."""
        if self.cosine:
            rate = keras.optimizers.schedules.CosineDecay(rate, self.steps)
        elif self.decay_at:
            values = [rate * 0.1**number for number in range(len(self.decay_at) + 1)]
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(list(self.decay_at), values)
        # PyTorch's epsilon, as VSE++ had; that of Keras is 1e-7.
        return keras.optimizers.Adam(rate, epsilon=1e-8, global_clipnorm=self.clip or None)
