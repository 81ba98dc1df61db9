"""The steps of this package: their names in the grammar, and what they are for.

To add one of your own, see `cnn_jax.augment.register`.
"""

from cnn_jax.augment import auto_augment, crops, erase, jitter, place, sequence
from cnn_jax.augment.examples import HOLDS
from cnn_jax.augment.grammar import register
from cnn_jax.typing import Array


def blur(key: Array, image: Array, *, largest_sigma: float = 2.0, probability: float = 0.5):
    """Blurs with a Gaussian of random width, up to this many pixels."""
    sigma = (0.05 * largest_sigma, largest_sigma)
    return jitter.random_blur(key, image, sigma=sigma, probability=probability)


def colour(
    key: Array,
    image: Array,
    *,
    brightness: float,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
):
    """Changes brightness, contrast and saturation in random order, then the hue."""
    return jitter.colour_jitter(
        key, image, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue
    )


register("flip", place.flip, holds=HOLDS)
register("vertical_flip", place.vertical_flip, holds=HOLDS)
# One name, and the two meanings that it has in flagfiles: 'crop:4' shifts an image with a label by
# up to 4 pixels, 'crop:96' cuts 96 x 96 pixels out of an image with a mask.
register("crop", crops.pad_and_crop, holds=("label",))
register("crop", crops.window, holds=("mask", "boxes"))
register("resized_crop", crops.resized_crop, holds=HOLDS)
register("scaled_crop", crops.scaled_crop, holds=HOLDS)
register("ssd_crop", crops.ssd_crop, holds=("boxes",))
register("affine", place.affine, holds=("label", "mask"))
register("affine", place.affine_with_boxes, holds=("boxes",))
register("rotate", place.rotate, holds=("label", "mask"))
register("translate", place.translate, holds=HOLDS)
register("scale", place.scale, holds=HOLDS)
register("shear", place.shear, holds=("label", "mask"))

# Every pixel stays in its place.
register("colour", colour, holds=HOLDS)
register("grayscale", jitter.random_grayscale, holds=HOLDS)
register("blur", blur, holds=HOLDS)
register("cutout", erase.cutout, holds=HOLDS)
register("erasing", erase.random_erasing, holds=HOLDS)

# Some of the operations that they choose from move pixels.
register("randaugment", auto_augment.rand_augment)
register("trivialaugment", auto_augment.trivial_augment)

# For sequences.
register("noise", sequence.noise)
register("gain", sequence.gain)
register("roll", sequence.roll)
register("stretch", sequence.stretch)
register("slope", sequence.slope)
