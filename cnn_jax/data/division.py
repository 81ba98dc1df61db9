"""Divides a split into two: a fold, or a share that is held out. Classes keep their proportions."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cnn_jax.data import order
from cnn_jax.data.errors import DataError
from cnn_jax.data.fingerprint import Identified, array
from cnn_jax.data.labels import labels_of
from cnn_jax.data.types import Record, Records, Source


class Part:
    """Some of the records of others, in their order.

    Args:
        records: the others.
        chosen: int [m], the indices of these, ascending.
    """

    def __init__(self, records: Records, chosen: np.ndarray):
        self._records, self._chosen = records, chosen
        held = getattr(records, "labels", None)
        if held is not None and len(held) == len(records):
            self.labels = np.asarray(held)[chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return self._records.__getitems__([int(self._chosen[i]) for i in indices])

    def describe(self, index: int) -> str:
        own = int(self._chosen[index])
        return self._records.describe(own) or f"record {own} before the division"

    def identities(self) -> Iterable[str | bytes]:
        """Those of all the records, and which of them these are."""
        if isinstance(self._records, Identified):
            yield from self._records.identities()
        yield array(self._chosen)


def fold_of(source: Source, fold: int, folds: int, *, seed: int) -> tuple[Source, Source]:
    """All folds of a split but one, and that one.

    The examples of a class are dealt out in turns, after a shuffle by the seed, and classes go on
    where the one before has ended: so the folds of a class, and the whole folds, differ by one
    example at most. Every example is in one fold.

    Args:
        source: the split.
        fold: number of the fold, from 1.
        folds: number of folds.
        seed: seed of the shuffle.

    Raises:
        DataError: there are fewer examples than folds.
    """
    if folds > len(source):
        raise DataError(
            f"{source.name}, split {source.split}: {len(source)} examples make no {folds} folds"
        )
    numbers = np.empty(len(source), np.int64)
    numbers[_dealt(_single_labels(source), seed)] = np.arange(len(source)) % folds
    return _parted(source, numbers == fold - 1, f"fold {fold}/{folds}")


def share_of(source: Source, share: float) -> tuple[Source, Source]:
    """A split without a share of it, and that share: the same one for all seeds.

    Of a class with n examples round(share * n) are held out, at least one of four.

    Args:
        source: the split.
        share: in (0, 1).

    Raises:
        DataError: nothing would be held out, or nothing left.
    """
    labels = _single_labels(source)
    held = np.zeros(len(source), bool)
    dealt = _dealt(labels, 0)
    _, starts = np.unique(labels[dealt], return_index=True)
    for own in np.split(dealt, starts[1:]):
        count = max(round(share * len(own)), 1 if len(own) >= 4 else 0)
        held[own[: min(count, len(own) - 1)]] = True
    if not held.any() or held.all():
        raise DataError(
            f"{source.name}, split {source.split}: {share:.0%} of {len(source)} examples leave "
            "nothing to choose on, or to train on; give more of them"
        )
    return _parted(source, held, f"{share:.0%}")


def _single_labels(source: Source) -> np.ndarray:
    """One label for each record: the same one for all that have none, or several."""
    try:
        labels = labels_of(source) if "label" in source[0] else np.zeros(len(source), np.int64)
    except DataError:
        return np.zeros(len(source), np.int64)
    return labels if labels.ndim == 1 else np.zeros(len(source), np.int64)


def _dealt(labels: np.ndarray, seed: int) -> np.ndarray:
    """All indices, class by class, shuffled within each."""
    shuffled = order.fold_order(seed, len(labels))
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _parted(source: Source, held: np.ndarray, what: str) -> tuple[Source, Source]:
    def part(chosen: np.ndarray, name: str) -> Any:
        records = Part(source.records, np.flatnonzero(chosen))
        return dataclasses.replace(source, split=name, records=records)

    return part(~held, f"{source.split} without {what}"), part(held, f"{what} of {source.split}")
