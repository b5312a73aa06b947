"""Which parts of two images make them similar: Grad-CAM on their descriptors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def pair_heatmaps(
    encode: Callable[[tf.Tensor], tf.Tensor],
    describe: Callable[[tf.Tensor], tf.Tensor],
    first: np.ndarray,
    second: np.ndarray,
    *,
    dimensions: int = 5,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The regions of two images that contribute most to their similarity.

    With A the last feature map of an image and phi its descriptor, for the dimensions i of largest
    phi_a[i] phi_b[i]: f = sum_i phi_a[i] phi_b[i], where phi_b counts as a constant; alpha_c is the
    mean of df/dA_c over the map, and the heatmap is ReLU(sum_c alpha_c A_c). For the second image
    the roles are exchanged.

    Args:
        encode: images [1, H, W, 3] -> feature map [1, h, w, C].
        describe: feature map -> descriptor [1, D].
        first: [H, W, 3] float32 in [0, 1].
        second: the same, of any other shape.
        dimensions: how many dimensions count.

    Returns:
        The heatmaps [h, w] of both images, float32 with a maximum of 1 (or all 0), and the
        dimensions, strongest first.

    Raises:
        ValueError: if the descriptor has fewer dimensions.

    Reference: Gordo2017, Section 6.2 (Selvaraju et al. 2016).
    """
    maps = [tf.convert_to_tensor(encode(tf.constant(one[None]))) for one in (first, second)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(maps)
        phi = [describe(one)[0] for one in maps]
        if not 1 <= dimensions <= phi[0].shape[0]:
            raise ValueError(f"cannot take {dimensions} of {phi[0].shape[0]} dimensions")
        top = tf.math.top_k(phi[0] * phi[1], dimensions).indices
        parts = [
            tf.reduce_sum(tf.gather(phi[own], top) * tf.stop_gradient(tf.gather(phi[1 - own], top)))
            for own in (0, 1)
        ]
    heat = []
    for part, one in zip(parts, maps, strict=True):
        gradient = tape.gradient(part, one)
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        values = tf.nn.relu(tf.reduce_sum(weights * one, axis=-1))[0].numpy()
        peak = values.max()
        heat.append((values / peak if peak > 0 else values).astype(np.float32))
    return heat[0], heat[1], top.numpy()
