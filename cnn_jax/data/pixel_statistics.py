"""Statistics of pixels: mean and deviation of the channels of a data set, frequencies of classes.

Images are normalised on the device, `(image / 255 - mean) / std` for pixels in 0..255.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np


class Statistics(NamedTuple):
    """Mean and standard deviation per channel, of the training pixels scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# Computed over all pixels of the training split, unless a source is named.
STATISTICS = {
    "digits": Statistics((0.3053,), (0.3759,)),
    # Sequences of floats, generated with mean 0 and deviation 1.
    "mnist1d": Statistics((0.0,), (1.0,)),
    "mnist1d_shuffled": Statistics((0.0,), (1.0,)),
    "mnist": Statistics((0.1307,), (0.3081,)),
    "fashion_mnist": Statistics((0.2860,), (0.3530,)),
    # The original PNGs. Copies that went through JPEG differ by up to 0.002 in the deviations.
    "cifar10": Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Statistics((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    # fb.resnet.torch (Facebook, 2016), since then the convention of published weights: the mean of
    # the pixels, and of the deviations within 256x256 resized images of a subset.
    "imagenet2012": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

_UNKNOWN = Statistics((0.5,), (0.25,))  # grey: about the values of natural images and digits


def statistics(dataset: str, channels: int) -> Statistics:
    """The statistics to normalise a data set with.

    Args:
        dataset: `Source.name`, such as 'cifar10'.
        channels: channels of the images as they are loaded.

    Returns:
        The statistics of the set if they are known for this number of channels. Otherwise
        ImageNet's for colour, and mean 0.5, deviation 0.25 for anything else.
    """
    known = STATISTICS.get(dataset)
    if known and len(known.mean) == channels:
        return known
    if channels == 3:
        return STATISTICS["imagenet2012"]
    return Statistics(_UNKNOWN.mean * channels, _UNKNOWN.std * channels)


def median_frequency_weights(batches: Iterable[Mapping[str, np.ndarray]], classes: int):
    """Class weights that compensate for the rarity of classes.

    They are median(f) / f_c, where f_c is the number of pixels of class c over the number of all
    pixels in the images that contain it (Eigen and Fergus 2015, arXiv:1411.4734, section 6.3.2).
    Ignored pixels do not count, and a class that never occurs gets 0.

    Args:
        batches: batches with 'label' [B, H, W] and 'mask' [B], each image once.
        classes: K.

    Returns:
        float64 [K].
    """
    own, around = np.zeros(classes), np.zeros(classes)
    for batch in batches:
        for label, real in zip(batch["label"], batch["mask"], strict=True):
            if real:
                counts = np.bincount(label.ravel(), minlength=classes)[:classes]
                own += counts
                around += np.where(counts > 0, counts.sum(), 0)
    frequency = np.divide(own, around, out=np.zeros(classes), where=around > 0)
    if not frequency.any():
        return np.ones(classes)
    median = np.median(frequency[frequency > 0])
    return np.divide(median, frequency, out=np.zeros(classes), where=frequency > 0)


def pixel_counts(batches: Iterable[Mapping[str, np.ndarray]], classes: int) -> np.ndarray:
    """int64 [K]: the number of pixels of each class, without ignored ones.

    Args:
        batches: as those of `median_frequency_weights`.
        classes: K.
    """
    counts = np.zeros(classes, np.int64)
    for batch in batches:
        real = batch["label"][batch["mask"] > 0]
        counts += np.bincount(real.ravel(), minlength=classes)[:classes]
    return counts
