"""Colour operations against Pillow (always) and torchvision (where it is installed)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from cnn_jax.augment import colour

FACTORS = (0.0, 0.37, 1.9)
FACTORED = {  # at a factor of 1 they change nothing
    "brightness": lambda x, factor: colour.blend(x, own=factor),
    "contrast": lambda x, factor: colour.blend(x, own=factor, mean=1 - factor),
    "saturation": lambda x, factor: colour.blend(x, own=factor, grey=1 - factor),
    "sharpness": colour.adjust_sharpness,
}


def photo(channels=3, height=23, width=17, seed=0, low=0, high=256):
    """A smooth random picture, uint8: neighbours are alike, as in photographs."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(low, high, (5, 4, channels), np.uint8)
    planes = [Image.fromarray(coarse[..., c]).resize((width, height)) for c in range(channels)]
    return np.stack([np.asarray(p) for p in planes], -1)


def ours(function, levels):
    return np.asarray(function(jnp.asarray(levels, jnp.float32) / 255)) * 255


def pillow(function, levels):
    image = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    return np.asarray(function(image)).reshape(levels.shape).astype(float)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("function", "enhancer"),
    [
        (FACTORED["brightness"], ImageEnhance.Brightness),
        (FACTORED["contrast"], ImageEnhance.Contrast),
        (FACTORED["saturation"], ImageEnhance.Color),
        (FACTORED["sharpness"], ImageEnhance.Sharpness),
    ],
)
def test_enhancers_agree_with_pillow(function, enhancer, factor, channels):
    levels = photo(channels)
    got = ours(lambda x: function(x, factor), levels)
    want = pillow(lambda x: enhancer(x).enhance(factor), levels)
    # Pillow rounds the grey image, or its mean, to a whole level before it extrapolates.
    assert np.abs(got - want).max() <= 1.01 + 0.51 * abs(1 - factor)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (lambda x: colour.blend(x, own=-1, constant=1), ImageOps.invert),
        (colour.equalize, ImageOps.equalize),
        (lambda x: colour.solarize(x, 100 / 255), lambda x: ImageOps.solarize(x, 100)),
        (lambda x: colour.posterize(x, 3), lambda x: ImageOps.posterize(x, 3)),
        (lambda x: colour.posterize(x, 8), lambda x: x),
    ],
)
def test_tone_curves_equal_pillow_level_for_level(function, reference, channels):
    levels = photo(channels, low=30, high=200)
    np.testing.assert_allclose(ours(function, levels), pillow(reference, levels), atol=1e-3)


