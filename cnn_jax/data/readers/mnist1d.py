"""The built-in `mnist1d` and `mnist1d_shuffled`: digits drawn as curves of 40 numbers.

Greydanus 2020, "Scaling down Deep Learning", arXiv:2011.14439: each digit is a curve of 12 points
that is padded, stretched, shifted, sheared and hidden in noise. The set is small enough to train on
in seconds and hard enough to tell a convolution from a fully connected network. It is generated in
a second by the published procedure and seed, 42: the numbers of the PyPI package `mnist1d`.

The shuffled twin has the same numbers with the 40 positions permuted, the same way in every
example: it loses what neighbouring numbers have in common, and nothing else.
"""

import functools

import numpy as np

from cnn_jax.data import split as splits
from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.sequence import LoadSequence
from cnn_jax.data.readers.sequences import Sequences
from cnn_jax.data.types import Source

SEED = 42  # this and the next constants: appendix A of the paper, and version 0.0.2 of the package
EXAMPLES, TRAIN = 5000, 4000
LENGTH = 40
PADDING = (36, 60)  # zeros after the template, both ends included
SCALE = 0.4  # the height is multiplied by 1 +- half of it
TRANSLATION = 48  # largest shift in positions, exclusive
SMOOTH_NOISE, SMOOTHING = 0.25, 2.0  # deviation before smoothing, and of the filter in positions
NOISE = 0.02
SHEAR = 0.75

# The curve of each digit: its horizontal position, from top to bottom.
# fmt: off
TEMPLATES = np.array([
    [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
    [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
    [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
    [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
    [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
    [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
    [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
    [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
    [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
])
# fmt: on


def open_mnist1d(path: str, split: str) -> Source:
    """Opens 'mnist1d': 4,000 examples in 'train', 1,000 in 'test'.

    Raises:
        DataError: there is no such split, or something follows the name.
    """
    return _open("mnist1d", path, split)


def open_mnist1d_shuffled(path: str, split: str) -> Source:
    """Opens 'mnist1d_shuffled'; as `open_mnist1d`."""
    return _open("mnist1d_shuffled", path, split)


def _open(dataset: str, path: str, split: str) -> Source:
    if path:
        raise DataError(f"{dataset}:{path}: the set is called {dataset}, and nothing follows")
    values, labels = make(shuffled=dataset == "mnist1d_shuffled")
    parts = {"train": range(TRAIN), "test": range(TRAIN, EXAMPLES)}
    chosen = splits.select(parts, split, dataset=dataset)
    return Source(
        name=dataset,
        split=split,
        records=Sequences(values[chosen], labels[chosen], identity=dataset),
        class_names=tuple(str(digit) for digit in range(10)),
        image_shape=(LENGTH, 1),
        load=LoadSequence(),
    )


@functools.cache
def make(*, shuffled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """float32 [5000, 40, 1] with mean 0 and deviation 1, and int32 [5000]; training set first."""
    rng = np.random.RandomState(SEED)  # NumPy's legacy generator: its numbers never change
    templates = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    templates /= templates.std(1, keepdims=True)
    templates = (templates - templates[:, :1]) / 6  # they begin at 0
    labels = np.repeat(np.arange(10, dtype=np.int32), EXAMPLES // 10)
    curves = np.stack([_example(rng, templates[label]) for label in labels])
    order = rng.permutation(EXAMPLES)
    curves, labels = curves[order], labels[order]
    if shuffled:
        curves = curves[:, rng.permutation(LENGTH)]
    curves = (curves - curves.mean()) / curves.std()
    return curves[..., None].astype(np.float32), labels


def _example(rng: np.random.RandomState, template: np.ndarray) -> np.ndarray:
    """One curve [40]. The order of the draws is part of the data set."""
    from scipy.ndimage import gaussian_filter

    low, high = PADDING
    zeros = np.zeros(low + int(rng.rand() * (high - low + 1)))
    # a template point that happens to be 0 is not padding: the tiny number tells them apart
    curve = _resampled(np.concatenate([template + 1e-8, zeros]), len(template) + high)
    curve *= 1 + SCALE * (rng.rand() - 0.5)
    curve = np.roll(curve, rng.choice(TRANSLATION))
    background = gaussian_filter(SMOOTH_NOISE * rng.randn(len(curve)), SMOOTHING)
    curve = np.where(curve != 0, curve, background)
    curve = curve + NOISE * rng.randn(len(curve))
    curve = curve - SHEAR * (rng.rand() - 0.5) * np.linspace(-0.5, 0.5, len(curve))
    return _resampled(curve, LENGTH)


def _resampled(curve: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation to `length` points that keeps the ends."""
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(curve)), curve)
