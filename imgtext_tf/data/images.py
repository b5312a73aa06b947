"""Images: check, decode, resize, crop and distort; tensor in, tensor out.

`resize`, `eval_crop` and `distort` take an image as uint8 in 0..255 or as floats in [0, 1] and
return float32 in [0, 1]; with uint8, a large photo is never held as floats. What a backbone wants
beyond that (other ranges, means) is the backbone's own business.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable

import numpy as np
import PIL.Image
import tensorflow as tf

from imgtext_tf import untrusted
from imgtext_tf.data import image_headers
from imgtext_tf.data.image_headers import ImageError as ImageError

MAX_PIXELS = 100_000_000
EVAL_CROP = 0.875  # Inception's share of height and width kept in evaluation

Size = int | tuple[int, int]


def read_file(path: str | os.PathLike) -> bytes:
    """The bytes of an image file.

    Raises:
        ImageError: naming the file, if it is no regular file, or far too large for an image.
        OSError: if it cannot be read.
    """
    try:
        return untrusted.read_bytes(path)
    except untrusted.DamagedError as error:
        raise ImageError(str(error)) from error


def check_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Decodes an image eagerly to see that training can: its (height, width) in pixels.

    Args and Raises as in `checked_pixels`.
    """
    return checked_pixels(data, max_pixels=max_pixels).shape[:2]


