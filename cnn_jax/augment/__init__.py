"""Random augmentations on the device: pure functions of one example, keyed by the example.

augmentation = parse("flip,affine:10", holds="mask")  # the steps of STEPS; `register` adds one
batch = apply(augmentation, keys, {"image": images, "mask": masks})  # keys [B]

An example holds an image, and a mask or boxes if the task has them: a step moves them alike.
`mix` and `mosaic` blend several examples of a batch.
"""

from cnn_jax.augment import colour, geometry, mix, vocabulary
from cnn_jax.augment.examples import HOLDS, IGNORE, Example, Holds
from cnn_jax.augment.grammar import DRAWS, STEPS, Augmentation, apply, parse, register, usage
from cnn_jax.augment.mosaics import mosaic
from cnn_jax.augment.pixels import normalise, to_unit

__all__ = [
    "DRAWS",
    "HOLDS",
    "IGNORE",
    "STEPS",
    "Augmentation",
    "Example",
    "Holds",
    "apply",
    "colour",
    "geometry",
    "mix",
    "mosaic",
    "normalise",
    "parse",
    "register",
    "to_unit",
    "usage",
    "vocabulary",
]


def __dir__() -> list[str]:
    return __all__
