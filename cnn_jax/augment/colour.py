"""Photometric operations on one image of floats in 0..1: colour, tone curves, sharpness, blur.

Deterministic, and traceable in their strengths; the random versions are in jitter.py. The
definitions are those of Pillow's ImageEnhance and ImageOps, which the papers of AutoAugment and its
successors used, in the float form of torchvision; the results are clipped to 0..1.

Images are [H, W, C] of 1 or 3 channels. A grey image has no hue and no saturation: what would
change them returns it as it is. Images without a second axis work where the idea does.
"""

import functools

import jax
import jax.numpy as jnp

from cnn_jax.typing import Array

Number = float | Array
LUMA = (0.299, 0.587, 0.114)  # the weights of red, green, blue in a grey image: ITU-R BT.601


def grayscale(image: Array) -> Array:
    """The luma of an image, in as many channels as came: [..., C] -> [..., C]."""
    return jnp.broadcast_to(_luma(image), image.shape)


def blend(
    image: Array,
    *,
    own: Number = 1.0,
    grey: Number = 0.0,
    mean: Number = 0.0,
    constant: Number = 0.0,
) -> Array:
    """own * image + grey * luma + mean * average luma + constant, clipped to 0..1.

    The one formula behind brightness, saturation, contrast and inversion. A policy that chooses
    one of them at random computes it once, with chosen coefficients.
    """
    own, grey, mean, constant = (jnp.asarray(v, image.dtype) for v in (own, grey, mean, constant))
    luma = _luma(image)
    average = luma.mean(dtype=jnp.promote_types(image.dtype, jnp.float32)).astype(image.dtype)
    return jnp.clip(own * image + grey * luma + (mean * average + constant), 0, 1)


def adjust_hue(image: Array, shift: Number) -> Array:
    """Turns the hue circle (of HSV) by `shift`, in turns: 1/3 sends red to green.

    Identity on one channel.
    """
    if image.shape[-1] == 1:
        return image
    _luma(image)  # checks the channels
    wide = image.astype(jnp.promote_types(image.dtype, jnp.float32))
    red, green, blue = wide[..., 0], wide[..., 1], wide[..., 2]
    value = wide.max(axis=-1)
    chroma = value - wide.min(axis=-1)
    # The brightest channel is found by order, not as the one that equals the maximum (so does
    # dm_pix): under jit the two sides of == may be rounded apart, and the hue jumps. Here, where
    # order is in doubt, either branch gives the same hue.
    sixths = jnp.where(
        (red >= green) & (red >= blue),
        green - blue,
        jnp.where(green >= blue, blue - red, red - green),
    ) / jnp.where(chroma > 0, chroma, 1)
    offset = jnp.where((red >= green) & (red >= blue), 0, jnp.where(green >= blue, 2, 4))
    sixths = sixths + offset + 6 * jnp.asarray(shift, wide.dtype)  # the new hue

    def channel(n: int) -> Array:
        """Smith 1978, in one formula: a trapezium over the hue circle, turned by n sixths."""
        k = n + sixths
        k = k - 6 * jnp.floor(k / 6)  # mod 6; a float remainder does not vectorise on a CPU
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1).astype(image.dtype)


def solarize(image: Array, threshold: Number) -> Array:
    """Inverts what is at least as bright as the threshold (0..1)."""
    import dm_pix  # brings chex, see `cnn_jax.shapes`

    return dm_pix.solarize(image, jnp.asarray(threshold, image.dtype))


def posterize(image: Array, bits: Number) -> Array:
    """Keeps the highest bits (1..8, a whole number) of the 8 that a channel has.

    The image is first rounded to the 256 levels of 8 bits, so that 8 does no more than that.
    """
    step = jnp.exp2(8 - jnp.asarray(bits, jnp.float32)).astype(jnp.int32)
    levels = _levels(image)
    return ((levels - levels % step) / 255).astype(image.dtype)


