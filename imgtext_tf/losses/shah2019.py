"""Shah2019: cross entropy of several labels, of which only some are verified."""

from __future__ import annotations

import keras


def verified_cross_entropy(labels, logits):
    """The mean sigmoid cross entropy over the verified labels of each photo.

    Args:
        labels: [B, C] in {1, 0, -1}: verified to be there, to be absent, unknown.
        logits: [B, C] float.

    Returns:
        [B] float32; 0 for a photo without a verified label.

    Reference: Shah2019, Section 3.5.
    """
    logits = keras.ops.cast(logits, "float32")
    labels = keras.ops.cast(labels, "float32")
    known = keras.ops.cast(labels >= 0, "float32")
    # log(1 + exp(x)) - y x, without overflow for large x.
    losses = keras.ops.softplus(logits) - keras.ops.maximum(labels, 0) * logits
    count = keras.ops.maximum(keras.ops.sum(known, axis=-1), 1)
    return keras.ops.sum(losses * known, axis=-1) / count


@keras.saving.register_keras_serializable(package="imgtext_tf")
class VerifiedCrossEntropy(keras.losses.Loss):
    """`verified_cross_entropy` as a loss for `compile`."""

    def __init__(self, name="verified_cross_entropy", **kwargs):
        """Takes the arguments of `keras.losses.Loss`.

        Args:
            name: of the loss.
            **kwargs: `reduction` and `dtype`.
        """
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        """See `verified_cross_entropy`."""
        return verified_cross_entropy(y_true, y_pred)
