"""Warnings while a matching run trains: a collapse, or a modality classifier that is sure."""

from __future__ import annotations

import logging as standard_logging
from collections.abc import Mapping

import keras
import numpy as np

from imgtext_tf.stages import Stage

_LOG = standard_logging.getLogger(__name__)
_NAMES = ("triplet_loss", "score_spread", "classifier_accuracy")
_SURE = 0.99
_NO_SPREAD = 0.02  # standard deviation of a batch's scores
_EQUAL = 0.002  # as well, where nothing but rounding makes them differ
_RECENT = 50  # steps that a warning is about
_LEARNT = 300  # steps after which a model has left the loss of equal scores


class Watch(keras.callbacks.Callback):
    """Warns where the training has collapsed or the modality classifier is sure of everything."""

    def __init__(self, stage: Stage, batch_size: int):
        """Notes what a collapse looks like.

        Args:
            stage: that is trained.
            batch_size: pairs a step.
        """
        super().__init__()
        self._stage = stage
        negatives = batch_size - 1 if stage.mining == "all" else 1
        self._collapsed = 2 * batch_size * negatives * stage.margin
        self._warned: set[str] = set()
        self._recent: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Looks at the last steps; Keras' own means begin anew with each checkpoint."""
        self._recent.append(dict(logs or {}))
        if len(self._recent) < _RECENT:
            return
        means = {
            name: float(np.mean([one.get(name, 0.0) for one in self._recent])) for name in _NAMES
        }
        self._recent.clear()
        if "triplet" in self._stage.losses:
            self._look_for_collapse(means["triplet_loss"], means["score_spread"])
        if "classifier" in self._stage.train and means["classifier_accuracy"] > _SURE:
            self._sure(means["classifier_accuracy"])

    def _look_for_collapse(self, loss: float, spread: float) -> None:
        stage = self._stage
        # Negatives that are only hard keep the loss there, too, while the recall rises.
        at_collapse = abs(loss - self._collapsed) < 0.05 * self._collapsed and spread < _NO_SPREAD
        # The first steps stand there too, before anything is learnt.
        warm_up = stage.all_negatives_steps if stage.mining != "all" else 0
        if int(self.model.optimizer.iterations) <= _LEARNT + warm_up:
            return
        mend = ("all embeddings have become one. Lower the learning rate, or begin with all "
                "negatives (all_negatives_steps) or with a trained stage")  # fmt: skip
        if at_collapse:
            of_all = " x (batch - 1)" if stage.mining == "all" else ""
            found = f"the triplet loss stands at {loss:.2f} = 2 x batch{of_all} x margin: "
            self._warn("collapse", found + mend)
        elif stage.mining == "semi_hard" and spread < _EQUAL:
            # Equal scores are no semi-hard negatives; rounding makes some of them lower.
            found = f"the triplet loss stands at {loss:.2f}, but all scores of a batch are equal: "
            self._warn("collapse", found + mend)

    def _sure(self, accuracy: float) -> None:
        stage = self._stage
        right = f"the modality classifier is right in {accuracy:.1%}: "
        if "adversarial" not in stage.losses:
            self._warn(
                "sure", right + "the reversed gradient of a stage behind this one vanishes where "
                "it is sure. Give this stage fewer steps, or use --adversarial_target=flip with "
                "--adversarial_mode=alternating",
            )  # fmt: skip
        elif stage.strength and stage.target == "reverse":
            self._warn(
                "sure", right + "its reversed gradient vanishes. Use --adversarial_target=flip "
                "with --adversarial_mode=alternating, or a weaker classifier",
            )  # fmt: skip
        elif stage.strength:
            self._warn(
                "sure", right + "the encoders do not win against it. Use a weaker classifier, "
                "a higher learning rate or, above 1, a lower --adversarial_lambda: 10 and more "
                "have opened the gap (docs/papers/liu2019.md)",
            )  # fmt: skip

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            _LOG.warning("stage %s: %s", self._stage.name, text)
