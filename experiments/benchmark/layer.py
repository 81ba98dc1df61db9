"""A convolutional layer to be timed: sizes alone, no JAX."""

from typing import NamedTuple


class Layer(NamedTuple):
    """x [batch, *size, channels] * w [*window, channels / groups, features].

    Attributes:
        size, window: numbers of pixels along each spatial axis.
        rank: number of spatial axes.
        transposed: whether it is a transposed convolution, which enlarges by `stride`.
    """

    name: str
    batch: int
    size: int
    channels: int
    features: int
    window: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    rank: int = 2
    transposed: bool = False

    @property
    def padding(self) -> int:
        """Pixels on each side: half of the window, or none where windows do not overlap."""
        return 0 if self.window == self.stride else self.dilation * (self.window - 1) // 2
