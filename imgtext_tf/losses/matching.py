"""Losses of image-sentence matching: triplets over a batch, and the modality game.

Row i of `scores` [B, B] is image i, column j is caption j; image i and caption i belong together.
"""

from __future__ import annotations

import keras
from keras import ops

MINING = ("all", "hardest", "semi_hard")
TARGETS = ("reverse", "flip", "uniform")


def cosine_scores(images, captions):
    """s(i, c) = i . c, the cosine of unit vectors: [B, D], [C, D] -> [B, C].

    Reference: Liu2019, Section 3 (Faghri et al. 2017, Section 3.1).
    """
    return ops.matmul(images, ops.transpose(captions))


def order_scores(images, captions):
    """s(i, c) = -||max(0, c - i)||^2, larger where the image holds more: [B, D], [C, D] -> [B, C].

    Reference: Liu2019, Section 3 (Vendrov et al. 2016, Eq. 3).
    """
    excess = ops.relu(captions[None, :, :] - images[:, None, :])
    return -ops.sum(ops.square(excess), axis=-1)


def bidirectional_hinge(scores, *, margin=0.2, mining="hardest", same_image=None):
    """The triplet loss over all negatives of a batch, in both directions, summed over the batch.

    all:       sum_i sum_{j != i} [m + s(i, j) - s(i, i)]_+ + [m + s(j, i) - s(i, i)]_+
    hardest:   sum_i max_{j != i} [m + s(i, j) - s(i, i)]_+ + max_{j != i} [m + s(j, i) - s(i, i)]_+
    semi_hard: as hardest, over the negatives with s(i, j) < s(i, i) only; none costs nothing

    Args:
        scores: [B, B] float, s(i, j) of image i and caption j.
        margin: m.
        mining: "all", "hardest" or "semi_hard".
        same_image: [B, B] bool, pairs that are no negatives although i != j, such as two captions
            of one image; None masks none.

    Returns:
        [] float32. With "hardest", a collapsed model (all scores equal) stands at 2 * B * m.

    Raises:
        ValueError: if `mining` is unknown.

    Reference: Liu2019, Section 3 (Faghri et al. 2017, Eqs. 5 and 6; Schroff et al. 2015, Eq. 4).
    """
    if mining not in MINING:
        raise ValueError(f"unknown mining {mining!r}: use one of {', '.join(MINING)}")
    scores = ops.cast(scores, "float32")
    positive = ops.diagonal(scores)
    excluded = ops.cast(ops.eye(ops.shape(scores)[0]), "bool")
    if same_image is not None:
        excluded = ops.logical_or(excluded, same_image)
    total = 0.0
    for axis, own in ((1, positive[:, None]), (0, positive[None, :])):
        left_out = excluded
        if mining == "semi_hard":
            left_out = ops.logical_or(left_out, scores >= own)
        cost = ops.where(left_out, 0.0, ops.relu(margin + scores - own))
        total += ops.sum(cost) if mining == "all" else ops.sum(ops.max(cost, axis=axis))
    return total


def modality_loss(logits, is_image):
    """The classifier's loss: mean binary cross entropy, image = 1 and text = 0.

    Args:
        logits: [N] float.
        is_image: [N] float, 0 or 1.

    Returns:
        [] float32.

    Reference: Liu2019, Section 3 (Goodfellow et al. 2014, Eq. 1).
    """
    return ops.mean(_cross_entropy(logits, is_image))


def adversarial_loss(logits, is_image, *, target="reverse"):
    """What the encoders minimise so that the classifier cannot tell images from texts.

    reverse: minus the classifier's loss; its gradient fades as the classifier becomes sure
    flip:    the classifier's loss for swapped labels; its gradient grows as it becomes sure
    uniform: the cross entropy to one half, least where the classifier cannot say

    Args:
        logits: [N] float, the classifier's.
        is_image: [N] float, 0 or 1.
        target: "reverse", "flip" or "uniform".

    Returns:
        [] float32.

    Raises:
        ValueError: if `target` is unknown.

    Reference: Liu2019, Section 3 (Ganin and Lempitsky 2015, Eq. 1; Goodfellow et al. 2014, Sec. 3).
    """
    if target == "reverse":
        return -modality_loss(logits, is_image)
    if target == "flip":
        return modality_loss(logits, 1.0 - is_image)
    if target == "uniform":
        return modality_loss(logits, ops.full_like(is_image, 0.5))
    raise ValueError(f"unknown target {target!r}: use one of {', '.join(TARGETS)}")


def _cross_entropy(logits, labels):
    return keras.losses.binary_crossentropy(
        ops.cast(labels, "float32")[:, None],
        ops.cast(logits, "float32")[:, None],
        from_logits=True,
    )
