"""R-MAC: a feature map to one l2-normalised descriptor.

R-MAC max-pools a rigid grid of square regions, whitens each region's vector and adds them up. With
a frozen backbone everything before the whitening is fixed, so it comes in two layers:
`RegionMaxPool` (map -> region vectors) and `WhitenedSum` (region vectors -> descriptor), and `RMAC`
is one after the other.

A region of zeros, be it padding or a map without any activation, adds nothing to a descriptor, and
a descriptor of nothing but such regions is zero, never NaN.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf.layers.embedding import l2_normalize

# Tolias' wanted overlap of two neighbouring regions, and the numbers of regions that are tried.
_OVERLAP = 0.4
_STEPS = np.arange(2, 8)


def rmac_regions(height: int, width: int, levels: int) -> list[tuple[int, int, int, int]]:
    """The square regions of R-MAC's rigid grid, in double precision as the original computes them.

    Level l has regions of side floor(2 min(H, W) / (l + 1)), l of them along the short side and
    m + l - 1 along the long one, where m is the number from 2 to 7 whose neighbours overlap by
    nearest to 40 % at level 1; a square map has m = 1. There is no extra region of the whole map.

    In single precision maps of 9:5 (a tie) and very long ones come out otherwise.

    Args:
        height: H of the map, cells.
        width: W of the map, cells.
        levels: L.

    Returns:
        (x, y, width, height) of each region, in cells, level by level and row by row. Regions
        without a cell are left out.

    Raises:
        ValueError: if a number is below 1.

    Reference: Gordo2017, Section 3 (Tolias et al. 2016, Section 3.2).
    """
    if min(height, width, levels) < 1:
        raise ValueError(f"height, width, levels are {height}, {width}, {levels}: use 1 or more")
    short, long = min(height, width), max(height, width)
    gap = (long - short) / (_STEPS - 1)
    overlap = (short**2 - short * gap) / short**2
    extra = int(np.argmin(np.abs(overlap - _OVERLAP))) + 1
    regions = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        if side == 0:
            continue
        starts = [
            _starts(length, side, level + (extra if length == long > short else 0))
            for length in (width, height)
        ]
        regions += [(x, y, side, side) for y in starts[1] for x in starts[0]]
    return regions


def _starts(length: int, side: int, count: int) -> list[int]:
    """Where `count` regions of `side` cells begin on an edge of `length` cells."""
    gap = (length - side) / (count - 1) if count > 1 else 0.0
    half = side // 2 - 1  # the original counts from region centres, and this rounds with them
    return (np.floor(half + np.arange(count) * gap).astype(int) - half).tolist()


def dynamic_rmac_regions(height: tf.Tensor, width: tf.Tensor, levels: int) -> tf.Tensor:
    """`rmac_regions` in the graph, for maps whose shape is known at run time only: [R, 4] int32."""
    short, long = tf.minimum(height, width), tf.maximum(height, width)
    short64, long64 = tf.cast(short, tf.float64), tf.cast(long, tf.float64)
    gap = (long64 - short64) / tf.constant(_STEPS - 1, tf.float64)
    overlap = (short64**2 - short64 * gap) / short64**2
    nearest = tf.argmin(tf.abs(overlap - _OVERLAP), output_type=tf.int32)
    extra = tf.where(long > short, nearest + 1, 0)

    def starts(length: tf.Tensor, side: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        free = tf.cast(length - side, tf.float64)
        gap = tf.math.divide_no_nan(free, tf.cast(count - 1, tf.float64))
        half = side // 2 - 1
        places = tf.cast(half, tf.float64) + tf.cast(tf.range(count), tf.float64) * gap
        return tf.cast(tf.floor(places), tf.int32) - half

    regions = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        xs = starts(width, side, level + tf.where(width > height, extra, 0))
        ys = starts(height, side, level + tf.where(height > width, extra, 0))
        y, x = tf.meshgrid(ys, xs, indexing="ij")
        sides = tf.fill([tf.size(x)], side)
        rows = tf.stack([tf.reshape(x, [-1]), tf.reshape(y, [-1]), sides, sides], axis=1)
        regions.append(rows[: tf.where(side > 0, tf.size(x), 0)])
    return tf.concat(regions, axis=0)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class RegionMaxPool(keras.layers.Layer):
    """The maximum of each channel in each region of R-MAC's grid: [B, H, W, C] -> [B, R, C].

    Args:
        levels: of the grid; the paper's "two scales".
        **kwargs: of `keras.layers.Layer`.

    Reference: Gordo2017, Section 3.
    """

    def __init__(self, levels=2, **kwargs):
        """Stores the levels; see the class."""
        super().__init__(**kwargs)
        self.levels = levels

    def call(self, maps):
        """See the class; the grid is laid out once where H and W are known beforehand."""
        height, width = maps.shape[1:3]
        if height is not None and width is not None:
            pooled = [
                keras.ops.max(maps[:, y : y + h, x : x + w], axis=(1, 2))
                for x, y, w, h in rmac_regions(height, width, self.levels)
            ]
            return keras.ops.stack(pooled, axis=1)
        return self._pool_dynamically(maps)

    def _pool_dynamically(self, maps):
        shape = tf.shape(maps)
        pooled = tf.map_fn(
            lambda r: tf.reduce_max(maps[:, r[1] : r[1] + r[3], r[0] : r[0] + r[2]], axis=(1, 2)),
            dynamic_rmac_regions(shape[1], shape[2], self.levels),
            fn_output_signature=tf.TensorSpec([None, maps.shape[-1]], maps.dtype),
        )
        return tf.transpose(pooled, [1, 0, 2])

    def compute_output_spec(self, maps):
        """[B, R, C], R unknown where H or W is."""
        height, width = maps.shape[1:3]
        known = height is not None and width is not None
        regions = len(rmac_regions(height, width, self.levels)) if known else None
        shape = (maps.shape[0], regions, maps.shape[-1])
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        """The levels."""
        return super().get_config() | {"levels": self.levels}


@keras.saving.register_keras_serializable(package="imgtext_tf")
class WhitenedSum(keras.layers.Layer):
    """Region vectors to a descriptor: [B, R, C] -> [B, D].

    y = l2(sum_r l2(l2(x_r) P + b)), over the regions that are not zero. P and b are trained; they
    start as the identity, or as the PCA whitening that `set_whitening` is given.

    Args:
        units: D; None for C.
        **kwargs: of `keras.layers.Layer`.

    Reference: Gordo2017, Section 3.
    """

    def __init__(self, units=None, **kwargs):
        """Stores the size; see the class."""
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        """Makes P and b."""
        channels = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(channels, self.units or channels), initializer=_eye, name="kernel"
        )
        self.bias = self.add_weight(
            shape=(self.units or channels,), initializer="zeros", name="bias"
        )

    def set_whitening(self, mean: np.ndarray, projection: np.ndarray) -> None:
        """Takes a whitening x -> (x - mean) projection.

        Args:
            mean: [C], of l2-normalised region vectors.
            projection: [C, D'] with D' >= D, strongest directions first; the first D are taken.

        Raises:
            ValueError: if the layer is not built, or the shapes do not fit.
        """
        if not self.built:
            raise ValueError("build the layer before it takes a whitening")
        channels, units = self.kernel.shape
        if mean.shape != (channels,) or len(projection) != channels or projection.shape[1] < units:
            raise ValueError(
                f"a whitening of mean {mean.shape} and projection {projection.shape} does not fit "
                f"a layer from {channels} to {units}: fit it on region vectors of this backbone"
            )
        projection = projection[:, :units]
        self.set_weights([projection, -mean @ projection])

    def call(self, regions):
        """See the class."""
        real = keras.ops.any(regions != 0, axis=-1, keepdims=True)
        unit = keras.ops.cast(l2_normalize(regions), self.compute_dtype)
        white = l2_normalize(keras.ops.matmul(unit, self.kernel) + self.bias)
        total = keras.ops.sum(keras.ops.where(real, white, 0.0), axis=1)
        return keras.ops.cast(l2_normalize(total), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """[B, D]."""
        return (input_shape[0], self.units or input_shape[-1])

    def get_config(self):
        """The size."""
        return super().get_config() | {"units": self.units}


def _eye(shape, dtype=None):
    return keras.ops.eye(*shape, dtype=dtype)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class RMAC(keras.layers.Layer):
    """Regional maximum activations of convolutions: a map [B, H, W, C] -> a descriptor [B, D].

    Max pooling over each region -> l2 -> whitening -> l2 -> sum -> l2. Maps may have any shape.

    Args:
        levels: of the grid.
        units: D; None for C.
        **kwargs: of `keras.layers.Layer`.

    Reference: Gordo2017, Section 3.
    """

    def __init__(self, levels=2, units=None, **kwargs):
        """Makes the two steps; see the class."""
        super().__init__(**kwargs)
        self.levels = levels
        self.units = units
        self.pool = RegionMaxPool(levels, dtype=self.dtype_policy, name="pool")
        self.aggregate = WhitenedSum(units, dtype=self.dtype_policy, name="aggregate")

    def build(self, input_shape):
        """Makes the whitening."""
        self.aggregate.build((input_shape[0], None, input_shape[-1]))

    def set_whitening(self, mean: np.ndarray, projection: np.ndarray) -> None:
        """See `WhitenedSum.set_whitening`."""
        self.aggregate.set_whitening(mean, projection)

    def call(self, maps):
        """See the class."""
        return self.aggregate(self.pool(maps))

    def compute_output_shape(self, input_shape):
        """[B, D]."""
        return (input_shape[0], self.units or input_shape[-1])

    def get_config(self):
        """Levels and size."""
        return super().get_config() | {"levels": self.levels, "units": self.units}
