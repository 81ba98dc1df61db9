"""The examples of an evaluation with the classes of the network in place of the data's own."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from cnn_jax import data
from cnn_jax.data.decode import decode_image
from cnn_jax.data.pixel_rule import PixelRule
from cnn_jax.data.types import Record
from cnn_jax.run.label_files import Labels
from cnn_jax.typing import HostBatch
from cnn_jax.weights import Preprocessing

IGNORED = 255  # in a mask


class Relabelled:
    """Evaluation batches whose labels are those of the network."""

    def __init__(self, batches: Any, labels: Labels):
        """
        Args:
            batches: see `cnn_jax.data.eval_batches`.
            labels: the classes of the data, or of each image, among the network's.
        """
        self._batches, self._labels = batches, labels

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[HostBatch]:
        for number, batch in enumerate(self._batches):
            first = number * self._batches.batch_size
            yield self._changed(batch, range(first, first + len(batch["mask"])))

    @property
    def examples(self) -> int:
        """Number of examples in the source."""
        return self._batches.examples

    @property
    def corrupt(self) -> dict[int, str]:
        """The records that were skipped so far."""
        return self._batches.corrupt

    def at(self, indices: Sequence[int]) -> HostBatch:
        """The examples of these indices."""
        return self._changed(self._batches.at(indices), indices)

    def _changed(self, batch: HostBatch, indices: Sequence[int]) -> HostBatch:
        if self._labels.images is not None:
            return self._of_images(batch, indices)
        assert self._labels.classes is not None
        index = self._labels.classes.indices
        if "boxes" in batch:
            labels = np.where(batch["labels"] >= 0, index[np.maximum(batch["labels"], 0)], -1)
            return {**batch, "labels": labels.astype(batch["labels"].dtype)}
        label = np.asarray(batch["label"])
        if label.ndim == 1:
            return {**batch, "label": index[label].astype(label.dtype)}
        if label.ndim == 2 and label.dtype != np.uint8:  # several labels an image, not a mask
            among = self._labels.classes.among
            width = len(index) if among is None else len(among)
            moved = np.zeros((len(label), width), label.dtype)
            moved[:, index] = label
            return {**batch, "label": moved}
        table = np.arange(max(256, len(index)))
        table[: len(index)] = index
        return {**batch, "label": np.where(label == IGNORED, IGNORED, table[label])}

    def _of_images(self, batch: HostBatch, indices: Sequence[int]) -> HostBatch:
        """An image without a class does not count."""
        assert self._labels.images is not None
        label, mask = np.array(batch["label"]), np.array(batch["mask"])
        for row, index in enumerate(indices):
            known = self._labels.images[index] if index < len(self._labels.images) else ()
            label[row] = known[0] if known else 0
            mask[row] *= bool(known)
        return {**batch, "label": label, "mask": mask}


@dataclasses.dataclass(frozen=True)
class LoadPrepared:
    """(record, rng) -> {'image': uint8 [*crop, 3], 'label': int32 []}, as published weights want.

    Attributes:
        how: preprocessing of the weights.
        upright: whether to rotate images as their EXIF orientation says.
        rule: the pixel rule of the network.
    """

    how: Preprocessing
    upright: bool
    rule: PixelRule
    random: ClassVar[bool] = False

    def __call__(self, record: Record, rng: np.random.Generator | None) -> dict[str, Any]:
        image = decode_image(record["image"], channels=3, upright=self.upright, rule=self.rule)
        pixels = self.how.pixels(Image.fromarray(image))
        return {"image": pixels, "label": np.int32(record["label"])}


def names_of(source: data.Source) -> list[str]:
    """The names of the records: their files, or what else the reader calls them."""
    return [source.records.describe(i) or f"record {i}" for i in range(len(source))]
