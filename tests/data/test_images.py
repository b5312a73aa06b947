"""Images: what decodes, what is refused, and that distortions are a function of the seed."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tensorflow as tf

from imgtext_tf.data import images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, [20, 31, 3], np.uint8)
# A smooth picture, for JPEG loses little of it.
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:200:20j, 0:250:31j], 90.0), -1).astype(np.uint8)


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def jpeg(pixels):
    return tf.io.encode_jpeg(pixels, quality=95).numpy()


def bmp(pixels):
    """An uncompressed bitmap of 24 or 32 bits: rows from the bottom, padded to 4 bytes."""
    height, width, channels = pixels.shape
    order = pixels[::-1, :, [2, 1, 0, 3][:channels]]
    rows = b"".join(row.tobytes() + b"\0" * (-width * channels % 4) for row in order)
    header = struct.pack("<iiiHHiiiiii", 40, width, height, 1, 8 * channels, 0, len(rows), *[0] * 4)
    return b"BM" + struct.pack("<iii", 54 + len(rows), 0, 54) + header + rows


def gif():
    """1 x 1, red, two frames (the second one blue)."""
    frame = b"\x2c" + bytes(4) + b"\1\0\1\0\0" + b"\2\2%b\1\0"
    table = b"\xff\0\0\0\0\xff"
    first, second = frame % b"\x44", frame % b"\x4c"
    return b"GIF89a\1\0\1\0\x80\0\0" + table + first + second + b"\x3b"


def header_only_png(height, width):
    """Says to have so many pixels and has none: what a decompression bomb looks like."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("encode", [png, bmp])
def test_lossless_formats_decode_exactly(encode):
    decoded = images.decode_image(tf.constant(encode(PIXELS)))
    assert decoded.dtype == tf.float32
    np.testing.assert_allclose(decoded, PIXELS / 255.0, atol=1e-6)
    assert images.check_image(encode(PIXELS)) == (20, 31)


def test_jpeg_decodes_nearly():
    decoded = images.decode_pixels(tf.constant(jpeg(SMOOTH)))
    assert decoded.dtype == tf.uint8
    assert np.abs(decoded.numpy().astype(int) - SMOOTH).max() < 16
    assert images.check_image(jpeg(SMOOTH)) == (20, 31)


def test_a_gif_gives_its_first_frame():
    assert images.decode_pixels(tf.constant(gif())).numpy().tolist() == [[[255, 0, 0]]]
    assert images.check_image(gif()) == (1, 1)


def test_grey_and_transparent_images_get_three_channels():
    grey = images.decode_pixels(tf.constant(png(PIXELS[..., :1])))
    np.testing.assert_array_equal(grey, np.repeat(PIXELS[..., :1], 3, axis=-1))
    with_alpha = np.concatenate([PIXELS, PIXELS[..., :1]], axis=-1)
    for encode in (png, bmp):
        decoded = images.decode_pixels(tf.constant(encode(with_alpha)))
        np.testing.assert_array_equal(decoded, PIXELS)


def test_decoding_runs_in_a_pipeline():
    data = tf.data.Dataset.from_tensor_slices([png(PIXELS), bmp(PIXELS), jpeg(PIXELS)])
    shapes = [image.shape for image in data.map(images.decode_image).as_numpy_iterator()]
    assert shapes == [(20, 31, 3)] * 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "no JPEG, PNG, GIF or BMP"),
        (b"\xff\xd8\xff", "header"),
        (jpeg(PIXELS)[:-200], "truncated or damaged"),
        (jpeg(PIXELS)[: len(jpeg(PIXELS)) // 2], "truncated or damaged"),
        (png(PIXELS)[:20], "header"),
        (png(PIXELS)[:200], "truncated or damaged"),
        (bmp(PIXELS)[:100], "truncated or damaged"),
        (gif()[:20], "truncated or damaged"),
        (header_only_png(0, 5), "0 x 5"),
        (header_only_png(50_000, 40_000), "50000 x 40000 pixels, more than 100000000"),
    ],
)
def test_a_bad_image_is_refused_with_its_reason(data, message):
    with pytest.raises(images.ImageError, match=message):
        images.check_image(data)


def test_one_pixel_and_a_very_large_photo_are_legal():
    assert images.check_image(png(PIXELS[:1, :1])) == (1, 1)
    large = jpeg(np.zeros([8000, 8000, 3], np.uint8))
    assert images.check_image(large) == (8000, 8000)
    with pytest.raises(images.ImageError, match="more than 1000000"):
        images.check_image(large, max_pixels=1_000_000)


def test_decode_named_names_the_image():
    data = tf.data.Dataset.from_tensor_slices([png(PIXELS), bmp(PIXELS), jpeg(PIXELS)[:-300]])
    decoded = iter(data.map(lambda one: images.decode_named(one, tf.constant("pair-1"))))
    np.testing.assert_array_equal(next(decoded), PIXELS)
    np.testing.assert_array_equal(next(decoded), PIXELS)
    with pytest.raises(tf.errors.OpError, match="image of 'pair-1' cannot be decoded"):
        next(decoded)


def bilinear(image, size):
    """Loop form, pixel centres at half steps, edges repeated."""
    height, width, _ = image.shape
    out = np.zeros([size, size, 3])
    for y in range(size):
        for x in range(size):
            v, u = (y + 0.5) * height / size - 0.5, (x + 0.5) * width / size - 0.5
            for row, row_weight in ((np.floor(v), 1 - v % 1), (np.floor(v) + 1, v % 1)):
                for column, weight in ((np.floor(u), 1 - u % 1), (np.floor(u) + 1, u % 1)):
                    r, c = int(np.clip(row, 0, height - 1)), int(np.clip(column, 0, width - 1))
                    out[y, x] += row_weight * weight * image[r, c]
    return out


