"""Every kind of picture becomes uint8 [H, W, channels]."""

import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from cnn_jax.data.decode import decode_image, image_size
from tests.data.pictures import encode

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 8), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 3), np.uint8)
WITH_ALPHA = RNG.integers(0, 256, (6, 8, 4), np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(40) * 4, np.arange(32) * 5), -1).astype(np.uint8)
SMOOTH = np.concatenate([SMOOTH, 255 - SMOOTH[..., :1]], -1)  # [32, 40, 3]: survives JPEG


def luma(colour):
    """ITU-R BT.601."""
    return colour @ np.array([0.299, 0.587, 0.114])


def save(image: Image.Image, **options) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, **options)
    return encoded.getvalue()


def test_grey():
    np.testing.assert_array_equal(decode_image(encode(GREY), channels=1), GREY[..., None])
    repeated = np.repeat(GREY[..., None], 3, -1)
    np.testing.assert_array_equal(decode_image(encode(GREY), channels=3), repeated)


def test_colour():
    np.testing.assert_array_equal(decode_image(encode(COLOUR)), COLOUR)
    np.testing.assert_allclose(
        decode_image(encode(COLOUR), channels=1)[..., 0], luma(COLOUR.astype(float)), atol=1
    )
    opaque = decode_image(encode(COLOUR), channels=4)
    np.testing.assert_array_equal(opaque[..., :3], COLOUR)
    assert (opaque[..., 3] == 255).all()


def test_alpha_is_dropped_unless_asked_for():
    np.testing.assert_array_equal(decode_image(encode(WITH_ALPHA)), WITH_ALPHA[..., :3])
    np.testing.assert_array_equal(decode_image(encode(WITH_ALPHA), channels=4), WITH_ALPHA)


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes(transparent):
    image = Image.fromarray(GREY % 4).convert("P")
    image.putdata((GREY % 4).ravel().tolist())
    palette = np.array([[9, 8, 7], [200, 10, 50], [0, 255, 1], [77, 77, 0]], np.uint8)
    image.putpalette(palette.ravel().tolist())
    options = {"transparency": 2} if transparent else {}
    decoded = decode_image(save(image, format="PNG", **options))
    np.testing.assert_array_equal(decoded, palette[GREY % 4])


def test_one_bit():
    bits = GREY > 100
    decoded = decode_image(save(Image.fromarray(bits), format="PNG"), channels=1)
    np.testing.assert_array_equal(decoded[..., 0], bits * np.uint8(255))


@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_high_byte(suffix):
    deep = RNG.integers(0, 2**16, (6, 8)).astype(np.uint16)
    decoded = decode_image(encode(deep, format=suffix), channels=1)
    np.testing.assert_array_equal(decoded[..., 0], deep >> 8)


def test_floats_are_refused():
    with pytest.raises(ValueError, match="floating-point"):
        decode_image(encode(GREY.astype(np.float32), format="TIFF"), channels=1)


@pytest.mark.parametrize("suffix", ["BMP", "GIF", "PPM", "TIFF", "WEBP"])
def test_other_formats(suffix):
    options = {"lossless": True} if suffix == "WEBP" else {}
    decoded = decode_image(encode(GREY, format=suffix, **options), channels=1)
    np.testing.assert_array_equal(decoded[..., 0], GREY)


@pytest.mark.parametrize(("channels", "tolerance"), [(1, 2), (3, 6), (4, 6)])
def test_jpeg_is_what_pillow_makes_of_it(channels, tolerance):
    data = encode(SMOOTH, format="JPEG", quality=95)
    decoded = decode_image(data, channels=channels)
    reference = Image.open(io.BytesIO(data)).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    reference = np.asarray(reference).reshape(decoded.shape)
    np.testing.assert_allclose(decoded.astype(int), reference.astype(int), atol=tolerance)
    assert image_size(data) == (32, 40)


def test_grey_jpeg():
    data = encode(SMOOTH[..., 0], format="JPEG", quality=95)
    decoded = decode_image(data)
    assert decoded.shape == (32, 40, 3)
    np.testing.assert_allclose(decoded[..., 1].astype(int), SMOOTH[..., 0], atol=6)


def test_cmyk_jpeg():
    data = save(Image.fromarray(SMOOTH).convert("CMYK"), format="JPEG", quality=95)
    np.testing.assert_allclose(decode_image(data).astype(int), SMOOTH, atol=16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["JPEG", "PNG"])
def test_exif_orientation(orientation, suffix):
    """Each of the eight ways to hold a camera, against what its definition says."""
    undo = {  # EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored picture lie
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: x[::-1].swapaxes(0, 1),
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: x[:, ::-1].swapaxes(0, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(SMOOTH, format=suffix, exif=exif)
    stored, turned = decode_image(data), decode_image(data, upright=True)
    np.testing.assert_allclose(turned.astype(int), undo(stored).astype(int), atol=6)
    assert image_size(data, upright=True) == turned.shape[:2]
    assert image_size(data) == stored.shape[:2] == (32, 40)


def test_a_small_picture_needs_not_the_whole_jpeg():
    big = np.asarray(Image.fromarray(SMOOTH).resize((320, 256), Image.Resampling.BICUBIC))
    data = encode(big, format="JPEG", quality=95)
    for wanted, shape in [
        ((256, 320), (256, 320)),
        ((129, 160), (256, 320)),
        ((128, 160), (128, 160)),
        ((33, 40), (64, 80)),
        ((1, 1), (32, 40)),
    ]:
        decoded = decode_image(data, min_size=wanted)
        assert decoded.shape == (*shape, 3)
        factor = 256 // shape[0]
        means = big.reshape(shape[0], factor, shape[1], factor, 3).mean((1, 3))
        assert np.abs(decoded - means).mean() < 1.5


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", b"\xff\xd8\xff\xe0 cut", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_picture_raises(data):
    with pytest.raises((ValueError, OSError, SyntaxError)):
        decode_image(data)


@pytest.mark.parametrize("suffix", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_truncated_files_raise(suffix, share):
    noise = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(noise, format=suffix)
    with pytest.raises((ValueError, OSError, SyntaxError)):
        decode_image(data[: int(share * len(data))])


def test_simplejpeg_reads_the_colour_spaces_it_is_trusted_with():
    """A JPEG that is stored as RGB, without the usual rotation to YCbCr."""
    data = save(Image.fromarray(SMOOTH), format="JPEG", quality=95, keep_rgb=True)
    assert simplejpeg.decode_jpeg_header(data)[2] == "RGB"
    np.testing.assert_allclose(decode_image(data).astype(int), SMOOTH, atol=6)
