"""Augmentation policies: RandAugment and TrivialAugment. (key, image) -> image.

Both draw from the fourteen operations of AutoAugment (Cubuk 2019, arXiv 1805.09501, table 6)
without a search. Strengths are torchvision's (torchvision/transforms/autoaugment.py, 0.20), which
reads an index 0..30 into thirty-one steps from nothing to the strongest.

Every example draws its own operation, so under vmap all branches are computed for all. Operations
are therefore grouped into few branches that take parameters: one warp for the five geometric ones,
one formula for the three that blend colours.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.augment import colour, geometry
from cnn_jax.typing import Array

BINS = 31


class Operation(NamedTuple):
    """Strengths by index, [31], and whether half of the draws are negative."""

    strengths: np.ndarray
    signed: bool = False


def _ramp(strongest: float, weakest: float = 0.0) -> np.ndarray:
    return np.linspace(weakest, strongest, BINS)


def _bits(removed: float) -> np.ndarray:
    return 8 - np.round(np.arange(BINS) / (BINS - 1) * removed)


NAMES = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)


def rand_augment_operations(height: int, width: int) -> dict[str, Operation]:
    """The space of RandAugment, for images of this size."""
    return {
        "identity": Operation(_ramp(0.0)),
        "shear_x": Operation(_ramp(0.3), signed=True),  # tangent of the angle
        "shear_y": Operation(_ramp(0.3), signed=True),
        "translate_x": Operation(_ramp(150 / 331 * width), signed=True),  # pixels; NASNet had 331
        "translate_y": Operation(_ramp(150 / 331 * height), signed=True),
        "rotate": Operation(_ramp(30.0), signed=True),  # degrees
        "brightness": Operation(_ramp(0.9), signed=True),  # added to a factor of 1
        "saturation": Operation(_ramp(0.9), signed=True),
        "contrast": Operation(_ramp(0.9), signed=True),
        "sharpness": Operation(_ramp(0.9), signed=True),
        "posterize": Operation(_bits(4)),  # bits kept
        "solarize": Operation(_ramp(0.0, weakest=1.0)),  # threshold
        "autocontrast": Operation(_ramp(0.0)),
        "equalize": Operation(_ramp(0.0)),
    }


def trivial_augment_operations(height: int, width: int) -> dict[str, Operation]:
    """The wide space of TrivialAugment (arXiv 2103.10158, table 2), for images of this size."""
    factors = ("brightness", "saturation", "contrast", "sharpness")
    strongest = dict.fromkeys(("shear_x", "shear_y", *factors), 0.99)
    strongest |= {"translate_x": 32.0, "translate_y": 32.0, "rotate": 135.0}
    wide = {name: Operation(_ramp(value), signed=True) for name, value in strongest.items()}
    return rand_augment_operations(height, width) | wide | {"posterize": Operation(_bits(6))}


def rand_augment(
    key: Array,
    image: Array,
    *,
    layers: int = 2,
    magnitude: int = 9,
    interpolation: geometry.Interpolation = "nearest",
    fill: float = 0.0,
) -> Array:
    """Applies `layers` operations, each drawn from fourteen, all of one strength.

    Cubuk 2020, arXiv 1909.13719: N = 2, M = 9 for ResNet-50 on ImageNet (table 4 and section 4.3).

    Args:
        image: [H, W, C], floats in 0..1, 1 or 3 channels.
        layers: N, how many operations one after another.
        magnitude: M, 0..30.
        interpolation: for the geometric operations, 'nearest' or 'bilinear'.
        fill: what geometric operations bring in from outside.

    Raises:
        ValueError: if the magnitude is not a whole number in 0..30 or layers is negative.
    """
    if magnitude not in range(BINS) or layers < 0:
        raise ValueError(
            f"rand_augment: wanted layers >= 0 and a whole magnitude in 0..{BINS - 1}, "
            f"got layers={layers}, magnitude={magnitude}"
        )
    operations = rand_augment_operations(*_sides(image))
    for layer in range(layers):
        layer_key = jax.random.fold_in(key, layer)
        image = _random_operation(layer_key, image, operations, magnitude, interpolation, fill)
    return image


def trivial_augment(
    key: Array,
    image: Array,
    *,
    interpolation: geometry.Interpolation = "nearest",
    fill: float = 0.0,
) -> Array:
    """Applies one operation of fourteen, of random strength: nothing to tune.

    Müller 2021, arXiv 2103.10158, the wide space ("TA (Wide)"). Arguments as `rand_augment`.
    """
    strength_key, operation_key = jax.random.split(key)
    operations = trivial_augment_operations(*_sides(image))
    magnitude = jax.random.randint(strength_key, (), 0, BINS)
    return _random_operation(operation_key, image, operations, magnitude, interpolation, fill)


def _random_operation(key, image, operations, magnitude, interpolation, fill) -> Array:
    kind_key, sign_key = jax.random.split(key)
    kind = jax.random.randint(kind_key, (), 0, len(NAMES))
    table = np.stack([operations[name].strengths for name in NAMES]).astype(np.float32)
    signed = np.array([operations[name].signed for name in NAMES])
    negative = jax.random.bernoulli(sign_key) & jnp.asarray(signed)[kind]
    strength = jnp.asarray(table)[kind, magnitude]
    strength = jnp.where(negative, -strength, strength)
    return apply_operation(image, kind, strength, interpolation=interpolation, fill=fill)


def apply_operation(
    image: Array,
    kind: Array,
    strength: Array,
    *,
    interpolation: geometry.Interpolation = "nearest",
    fill: float = 0.0,
) -> Array:
    """Applies the operation `NAMES[kind]`; kind and strength may be traced.

    Args:
        image: [H, W, C].
        kind: an index into NAMES.
        strength: in the operation's own unit (see `rand_augment_operations`), signed.
    """

    def only(name: str, neutral: float = 0.0) -> Array:
        return jnp.where(kind == NAMES.index(name), strength, neutral)

    def geometric(image: Array) -> Array:
        matrix = _geometric_matrix(only, *image.shape[:2])
        return geometry.warp(image, matrix, interpolation=interpolation, fill=fill)

    def blended(image: Array) -> Array:
        saturation = only("saturation") if image.shape[-1] == 3 else 0.0
        contrast = only("contrast")
        factor = 1 + only("brightness") + saturation + contrast
        return colour.blend(image, own=factor, grey=-saturation, mean=-contrast)

    branches = (
        lambda image: image,
        geometric,
        blended,
        lambda image: colour.adjust_sharpness(image, 1 + only("sharpness")),
        lambda image: colour.posterize(image, only("posterize", 8)),
        lambda image: colour.solarize(image, only("solarize", 1)),
        colour.autocontrast,
        colour.equalize,
    )
    branch = jnp.array([0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4, 5, 6, 7])[kind]  # in the order of NAMES
    return jax.lax.switch(branch, branches, image)


def _geometric_matrix(only, height: int, width: int) -> Array:
    """The map for one of shear, translation, rotation. Shears leave the upper left corner fixed."""
    corner = (-width / 2, -height / 2)
    return geometry.compose(
        geometry.translation(-corner[0], -corner[1]),
        geometry.shear(-only("shear_x"), -only("shear_y")),
        geometry.translation(*corner),
        geometry.rotation(only("rotate")),
        geometry.translation(jnp.trunc(only("translate_x")), jnp.trunc(only("translate_y"))),
    )


def _sides(image: Array) -> tuple[int, int]:
    if image.ndim != 3:
        raise ValueError(f"augmentation policies want an image [H, W, C], got {image.shape}")
    height, width, _ = image.shape
    return height, width
