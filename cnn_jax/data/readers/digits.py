"""The built-in `digits`: 1,797 handwritten digits, 8x8 grey, that come with scikit-learn.

The test part of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998,
doi 10.24432/C50P49). It is a set of TFDS like any other, prepared on first use in about a second,
without download or TensorFlow, and a template for your own builder.
"""

import io
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

TEST_SHARE = 0.2  # fraction of every class
SPLIT_SEED = 0  # the split is part of the set's version: never change one without the other


class Digits(tfds.core.GeneratorBasedBuilder):
    """Images uint8 [8, 8, 1], labels 0 to 9; 'train' 1,438 and 'test' 359, stratified."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "A stratified 80/20 division."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits, 8x8 grey, bundled with scikit-learn.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://doi.org/10.24432/C50P49",
        )

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits  # a second to import: only when preparing

        images, labels = load_digits(return_X_y=True)
        images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # from 0..16
        test = stratified(labels, TEST_SHARE, SPLIT_SEED)
        return {
            "train": self._generate_examples(images, labels, np.flatnonzero(~test)),
            "test": self._generate_examples(images, labels, np.flatnonzero(test)),
        }

    def _generate_examples(self, images, labels, indices) -> Iterator[tuple[int, dict]]:
        for index in indices:
            encoded = io.BytesIO()
            Image.fromarray(images[index]).save(encoded, format="PNG")
            encoded.seek(0)
            yield int(index), {"image": encoded, "label": int(labels[index])}


def stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool [N]: a random fraction `share` of every class, as nearly as rounding allows."""
    rng = np.random.Generator(np.random.Philox(seed))
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[: round(share * len(members))]] = True
    return chosen