def test_autocontrast_agrees_with_pillow():
    levels = photo(low=30, high=200)
    got, want = ours(colour.autocontrast, levels), pillow(ImageOps.autocontrast, levels)
    assert np.abs(got - want).max() <= 1  # Pillow truncates to a whole level
    assert got.min((0, 1)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(got.max((0, 1)), 255, rtol=1e-6)


def test_grayscale_agrees_with_pillow():
    levels = photo()
    want = pillow(lambda x: x.convert("L").convert("RGB"), levels)
    assert np.abs(ours(colour.grayscale, levels) - want).max() <= 0.51


@pytest.mark.parametrize("sigma", [0.5, 1.5])
def test_blur_of_an_impulse_is_the_gaussian(sigma):
    image = jnp.zeros((21, 21, 1)).at[10, 10].set(1.0)
    blurred = colour.gaussian_blur(image, sigma, radius=6)[..., 0]
    offsets = np.arange(-10, 11)
    taps = np.exp(-(offsets**2) / (2 * sigma**2)) * (np.abs(offsets) <= 6)
    np.testing.assert_allclose(blurred, np.outer(taps, taps) / taps.sum() ** 2, atol=1e-6)


def test_pillows_smoothing_kernel_is_the_one_documented():
    levels = photo()
    want = pillow(lambda x: x.filter(ImageFilter.SMOOTH), levels)
    assert np.abs(ours(lambda x: colour.adjust_sharpness(x, 0.0), levels) - want).max() <= 0.51


def test_degenerate_images_are_left_alone():
    flat = jnp.full((8, 8, 3), 0.4)
    np.testing.assert_array_equal(colour.autocontrast(flat), flat)
    np.testing.assert_allclose(colour.equalize(flat), flat, atol=1e-6)
    np.testing.assert_array_equal(colour.adjust_sharpness(flat[:2], 0.0), flat[:2])
    grey = flat[..., :1]
    np.testing.assert_array_equal(colour.adjust_hue(grey, 0.3), grey)
    np.testing.assert_allclose(FACTORED["saturation"](grey, 0.3), grey, atol=1e-7)


@pytest.mark.parametrize("turns", [1 / 3, 2 / 3])
def test_hue_turns_red_to_green_to_blue(turns):
    red = jnp.zeros((2, 2, 3)).at[..., 0].set(1.0)
    want = jnp.roll(red, round(3 * turns), axis=-1)
    np.testing.assert_allclose(colour.adjust_hue(red, turns), want, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused(channels):
    with pytest.raises(ValueError, match="1 or 3 channels"):
        colour.blend(jnp.zeros((4, 4, channels)), own=0.5)


OPERATIONS = {
    "brightness": lambda x: FACTORED["brightness"](x, 1.3),
    "contrast": lambda x: FACTORED["contrast"](x, 1.3),
    "saturation": lambda x: FACTORED["saturation"](x, 1.3),
    "hue": lambda x: colour.adjust_hue(x, 0.1),
    "sharpness": lambda x: colour.adjust_sharpness(x, 1.3),
    "posterize": lambda x: colour.posterize(x, 3),
    "solarize": lambda x: colour.solarize(x, 0.5),
    "autocontrast": colour.autocontrast,
    "equalize": colour.equalize,
    "blur": lambda x: colour.gaussian_blur(x, 1.0, radius=3),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_bfloat16_stays_bfloat16_and_close(name):
    image = jnp.asarray(photo() / 255, jnp.bfloat16)
    got = OPERATIONS[name](image)
    assert got.dtype == jnp.bfloat16
    want = OPERATIONS[name](image.astype(jnp.float32))
    # A level of solarize may flip at its threshold; it does not here, as inputs are the same.
    np.testing.assert_allclose(got.astype(jnp.float32), want, atol=0.02)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_all_operations(self):
        image = jnp.asarray(photo(height=9, width=8) / 255, jnp.float32)
        for name, operation in OPERATIONS.items():
            got = self.variant(operation)(image)
            np.testing.assert_allclose(got, operation(image), atol=1e-6, err_msg=name)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", FACTORS)
def test_factors_equal_torchvision(factor, channels):
    torch = pytest.importorskip("torch")
    from torchvision.transforms import functional as F

    image = photo(channels).astype(np.float32) / 255
    planes = torch.from_numpy(image).permute(2, 0, 1)
    for name, function in FACTORED.items():
        want = getattr(F, f"adjust_{name}")(planes, factor).permute(1, 2, 0)
        got = function(jnp.asarray(image), factor)
        # torchvision's luma weights are 0.2989, 0.587, 0.114: 1e-4 from BT.601's.
        np.testing.assert_allclose(got, want, atol=2e-4, err_msg=name)


def test_the_rest_equals_torchvision():
    torch = pytest.importorskip("torch")
    from torchvision.transforms import functional as F

    levels = photo(low=30, high=200)
    planes = torch.from_numpy(levels).permute(2, 0, 1)
    image = jnp.asarray(levels, jnp.float32) / 255
    unit = planes.float() / 255

    def same(got, want, atol):
        want = want.float() / 255 if want.dtype == torch.uint8 else want
        np.testing.assert_allclose(got, want.permute(1, 2, 0), atol=atol)

    same(colour.adjust_hue(image, 0.23), F.adjust_hue(unit, 0.23), 1e-5)
    same(colour.solarize(image, 0.5), F.solarize(unit, 0.5), 1e-6)
    same(colour.autocontrast(image), F.autocontrast(unit), 1e-5)
    same(colour.equalize(image), F.equalize(planes), 1e-6)
    same(colour.posterize(image, 3), F.posterize(planes, 3), 1e-6)
    same(
        colour.gaussian_blur(image, 1.3, radius=4), F.gaussian_blur(unit, [9, 9], [1.3, 1.3]), 1e-5
    )


def test_gradients_are_finite_on_a_grey_picture():
    """Grey pixels have no hue: the conversion divides by zero unless it takes care."""
    image = jnp.full((4, 4, 3), 0.5)
    for name in ("brightness", "contrast", "saturation", "hue", "sharpness", "autocontrast"):
        gradient = jax.jit(jax.grad(lambda x, f=OPERATIONS[name]: jnp.sum(f(x) ** 2)))(image)
        assert bool(jnp.isfinite(gradient).all()), name
