"""What a predictor answers about an image: its class, or the classes of its pixels."""

import dataclasses

import numpy as np

from cnn_jax.run import tiles


@dataclasses.dataclass(frozen=True, eq=False)
class Classified:
    """The class of an image.

    Attributes:
        probabilities: float32 [K], which add up to 1.
        class_names: K names.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    @property
    def label(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """The name of the most probable class."""
        return self.class_names[self.label]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, the best first."""
        best = self.probabilities.argsort()[::-1][:count]
        return [(self.class_names[index], float(self.probabilities[index])) for index in best]


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled(Classified):
    """The labels of an image, several or none.

    Attributes:
        probabilities: float32 [K], each for itself: they do not add up to 1.
        class_names: K names.
        threshold: probability from which on an image has a label.
    """

    threshold: float = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the labels that the image has."""
        there = np.flatnonzero(self.probabilities >= self.threshold)
        return tuple(self.class_names[index] for index in there)


@dataclasses.dataclass(frozen=True, eq=False)
class Segmented:
    """The classes of an image's pixels.

    Attributes:
        label: uint8 [H, W], of the image's size: the most probable class of each pixel.
        probabilities: float32 [H, W, K].
        class_names: K names.
    """

    label: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def shares(self) -> list[tuple[str, float]]:
        """The classes and the share of the pixels that each has, the largest first."""
        return tiles.shares(self.label, self.class_names)