def test_resize_is_bilinear_and_does_not_keep_the_aspect():
    expected = bilinear(PIXELS / 255.0, 9)
    np.testing.assert_allclose(images.resize(tf.constant(PIXELS), 9), expected, atol=1e-5)
    floats = tf.constant(PIXELS / 255.0, tf.float32)
    np.testing.assert_allclose(images.resize(floats, 9), expected, atol=1e-5)
    assert images.resize(floats, (5, 8)).shape == [5, 8, 3]


def test_eval_crop_keeps_the_centre():
    # 0.875 of 32 is 28: two pixels go on each side.
    image = RNG.integers(0, 256, [32, 32, 3], np.uint8)
    expected = bilinear(image[2:30, 2:30] / 255.0, 7)
    np.testing.assert_allclose(images.eval_crop(tf.constant(image), 7), expected, atol=1e-5)
    whole = images.eval_crop(tf.constant(image), 32, central_fraction=1.0)
    np.testing.assert_allclose(whole, image / 255.0, atol=1e-6)


def test_distort_is_a_function_of_the_seed():
    image = tf.constant(PIXELS)
    one = images.distort(image, 16, tf.constant([3, 4], tf.int64))
    again = images.distort(image, 16, tf.constant([3, 4], tf.int64))
    others = [images.distort(image, 16, tf.constant([3, n])).numpy() for n in range(5, 13)]
    np.testing.assert_array_equal(one, again)
    assert one.shape == [16, 16, 3] and one.dtype == tf.float32
    assert all(np.abs(one - other).max() > 0.01 for other in others)
    assert all(other.min() >= 0 and other.max() <= 1 for other in others)


OFF = {
    "crop": False,
    "flip": False,
    "brightness": 0,
    "saturation": None,
    "hue": 0,
    "contrast": None,
}


def test_distort_with_all_off_is_resize():
    image = tf.constant(PIXELS)
    out = images.distort(image, 16, tf.constant([1, 2]), **OFF)
    np.testing.assert_allclose(out, images.resize(image, 16), atol=1e-6)


def test_flip_mirrors_about_half_the_images():
    image = tf.constant(PIXELS)
    plain = images.resize(image, 12).numpy()
    flips = 0
    for n in range(40):
        out = images.distort(image, 12, tf.constant([n, 0]), **OFF | {"flip": True}).numpy()
        mirrored = np.allclose(out, plain[:, ::-1], atol=1e-6)
        assert mirrored or np.allclose(out, plain, atol=1e-6)
        flips += mirrored
    assert 8 <= flips <= 32


def test_crop_takes_boxes_of_inceptions_area_and_aspect():
    """Pixels hold their own place, so the corners of the output tell the box."""
    y, x = np.mgrid[0:200, 0:200] / 200.0
    image = tf.constant(np.stack([y, x, x], -1), tf.float32)
    areas = []
    for n in range(40):
        out = images.distort(image, 100, tf.constant([n, 1]), **OFF | {"crop": True}).numpy()
        height, width = out[-1, 0, 0] - out[0, 0, 0], out[0, -1, 1] - out[0, 0, 1]
        areas.append(height * width)
        assert 0.7 < width / height < 1.4
    assert min(areas) < 0.35 and max(areas) > 0.6
    assert all(0.04 < area <= 1 for area in areas)


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        # 0.5 + d with |d| <= 32/255; the grey stays grey.
        ("brightness", 32 / 255, lambda o: np.ptp(o) < 1e-5 and 0.37 < o.mean() < 0.63),
        # A uniform picture has no contrast to change, and grey no saturation or hue.
        ("contrast", (0.5, 1.5), lambda o: np.abs(o - 0.5).max() < 1e-5),
        ("saturation", (0.5, 1.5), lambda o: np.abs(o - 0.5).max() < 1e-5),
        ("hue", 0.2, lambda o: np.abs(o - 0.5).max() < 1e-5),
    ],
)
def test_each_colour_step_on_uniform_grey(name, value, check):
    grey = tf.fill([8, 8, 3], 0.5)
    for n in range(6):
        assert check(images.distort(grey, 8, tf.constant([n, 2]), **OFF | {name: value}).numpy())


@pytest.mark.parametrize("name", ["brightness", "saturation", "hue", "contrast"])
def test_each_colour_step_changes_a_photo(name):
    value = {"brightness": 0.1, "hue": 0.2}.get(name, (0.5, 0.8))
    image = tf.constant(PIXELS)
    out = images.distort(image, 16, tf.constant([5, 5]), **OFF | {name: value})
    assert np.abs(out - images.resize(image, 16)).max() > 0.005


def test_distort_bears_one_pixel():
    out = images.distort(tf.constant(PIXELS[:1, :1]), 8, tf.constant([0, 0]))
    assert out.shape == [8, 8, 3] and np.ptp(out.numpy(), axis=(0, 1)).max() < 1e-5


def test_real_photos_decode(kit):
    for path in sorted((kit / "flickr8k" / "Flicker8k_Dataset").glob("*.jpg"))[:5]:
        assert images.check_image(path.read_bytes()) == (224, 224)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_the_camera_was_held(orientation):
    pixels = np.random.default_rng(0).integers(0, 256, [4, 6, 3], np.uint8)
    photo, exif, file = PIL.Image.fromarray(pixels), PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    photo.save(file, "PNG", exif=exif)
    expected = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(file)))
    decoded = images.checked_pixels(file.getvalue())
    np.testing.assert_array_equal(decoded, pixels)  # the decoder leaves it as it is
    np.testing.assert_array_equal(images.upright(decoded, file.getvalue()), expected)
