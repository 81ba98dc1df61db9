"""How alike examples are: correlation of small grey thumbnails, across the splits of a data set.

An example of the test split that is also in the training split, or nearly, makes its figure better
than it is. Thumbnails find copies that were resized, compressed or brightened anew, which a hash of
the file does not; not those that were mirrored or cut out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SIDE = 16  # values along each axis of a thumbnail

# Thumbnails that deviate from their mean by less than this share of the range of all are plain:
# their correlation would be that of their noise.
PLAIN = 1 / 128

_ROWS = 512  # thumbnails compared at a time with all others


class Similar(NamedTuple):
    """Two similar examples, by their positions in the two lists of thumbnails."""

    first: int
    second: int
    correlation: float


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """float32 [n]: the means of a grid of at most SIDE cells along each axis; channels are added.

    Sequences keep their channels, which stand for different things, and up to SIDE**2 points.

    Args:
        pixels: [*space, C].
    """
    if pixels.ndim == 2:
        return _means(pixels.astype(np.float32), 0, SIDE**2).ravel()
    grey = pixels.astype(np.float32).mean(-1)
    for axis in range(grey.ndim):
        grey = _means(grey, axis, SIDE)
    return grey.ravel()


def _means(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """The values of an axis, averaged to at most `most` cells."""
    length = values.shape[axis]
    if length <= most:
        return values
    edges = np.arange(most + 1) * length // most
    sums = np.add.reduceat(values, edges[:-1], axis)
    shape = [1] * values.ndim
    shape[axis] = most
    return sums / np.diff(edges).reshape(shape)


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly spaced."""
    taken = min(count, most)
    return [index * count // taken for index in range(taken)]


def most_similar(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], count: int
) -> list[Similar]:
    """The pairs of one thumbnail of each list with the highest correlation, each once at most.

    Two plain thumbnails have the correlation 1 if they are of one grey level, and 0 otherwise.
    Thumbnails of different shapes, as of images that keep their sizes, are not compared.

    Args:
        first, second: thumbnails.
        count: largest number of pairs.
    """
    best: list[Similar] = []
    for size in sorted({len(t) for t in first} & {len(t) for t in second}):
        rows, columns = ([i for i, t in enumerate(ts) if len(t) == size] for ts in (first, second))
        others = np.stack([second[i] for i in columns])
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            correlation = _correlation(np.stack([first[i] for i in some]), others)
            # far more than are kept: an example may be in many of the best
            most = min(correlation.size, 50 * count)
            for k in np.argpartition(-correlation, most - 1, axis=None)[:most]:
                i, j = divmod(int(k), len(columns))
                value = float(np.clip(correlation[i, j], -1, 1))
                best.append(Similar(some[i], columns[j], value))
    chosen: list[Similar] = []
    for pair in sorted(best, key=lambda pair: (-pair.correlation, pair.first, pair.second)):
        if len(chosen) == count or pair.correlation <= 0:
            break
        if all(pair.first != c.first and pair.second != c.second for c in chosen):
            chosen.append(pair)
    return chosen


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n, m], of thumbnails [n, size] and [m, size]."""
    least = PLAIN * (max(first.max(), second.max()) - min(first.min(), second.min()))
    means = first.mean(1), second.mean(1)
    unit, plain = [], []
    for thumbnails, mean in zip((first, second), means, strict=True):
        centred = thumbnails - mean[:, None]
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        plain.append(length[:, 0] <= least * np.sqrt(thumbnails.shape[1]))
        unit.append(np.where(plain[-1][:, None], 0, centred / np.maximum(length, 1e-30)))
    alike = np.abs(means[0][:, None] - means[1]) <= least
    both = plain[0][:, None] & plain[1]
    return np.where(both & alike, 1, unit[0] @ unit[1].T)
