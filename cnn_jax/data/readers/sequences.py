"""Sequences in memory, from any origin: float32 [L, C] and a label."""

from collections.abc import Iterable, Sequence

import numpy as np

from cnn_jax.data import fingerprint
from cnn_jax.data.types import Record


class Sequences:
    """Records in memory: {'image': float32 [L, C], 'label': int}.

    The last digits of the numbers may depend on the machine, so `identity` names their origin.
    """

    def __init__(self, values: np.ndarray, labels: np.ndarray, *, identity: str):
        self._values, self._labels, self._identity = values, labels, identity

    def __len__(self) -> int:
        return len(self._labels)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [{"image": self._values[i], "label": int(self._labels[i])} for i in indices]

    def describe(self, index: int) -> str:
        return ""

    def identities(self) -> Iterable[str | bytes]:
        return self._identity, str(self._values.shape), fingerprint.array(self._labels)


def standardised(values: np.ndarray, *, by: np.ndarray) -> np.ndarray:
    """values [..., C] standardised by the mean and deviation of each channel of `by` [N, C]."""
    by = by.reshape(-1, by.shape[-1]).astype(np.float64)
    deviation = by.std(0)
    return ((values - by.mean(0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
