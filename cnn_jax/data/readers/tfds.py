"""Datasets of TensorFlow Datasets (TFDS), read without TensorFlow from array_record files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data import fingerprint, remote
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers.prepared import BUILT_IN, find_or_prepare, quiet_tfds
from cnn_jax.data.split import no_such_split, parse
from cnn_jax.data.types import Record

SAMPLED = 64  # records read for a fingerprint


class TFDSRecords:
    """Records of a split, with images still encoded.

    TFDS's own reader decodes feature by feature, in Python: 127 us per record against 20 us for
    parsing the record and taking only the two features needed.
    """

    def __init__(self, builder, split: str, keys: Mapping[str, str]):
        from tensorflow_datasets.core.decode import DeserializeMethod

        self._directory = str(builder.data_path)
        self._name, self._full_name = builder.info.name, builder.info.full_name
        self._keys = dict(keys)  # name in our records -> feature of the set
        self._serialized = builder.as_data_source(
            split, deserialize_method=DeserializeMethod.RAW_BYTES
        )

    def __len__(self) -> int:
        return len(self._serialized)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        records = self.features(indices)
        return [{key: _value(r[name]) for key, name in self._keys.items()} for r in records]

    def features(self, indices: Sequence[int]) -> list:
        """The records as they are stored: {name: a protobuf Feature}, lists included."""
        try:
            serialized = self._serialized.__getitems__(list(indices))
        except Exception as error:  # ArrayRecord's checksums
            raise DataError(
                f"cannot read {self._directory}, it may be damaged: {error}; delete it and prepare "
                "or copy it again"
            ) from error
        return [_parse(record) for record in serialized]

    def describe(self, index: int) -> str:
        """The record's file name or key, if the set kept one."""
        record = _parse(self._serialized[index])
        for name in ("file_name", "image/filename", "filename", "id"):
            if name in record and isinstance(value := _value(record[name]), bytes):
                return value.decode(errors="replace")
        return ""

    def stored(self) -> Iterable[Path]:
        return sorted(Path(self._directory).iterdir())

    def identities(self) -> Iterable[str | bytes]:
        return _identities(self._name, self._full_name, self)


def _identities(name: str, full_name: str, records: TFDSRecords) -> Iterable[str | bytes]:
    """The version; and, for a set that others may have built, the content of some of the records.

    The sets that this package builds are the same on every machine for a given version, except for
    the encoded bytes of images.
    """
    yield full_name
    if name in BUILT_IN or not len(records):
        return
    some = np.unique(np.linspace(0, len(records) - 1, SAMPLED).astype(int))
    for features in records.features(some.tolist()):
        for key in sorted(features):  # a protobuf map has no order
            feature = features[key]
            yield key
            yield fingerprint.array(np.array(feature.int64_list.value, np.int64))
            yield fingerprint.array(np.array(feature.float_list.value, np.float32))
            yield repr([len(value) for value in feature.bytes_list.value])


def _parse(serialized: bytes):
    from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

    return Example.FromString(serialized).features.feature


def _value(feature) -> bytes | int | float:
    """The value of a feature that holds one."""
    return getattr(feature, feature.WhichOneof("kind")).value[0]


def open_builder(dataset: str, *, data_dir: str | None = None):
    """The TFDS builder of a prepared set; see `tfds_classes.open_tfds_classes`."""
    import tensorflow_datasets as tfds

    directory = find_or_prepare(dataset, data_dir)
    with quiet_tfds():
        builder = tfds.builder_from_directory(directory)
    file_format = builder.info.file_format.value
    if file_format != "array_record":
        raise DataError(
            f"{dataset} in {directory} is prepared as {file_format}, which only TensorFlow reads: "
            f"prepare it again, `tfds build {dataset}` with file_format=array_record, and name its "
            "directory, data_dir=DIR"
        )
    return builder


def open_records(builder, split: str, keys: Mapping[str, str]) -> TFDSRecords:
    """The records of a split expression; `keys` maps our keys to the features of the set."""
    name, splits = builder.info.full_name, builder.info.splits
    for term in parse(split, dataset=name):
        if term.name not in splits:
            raise no_such_split(split, name, splits)
        remote.fetch_records(Path(builder.data_path), splits[term.name].filepaths)
        for file in splits[term.name].filepaths:
            if not Path(file).exists():
                raise DataError(
                    f"{name} is incomplete, {file} is missing: delete {builder.data_path} and "
                    "prepare or copy it again"
                )
    try:
        return TFDSRecords(builder, split, keys)
    except Exception as error:
        raise DataError(f"cannot open {name}, split {split!r}: {error}") from error
