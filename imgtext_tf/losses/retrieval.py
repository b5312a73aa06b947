"""Gordo2017's ranking losses of triplets: a query q, a relevant d+ and an irrelevant image d-.

All vectors are unit vectors [B, D], so that products are cosines; phi is the embedding of an image
and theta that of its text. Each function gives one value a triplet, [B] float32.
"""

from __future__ import annotations

import keras


def visual_loss(phi_q, phi_pos, phi_neg, *, margin):
    """1/2 max(0, m - phi_q . phi_+ + phi_q . phi_-): images are found by an image.

    Reference: Gordo2017, Eq. 1.
    """
    return _ranking_loss(phi_q, phi_pos, phi_neg, margin)


def image_to_text_loss(phi_q, theta_pos, theta_neg, *, margin):
    """1/2 max(0, m - phi_q . theta_+ + phi_q . theta_-): texts are found by an image.

    Reference: Gordo2017, Eq. 2.
    """
    return _ranking_loss(phi_q, theta_pos, theta_neg, margin)


def text_to_image_loss(theta_q, phi_pos, phi_neg, *, margin):
    """1/2 max(0, m - theta_q . phi_+ + theta_q . phi_-): images are found by a text.

    Reference: Gordo2017, Eq. 3.
    """
    return _ranking_loss(theta_q, phi_pos, phi_neg, margin)


def _ranking_loss(query, positive, negative, margin):
    query, positive, negative = (
        keras.ops.cast(vectors, "float32") for vectors in (query, positive, negative)
    )
    relevant = keras.ops.sum(query * positive, axis=-1)
    irrelevant = keras.ops.sum(query * negative, axis=-1)
    return 0.5 * keras.ops.relu(margin - relevant + irrelevant)
