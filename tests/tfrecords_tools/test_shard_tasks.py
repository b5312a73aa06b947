import hashlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tfrecords_tools import shard_tasks


def photo(path, orientation=None):
    """Black on the left and white on the right: 20 x 40."""
    pixels = np.zeros([20, 40, 3], np.uint8)
    pixels[:, 20:] = 255
    exif = PIL.Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    PIL.Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize("resize, shape", [(None, (40, 20)), (10, (20, 10))])
def test_a_photo_held_sideways_is_turned(tmp_path, resize, shape):
    record = shard_tasks.read_image(*photo(tmp_path / "a.jpg", 6), resize)
    assert (record["height"], record["width"]) == shape
    found = tf.io.decode_jpeg(record["image"]).numpy()
    assert found.shape == (*shape, 3)
    half = shape[0] // 2
    assert found[: half - 2].mean() < 20 and found[half + 2 :].mean() > 235
    # And nobody turns it a second time.
    with PIL.Image.open(tmp_path / "a.jpg") as file:
        assert file.getexif()[0x0112] == 6
    assert b"Exif" not in record["image"]


@pytest.mark.parametrize("orientation", [None, 1, 9])
def test_other_photos_stay_the_files_they_are(tmp_path, orientation):
    path, name = photo(tmp_path / "a.jpg", orientation)
    record = shard_tasks.read_image(path, name, None)
    assert record["image"] == (tmp_path / "a.jpg").read_bytes()
    assert (record["height"], record["width"]) == (20, 40)