def checked_pixels(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes an image eagerly: [H, W, 3] uint8.

    Args:
        data: a JPEG, PNG, GIF or BMP file.
        max_pixels: images with more are refused before they are decoded.

    Raises:
        ImageError: if the bytes are empty, truncated, of another format, of size 0 or too large.
    """
    image_headers.check(data, max_pixels)
    try:
        return _decode_eagerly(data)
    except tf.errors.OpError as error:
        raise ImageError(
            f"the image is truncated or damaged ({_first_line(error)}); fetch it again"
        ) from error


def upright(pixels: np.ndarray, data: bytes) -> np.ndarray:
    """Turns a decoded photo as its camera was held, which the decoders leave to the reader.

    Args:
        pixels: [H, W, 3] of a decoder.
        data: the file; its EXIF orientation (tag 0x0112) counts.

    Returns:
        [H, W, 3] or [W, H, 3]; `pixels` itself where nothing is to be turned.
    """
    try:
        with PIL.Image.open(io.BytesIO(data)) as file:
            orientation = file.getexif().get(0x0112, 1)
    except Exception:  # EXIF of many writers is damaged in many ways; the pixels are not
        return pixels
    mirrored = pixels[:, ::-1]
    if orientation not in range(2, 9):
        return pixels
    turns = {
        2: lambda: mirrored,
        3: lambda: np.rot90(pixels, 2),
        4: lambda: pixels[::-1],
        5: lambda: np.rot90(mirrored, 1),
        6: lambda: np.rot90(pixels, -1),
        7: lambda: np.rot90(mirrored, -1),
        8: lambda: np.rot90(pixels, 1),
    }
    return np.ascontiguousarray(turns[orientation]())


def decode_pixels(data: tf.Tensor) -> tf.Tensor:
    """Decodes an image file to bytes: [] string -> [H, W, 3] uint8.

    JPEG, PNG, GIF (first frame) and BMP. Grey images are repeated to three channels, transparency
    is dropped.

    Raises:
        tf.errors.InvalidArgumentError: when run on bytes that are no such file.
    """

    def bitmap() -> tf.Tensor:
        # The decoder refuses to convert channels of a BMP.
        pixels = tf.io.decode_bmp(data, channels=0)
        return tf.cond(
            tf.shape(pixels)[-1] < 3,
            lambda: tf.repeat(pixels[..., :1], 3, axis=-1),
            lambda: pixels[..., :3],
        )

    def other() -> tf.Tensor:
        return tf.io.decode_image(data, channels=3, expand_animations=False)

    pixels = tf.cond(tf.equal(tf.strings.substr(data, 0, 2), b"BM"), bitmap, other)
    return tf.ensure_shape(pixels, [None, None, 3])


def decode_image(data: tf.Tensor) -> tf.Tensor:
    """Decodes an image file: [] string -> [H, W, 3] float32 in [0, 1]; see `decode_pixels`."""
    return tf.image.convert_image_dtype(decode_pixels(data), tf.float32)


def decode_named(data: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
    """`decode_pixels` for pipelines: [] string, [] string -> [H, W, 3] uint8.

    A decoder in the graph cannot say whose bytes it failed on, so this one runs eagerly inside a
    `tf.numpy_function` and its error names `name`, a record or image id.
    """

    def decode(data: bytes, name: bytes) -> np.ndarray:
        try:
            image_headers.check(data, MAX_PIXELS)
            return _decode_eagerly(data)
        except (ImageError, tf.errors.OpError) as error:
            reason = _first_line(error) if isinstance(error, tf.errors.OpError) else error
            raise ImageError(
                f"the image of {name.decode('utf-8', 'replace')!r} cannot be decoded ({reason}); "
                "verify the shards or build them again"
            ) from error

    # Not stateful: deterministic TensorFlow would run a stateful map one element at a time.
    pixels = tf.numpy_function(decode, [data, name], tf.uint8, stateful=False)
    return tf.ensure_shape(pixels, [None, None, 3])


def resize(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Resizes bilinearly, whatever the aspect: [H, W, 3] -> [size, size, 3] float32 in [0, 1].

    Args:
        image: [H, W, 3] or [B, H, W, 3], uint8 or float in [0, 1].
        size: side, or (height, width), in pixels.
    """
    size = (size, size) if isinstance(size, int) else tuple(size)
    scale = 1 / 255 if image.dtype == tf.uint8 else 1.0
    return tf.image.resize(image, size) * scale


def eval_crop(image: tf.Tensor, size: Size, central_fraction: float = EVAL_CROP) -> tf.Tensor:
    """Inception's preprocessing for evaluation: central crop, then resize.

    Args:
        image: [H, W, 3] uint8 or float in [0, 1].
        size: side, or (height, width), in pixels.
        central_fraction: share of height and of width that is kept, in (0, 1].

    Returns:
        [size, size, 3] float32 in [0, 1].
    """
    if central_fraction < 1:
        image = tf.image.central_crop(image, central_fraction)
    return resize(image, size)


def distort(
    image: tf.Tensor,
    size: Size,
    seed: tf.Tensor,
    *,
    crop: bool = True,
    flip: bool = True,
    brightness: float = 32 / 255,
    saturation: tuple[float, float] | None = (0.5, 1.5),
    hue: float = 0.2,
    contrast: tuple[float, float] | None = (0.5, 1.5),
) -> tf.Tensor:
    """Inception's distortions for training; a pure function of image and seed.

    A random box (area 5 to 100 %, aspect 3/4 to 4/3), resized without keeping its aspect, a
    random flip, then brightness, saturation, hue and contrast in one of Inception's four orders.

    Args:
        image: [H, W, 3] uint8 or float in [0, 1].
        size: side, or (height, width), in pixels.
        seed: [2] int32 or int64.
        crop: whether to cut a random box.
        flip: whether to mirror every second image; this breaks texts that say "left".
        brightness: largest shift either way; 0 is none.
        saturation: range of the factor; None is none.
        hue: largest shift either way, in turns; 0 is none.
        contrast: range of the factor; None is none.

    Returns:
        [size, size, 3] float32 in [0, 1].

    Reference: Otto2020, Section 5 (Szegedy et al. 2016).
    """
    seeds = tf.unstack(tf.random.split(seed, 7))
    if crop:
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(image),
            bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            seed=seeds[0],
            min_object_covered=0.1,
            aspect_ratio_range=(0.75, 1.33),
            area_range=(0.05, 1.0),
            max_attempts=100,
        )
        image = tf.slice(image, begin, extent)
    image = resize(image, size)
    if flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])

    steps = {}
    if brightness:
        steps["b"] = lambda x: tf.image.stateless_random_brightness(x, brightness, seeds[2])
    if saturation:
        steps["s"] = lambda x: tf.image.stateless_random_saturation(x, *saturation, seeds[3])
    if hue:
        steps["h"] = lambda x: tf.image.stateless_random_hue(x, hue, seeds[4])
    if contrast:
        steps["c"] = lambda x: tf.image.stateless_random_contrast(x, *contrast, seeds[5])
    return tf.clip_by_value(_in_random_order(image, steps, seeds[6]), 0.0, 1.0)


def _in_random_order(
    image: tf.Tensor, steps: dict[str, Callable[[tf.Tensor], tf.Tensor]], seed: tf.Tensor
) -> tf.Tensor:
    """Takes the steps, known by their initials, in one of the orders that Inception uses."""

    def in_order(order: str) -> tf.Tensor:
        result = image
        for initial in order:
            if initial in steps:
                result = steps[initial](result)
        return result

    orders = ("bshc", "sbch", "chbs", "hscb")
    choice = tf.random.stateless_uniform([], seed, 0, len(orders), tf.int32)
    return tf.switch_case(choice, [lambda order=order: in_order(order) for order in orders])


def _decode_eagerly(data: bytes) -> np.ndarray:
    """`decode_pixels` with as few eager calls as can be: they would cost as much as decoding."""
    if data[:2] == b"BM":
        return decode_pixels(tf.constant(data)).numpy()
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def _first_line(error: tf.errors.OpError) -> str:
    # Without the name of TensorFlow's node, which says nothing of the image.
    return re.sub(r"^\{\{.*?\}\}\s*", "", str(error.message).splitlines()[0])