def autocontrast(image: Array) -> Array:
    """Stretches each channel so that its darkest value is 0 and its brightest is 1.

    A channel of one value is left alone.
    """
    axes = tuple(range(image.ndim - 1))
    low, high = image.min(axes), image.max(axes)  # [C]
    flat = high <= low
    low, gain = jnp.where(flat, 0, low), jnp.where(flat, 1, 1 / jnp.where(flat, 1, high - low))
    return jnp.clip((image - low) * gain, 0, 1)


def equalize(image: Array) -> Array:
    """Makes the histogram of each channel as even as 256 levels allow, as Pillow does.

    Every level is sent to the share of pixels darker than it; the brightest level present is left
    out of the count so that it becomes 1. The image is rounded to 256 levels first. A channel with
    too few pixels beside its brightest level to fill 255 steps is left alone.
    """
    channels = image.shape[-1]
    levels = _levels(image).reshape(-1, channels)  # [N, C]
    channel = jnp.arange(channels)
    histogram = jnp.zeros((channels, 256), jnp.int32).at[channel, levels].add(1)
    step = (len(levels) - histogram[channel, levels.max(axis=0)]) // 255  # [C]
    darker = jnp.cumsum(histogram, axis=1) - histogram  # [C, 256]
    curve = (step[:, None] // 2 + darker) // jnp.maximum(step, 1)[:, None]
    curve = jnp.where(step[:, None] == 0, jnp.arange(256), jnp.minimum(curve, 255))
    return (curve[channel, levels] / 255).astype(image.dtype).reshape(image.shape)


def adjust_sharpness(image: Array, factor: Number) -> Array:
    """0: smoothed; 1: unchanged; above 1: sharpened. The outermost pixels stay as they are.

    The smoothing is Pillow's: a 3 x 3 mean in which the middle counts five times.
    """
    if min(image.shape[:-1]) < 3:
        return image
    box = image[:-2] + image[1:-1] + image[2:]
    box = box[:, :-2] + box[:, 1:-1] + box[:, 2:]  # [H-2, W-2, C]
    inner = image[1:-1, 1:-1]
    smooth = jnp.pad((box + 4 * inner) / 13 - inner, ((1, 1), (1, 1), (0, 0))) + image
    factor = jnp.asarray(factor, image.dtype)
    return jnp.clip(smooth + factor * (image - smooth), 0, 1)


def gaussian_blur(image: Array, sigma: Number, *, radius: int) -> Array:
    """Convolves every spatial axis with a Gaussian, mirroring the image at its border.

    Args:
        image: [*space, C].
        sigma: standard deviation in pixels; positive, may be traced.
        radius: static; the kernel has 2 radius + 1 taps (3 sigma lose nothing that is visible).

    Raises:
        ValueError: if the radius is not smaller than every side.
    """
    if radius >= min(image.shape[:-1]):
        raise ValueError(f"gaussian_blur: radius {radius} is too large for an image {image.shape}")
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    kernel = jnp.exp(-0.5 * jnp.square(offsets / sigma))
    kernel = (kernel / kernel.sum()).astype(image.dtype)  # [2 radius + 1]
    for axis in range(image.ndim - 1):
        size = image.shape[axis]
        widths = [(radius, radius) if a == axis else (0, 0) for a in range(image.ndim)]
        padded = jnp.pad(image, widths, mode="reflect")
        # One tap after another: shifts and sums, which fuse, where a convolution would not.
        taps = [
            kernel[tap] * jax.lax.slice_in_dim(padded, tap, tap + size, axis=axis)
            for tap in range(2 * radius + 1)
        ]
        image = functools.reduce(jnp.add, taps)
    return image


def _luma(image: Array) -> Array:
    """[..., 1]."""
    channels = image.shape[-1]
    if channels == 1:
        return image
    if channels != 3:
        raise ValueError(
            f"colour operations are defined on 1 or 3 channels, got an image of {image.shape}"
        )
    red, green, blue = (jnp.asarray(weight, image.dtype) for weight in LUMA)
    return red * image[..., 0:1] + green * image[..., 1:2] + blue * image[..., 2:3]


def _levels(image: Array) -> Array:
    """The 8-bit levels 0..255, int32."""
    return jnp.round(jnp.clip(image.astype(jnp.float32), 0, 1) * 255).astype(jnp.int32)
