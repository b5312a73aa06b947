"""A photo that its camera held sideways, for what reads image files."""

import io

import numpy as np
import PIL.Image
import tensorflow as tf

from imgtext_tf.data import images


def tagged_turned_and_stored() -> list[bytes]:
    """A JPEG with EXIF, and PNGs of its pixels: turned upright, and as they are stored."""
    rows, columns = np.mgrid[:40, :64]
    pixels = np.stack([rows * 6, columns * 4, 255 * (rows // 5 % 2)], -1).astype(np.uint8)
    file, tags = io.BytesIO(), PIL.Image.Exif()
    tags[0x0112] = 6  # the top of the scene is at the right
    PIL.Image.fromarray(pixels).save(file, "JPEG", exif=tags)
    tagged = file.getvalue()
    stored = images.decode_pixels(tf.constant(tagged)).numpy()
    turned = images.upright(stored, tagged)
    assert turned.shape == (64, 40, 3)
    return [tagged, *(tf.io.encode_png(picture).numpy() for picture in (turned, stored))]
