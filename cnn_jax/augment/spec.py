"""A small language for augmentations: 'flip,crop:4,randaugment:2:9,cutout:8'.

Augmentations are separated by commas and applied in the order written. Each is a name and, after
colons, its numbers in order; what has a default may be left out at the end. The words are the
functions below under `@_word`: their names, their parameters, their defaults.
"""

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from cnn_jax.augment import auto_augment, erase, image, jitter, sequence
from cnn_jax.augment.image import Augmentation, Padding

_READ: dict[Any, Callable[[str], Any]] = {
    int: int,
    float: float,
    Padding: lambda text: get_args(Padding)[get_args(Padding).index(text)],
}
_WANTED = {int: "a whole number", float: "a number", Padding: "reflect or constant"}

VOCABULARY: dict[str, Callable[..., Augmentation]] = {}


def parse(specification: str) -> Augmentation:
    """Reads an augmentation (key, image) -> image from its specification.

    '' and 'none' give the augmentation that changes nothing.

    Raises:
        ValueError: for an unknown name (the nearest are listed), or values that are missing, too
            many, or of the wrong kind.
    """
    if specification.strip() in ("", "none"):
        return lambda key, image: image
    return image.compose(*(_parse_word(word.strip()) for word in specification.split(",")))


def _parse_word(text: str) -> Augmentation:
    name, *values = text.split(":")
    if name not in VOCABULARY:
        near = difflib.get_close_matches(name, VOCABULARY, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"unknown augmentation {name!r}; {hint}Known: {', '.join(VOCABULARY)}")
    parameters = list(inspect.signature(VOCABULARY[name]).parameters.values())
    required = sum(p.default is p.empty for p in parameters)
    if not required <= len(values) <= len(parameters):
        raise ValueError(
            f"augmentation {text!r}: {len(values)} values, but it is written {_usage(name)}"
        )
    arguments = {}
    for parameter, value in zip(parameters, values, strict=False):
        try:
            arguments[parameter.name] = _READ[parameter.annotation](value)
        except ValueError:
            wanted = _WANTED[parameter.annotation]
            raise ValueError(
                f"augmentation {text!r}: {parameter.name} is {value!r}, wanted {wanted}"
            ) from None
    return VOCABULARY[name](**arguments)


def _usage(name: str) -> str:
    shown = [name]
    for p in inspect.signature(VOCABULARY[name]).parameters.values():
        shown.append(p.name if p.default is p.empty else f"{p.name}={p.default}")
    return ":".join(shown)


def _word(function: Callable[..., Augmentation]) -> Callable[..., Augmentation]:
    VOCABULARY[function.__name__] = function
    return function


@_word
def flip(probability: float = 0.5) -> Augmentation:
    return partial(image.horizontal_flip, probability=probability)


@_word
def vertical_flip(probability: float = 0.5) -> Augmentation:
    return partial(image.vertical_flip, probability=probability)


@_word
def crop(padding: int, mode: Padding = "reflect") -> Augmentation:
    return partial(image.pad_and_crop, padding=padding, mode=mode)


@_word
def resized_crop(size: int, smallest: float = 0.08, largest: float = 1.0) -> Augmentation:
    return partial(image.random_resized_crop, size=size, scale=(smallest, largest))


@_word
def affine(
    degrees: float, translate: float = 0.0, smallest: float = 1.0, largest: float = 1.0
) -> Augmentation:
    scale = (smallest, largest)
    return partial(image.random_affine, degrees=degrees, translate=translate, scale=scale)


@_word
def rotate(degrees: float) -> Augmentation:
    return partial(image.random_affine, degrees=degrees)


@_word
def translate(share: float) -> Augmentation:
    return partial(image.random_affine, translate=share)


@_word
def shear(degrees: float) -> Augmentation:
    return partial(image.random_affine, shear=degrees)


@_word
def colour(
    brightness: float, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
) -> Augmentation:
    return partial(
        jitter.colour_jitter,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
    )


@_word
def grayscale(probability: float = 0.2) -> Augmentation:
    return partial(jitter.random_grayscale, probability=probability)


@_word
def blur(largest_sigma: float = 2.0, probability: float = 0.5) -> Augmentation:
    sigma = (0.05 * largest_sigma, largest_sigma)
    return partial(jitter.random_blur, sigma=sigma, probability=probability)


@_word
def randaugment(layers: int = 2, magnitude: int = 9) -> Augmentation:
    return partial(auto_augment.rand_augment, layers=layers, magnitude=magnitude)


@_word
def trivialaugment() -> Augmentation:
    return auto_augment.trivial_augment


@_word
def cutout(size: int) -> Augmentation:
    return partial(erase.cutout, size=size)


@_word
def erasing(probability: float = 0.25) -> Augmentation:
    return partial(erase.random_erasing, probability=probability)


# For sequences.


@_word
def noise(deviation: float) -> Augmentation:
    return partial(sequence.noise, deviation=deviation)


@_word
def gain(smallest: float, largest: float) -> Augmentation:
    return partial(sequence.gain, smallest=smallest, largest=largest)


@_word
def roll(steps: int) -> Augmentation:
    return partial(sequence.roll, steps=steps)


@_word
def stretch(smallest: float, largest: float) -> Augmentation:
    return partial(sequence.stretch, smallest=smallest, largest=largest)


@_word
def slope(largest: float) -> Augmentation:
    return partial(sequence.slope, largest=largest)
