"""Sets of TFDS with a box around every object."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data.errors import DataError
from cnn_jax.data.readers.tfds import open_builder, open_records
from cnn_jax.data.types import Record, Source


class TFDSBoxRecords:
    """Records of TFDS, with its lists as arrays and its (top, left, ...) as (left, top, ...)."""

    def __init__(self, records, crowd: str | None):
        self._records, self._crowd = records, crowd

    def __len__(self) -> int:
        return len(self._records)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [self._record(features) for features in self._records.features(indices)]

    def describe(self, index: int) -> str:
        return self._records.describe(index)

    def stored(self) -> Iterable[Path]:
        return self._records.stored()

    def identities(self) -> Iterable[str | bytes]:
        return self._records.identities()

    def _record(self, features) -> Record:
        boxes = np.array(features["objects/bbox"].float_list.value, np.float64).reshape(-1, 4)
        labels = np.array(features["objects/label"].int64_list.value, np.int64)
        crowd = np.zeros(len(labels), bool)
        if self._crowd:
            crowd = np.array(features[self._crowd].int64_list.value, bool)
        image = features["image"].bytes_list.value[0]
        return {"image": image, "boxes": boxes[:, [1, 0, 3, 2]], "labels": labels, "crowd": crowd}


def open_tfds_boxes(dataset: str, split: str, *, data_dir: str | None = None) -> Source:
    """Opens a split of a TFDS set of images with boxes.

    Raises:
        DataError: there is no such set or split, or it lacks the features `image`, `objects/bbox`
            and `objects/label`.
    """
    builder = open_builder(dataset, data_dir=data_dir)
    features = builder.info.features
    objects = getattr(features["objects"], "feature", {}) if "objects" in features else {}
    if "image" not in features or not {"bbox", "label"} <= set(objects):
        raise DataError(
            f"{dataset} is not a detection set: wanted the features image, objects/bbox and "
            f"objects/label; it has {', '.join(features)}"
        )
    crowd = [f"objects/{name}" for name in ("is_crowd", "is_difficult") if name in objects]
    height, width, channels = features["image"].shape
    return Source(
        name=builder.info.name,
        split=split,
        records=TFDSBoxRecords(
            open_records(builder, split, {"image": "image"}), crowd[0] if crowd else None
        ),
        class_names=tuple(objects["label"].names),
        image_shape=(height, width, channels or 3),
    )
