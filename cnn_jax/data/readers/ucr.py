"""Time series of the UCR and UEA archives: `ucr:NAME`, read from the archives' .ts files.

The archives (Dau et al. 2018, arXiv:1810.07758; Bagnall et al. 2018, arXiv:1811.00075) have one
file per split: one series per line, its channels separated by colons, the label last. A few small
sets come with the package aeon (`pip install 'cnn-jax[timeseries]'`): ArrowHead, BasicMotions,
GunPoint, ItalyPowerDemand, OSULeaf and others. Only its files are used: aeon is not imported.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data import reading, remote
from cnn_jax.data import split as splits
from cnn_jax.data.errors import DataError
from cnn_jax.data.loaders.sequence import LoadSequence
from cnn_jax.data.readers.sequences import Sequences, standardised
from cnn_jax.data.types import Source
from cnn_jax.stores import is_store

_FREE_VALUES = 2**24  # padding allowed in any set: 64 MB
_MOST_PADDING = 20  # times the values of the series, beyond that


def open_ucr(name: str, split: str, *, data_dir: str | None = None) -> Source:
    """Opens a set of the archives: splits 'train' and 'test'.

    Series that are shorter than the longest of both splits are padded with zeros at the end. All
    are standardised, channel by channel, by the training series: mean 0, deviation 1.

    Args:
        name: name of the set: 'ItalyPowerDemand'.
        split: a split expression.
        data_dir: directory of NAME/NAME_TRAIN.ts, as the archives unpack; the sets that come with
            aeon are searched too.

    Raises:
        DataError: there is no such set, and the message names those there are; values are missing;
            the file is not one of a classification set.
    """
    folder = _folder(name, data_dir)
    parts = {part: read_ts(folder / f"{name}_{part.upper()}.ts") for part in ("train", "test")}
    labels = [label for _, some in parts.values() for label in some]
    classes = sorted(set(labels), key=_numbers_first)
    series = [one for some, _ in parts.values() for one in some]
    length = _padded_length(series, f"ucr:{name}")
    if len(classes) < 2:
        raise DataError(f"ucr:{name} has one class, {classes[0]!r}: wanted two or more")
    values = np.stack([np.pad(one, ((0, length - len(one)), (0, 0))) for one in series])
    count = len(parts["train"][1])
    values = standardised(values, by=np.concatenate(parts["train"][0]))
    chosen = splits.select(
        {"train": range(count), "test": range(count, len(series))}, split, dataset=f"ucr:{name}"
    )
    index = {label: i for i, label in enumerate(classes)}
    return Source(
        name=f"ucr:{name}",
        split=split,
        records=Sequences(
            values[chosen],
            np.array([index[labels[i]] for i in chosen], dtype=np.int32),
            identity=_contents(folder / f"{name}_{part.upper()}.ts" for part in parts),
        ),
        class_names=tuple(classes),
        image_shape=values.shape[1:],
        load=LoadSequence(),
    )


def read_ts(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """The series, float32 [L, C] each, and the labels of a .ts file.

    Raises:
        DataError: it is not a file of a classification set, or values are missing.
    """
    series: list[np.ndarray] = []
    labels: list[str] = []
    header: dict[str, str] = {}
    in_data = False
    for number, line in enumerate(reading.read_text(path).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if not in_data:
            key, _, value = line[1:].partition(" ")
            header[key.lower()] = value
            in_data = key.lower() == "data"
            if in_data and not header.get("classlabel", "").lower().startswith("true"):
                raise DataError(f"{path} is not for classification: it has no '@classLabel true'")
            if header.get("timestamps", "").strip().lower() == "true":
                raise DataError(f"{path} has time stamps: only evenly spaced series can be read")
            continue
        *channels, label = line.split(":")
        try:
            values = _values(channels, label)
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: {str(error)[:200]}; wanted numbers separated by commas, a "
                "colon after each channel, and the label. Missing values ('?', 'NaN') cannot be "
                "read"
            ) from error
        if series and values.shape[1] != series[0].shape[1]:
            raise DataError(
                f"{path}, line {number}: {values.shape[1]} channels, and {series[0].shape[1]} in "
                "the lines before: all series must have the same"
            )
        series.append(values)
        labels.append(label.strip())
    if not series:
        raise DataError(f"{path} has no series after '@data'")
    return series, labels


def _values(channels: list[str], label: str) -> np.ndarray:
    """The series of a line, float32 [L, C]."""
    if not channels or not label.strip():
        raise ValueError("no label after the last colon")
    values = np.array([[float(v) for v in c.split(",")] for c in channels], np.float64).T
    if not np.all(np.abs(values) <= np.finfo(np.float32).max):  # false for NaN too
        raise ValueError("a value that is not finite, or too large for float32")
    return values.astype(np.float32)


def _padded_length(series: Sequence[np.ndarray], dataset: str) -> int:
    """The length of the longest series, to which all are padded.

    Raises:
        DataError: the series differ in their channels, or would be little but padding.
    """
    channels = {one.shape[1] for one in series}
    if len(channels) > 1:
        raise DataError(f"{dataset}: the splits have {' and '.join(map(str, channels))} channels")
    length = max(map(len, series))
    held, padded = sum(map(len, series)), length * len(series)
    if padded > max(_FREE_VALUES, _MOST_PADDING * held):
        raise DataError(
            f"{dataset}: {len(series):,} series would be padded to the longest, {length:,} values, "
            f"and hold {held / len(series):.0f} each: leave out, or cut, the few that are long"
        )
    return length


def _contents(files: Iterable[Path]) -> str:
    """A hash of the content of the files."""
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _folder(name: str, data_dir: str | None) -> Path:
    places = [Path(data_dir).expanduser()] if data_dir else []
    if data_dir and is_store(data_dir):
        places = [remote.fetch(data_dir, name)]
    aeon = importlib.util.find_spec("aeon")
    if aeon is not None and aeon.origin:
        places.append(Path(aeon.origin).parent / "datasets" / "data")
    for place in places:
        if (place / name / f"{name}_TRAIN.ts").exists():
            return place / name
    known = sorted(
        {
            file.parent.name
            for place in places
            for file in place.glob("*/*_TRAIN.ts")
            if file.name == f"{file.parent.name}_TRAIN.ts"
        }
    )
    there = f"there are {', '.join(known)}" if known else "there are none"
    raise DataError(
        f"ucr:{name} is in none of {', '.join(map(str, places)) or 'the places known'}: {there}. "
        "Some sets come with `pip install 'cnn-jax[timeseries]'`; others are unpacked from the "
        "archive to DIR/NAME/NAME_TRAIN.ts and found with data_dir=DIR"
    )


def _numbers_first(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label
