"""Random augmentations on the device: pure functions of one example, keyed by the example.

augmentation = augment.spec.parse("flip,crop:4")  # or augment.compose(augment.horizontal_flip, ...)
images = augment.apply(augmentation, keys, images)  # keys [B], images [B, *space, C]

`spec` reads the words for images and sequences, `with_mask` those that move an image and its labels
together, `with_boxes` those for an image and its boxes; `mix` blends two examples.
"""

from cnn_jax.augment import colour, geometry, mix, sequence, spec, with_boxes, with_mask
from cnn_jax.augment.auto_augment import rand_augment, trivial_augment
from cnn_jax.augment.erase import cutout, random_erasing
from cnn_jax.augment.image import (
    Augmentation,
    apply,
    compose,
    horizontal_flip,
    normalise,
    pad_and_crop,
    random_affine,
    random_resized_crop,
    to_unit,
    vertical_flip,
)
from cnn_jax.augment.jitter import colour_jitter, random_blur, random_grayscale

__all__ = [
    "Augmentation",
    "apply",
    "colour",
    "colour_jitter",
    "compose",
    "cutout",
    "geometry",
    "horizontal_flip",
    "mix",
    "normalise",
    "pad_and_crop",
    "rand_augment",
    "random_affine",
    "random_blur",
    "random_erasing",
    "random_grayscale",
    "random_resized_crop",
    "sequence",
    "spec",
    "to_unit",
    "trivial_augment",
    "vertical_flip",
    "with_boxes",
    "with_mask",
]


def __dir__() -> list[str]:
    return __all__
