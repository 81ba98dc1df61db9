"""Sequences of numbers in TFDS: Tensor or Sequence features of one length, and a label.

Features of shape (L,) or (L, C) count; several of the same length become the channels of one
sequence, in the order of their names.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.sequence import LoadSequence
from cnn_jax.data.readers.tfds import open_records
from cnn_jax.data.types import Record, Source


def sequence_features(features: Mapping) -> dict[str, tuple[int, int]]:
    """{name: (length, channels)} of the features that are sequences of numbers of one length."""
    found = {}
    for name, feature in sorted(features.items()):  # TFDS keeps no order
        shape, dtype = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
        if dtype is None or not np.issubdtype(dtype, np.floating) or shape is None:
            continue
        if len(shape) in (1, 2) and all(shape):
            found[name] = (shape[0], shape[1] if len(shape) == 2 else 1)
    return found


def sequence_source(
    builder, split: str, sequences: Mapping[str, tuple[int, int]], label: str
) -> Source:
    """A source of sequences float32 [L, C], standardised by the training split.

    Raises:
        DataError: the sequences have different lengths.
    """
    lengths = {length for length, _ in sequences.values()}
    if len(lengths) > 1:
        shapes = ", ".join(f"{name} {shape}" for name, shape in sequences.items())
        raise DataError(f"{builder.info.name}: the sequences must have one length, not {shapes}")
    records = TFDSSequences(builder, split, sequences, label)
    training = records
    if split != "train" and "train" in builder.info.splits:
        training = TFDSSequences(builder, "train", sequences, label)
    by = np.concatenate([r["image"] for r in training.__getitems__(range(len(training)))])
    return Source(
        name=builder.info.name,
        split=split,
        records=records.standardised_by(by),
        class_names=tuple(builder.info.features[label].names),
        image_shape=(lengths.pop(), sum(channels for _, channels in sequences.values())),
        load=LoadSequence(),
    )


class TFDSSequences:
    """Records {'image': float32 [L, C], 'label': int} of a split."""

    def __init__(self, builder, split: str, sequences: Mapping[str, tuple[int, int]], label: str):
        self._shapes, self._label = dict(sequences), label
        self._stored = open_records(builder, split, {})
        self._by: np.ndarray | None = None

    def standardised_by(self, values: np.ndarray) -> "TFDSSequences":
        """The same records, standardised by the mean and deviation of `values` [N, C]."""
        self._by = np.stack([values.mean(0, np.float64), values.std(0, np.float64)])
        return self

    def __len__(self) -> int:
        return len(self._stored)

    def __getitems__(self, indices) -> list[Record]:
        return [self._record(features) for features in self._stored.features(list(indices))]

    def _record(self, features) -> Record:
        channels = [
            np.asarray(features[name].float_list.value, np.float32).reshape(shape)
            for name, shape in self._shapes.items()
        ]
        image = np.concatenate(channels, axis=-1)  # [L, C]
        if self._by is not None:
            mean, deviation = self._by
            image = ((image - mean) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
        return {"image": image, "label": int(features[self._label].int64_list.value[0])}

    def describe(self, index: int) -> str:
        return ""

    def identities(self) -> Iterable[str | bytes]:
        return self._stored.identities()
