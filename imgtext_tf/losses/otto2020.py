"""Otto2020: cross entropy of classes that occur far from equally often."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="imgtext_tf")
class AdjustedCrossEntropy(keras.losses.SparseCategoricalCrossentropy):
    """Cross entropy of logits to which the logarithm of each class's frequency is added.

    loss = -log softmax(logits + strength log(share))[label]

    The logits alone, as they are used later, then choose as if classes were equally frequent (Menon
    et al. 2021, "Long-tail learning via logit adjustment", Equation 10).

    Args:
        shares: of each class, in any unit, all positive.
        strength: 1 as derived there; 0 is plain cross entropy.
        name: of the loss.
        **kwargs: `reduction` and `dtype`.

    Raises:
        ValueError: if a share is not positive.
    """

    def __init__(self, shares, *, strength=1.0, name="adjusted_cross_entropy", **kwargs):
        """Stores the shares; see the class."""
        super().__init__(from_logits=True, name=name, **kwargs)
        self.shares = [float(share) for share in shares]
        if min(self.shares) <= 0:
            raise ValueError(f"shares {self.shares}: a class without examples has no share")
        self.strength = strength

    def call(self, y_true, y_pred):
        """See the class."""
        logits = keras.ops.cast(y_pred, "float32")
        shares = keras.ops.convert_to_tensor(self.shares, "float32")
        return super().call(y_true, logits + self.strength * keras.ops.log(shares))

    def get_config(self):
        """What the constructor takes."""
        return {
            "name": self.name,
            "reduction": self.reduction,
            "shares": self.shares,
            "strength": self.strength,
        }
