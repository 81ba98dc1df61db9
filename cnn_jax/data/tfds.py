"""Datasets of TensorFlow Datasets (TFDS), read without TensorFlow from array_record files."""

import contextlib
import difflib
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from cnn_jax.data.errors import DataError
from cnn_jax.data.source import Record, Source

BUILT_IN = {"digits": "cnn_jax.data.digits:Digits"}  # our own builders, prepared on first use

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>[\d.*]+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class TFDSRecords:
    """Records of a split: their features by name, images still encoded."""

    def __init__(self, builder, split: str, image_key: str, label_key: str):
        import tensorflow_datasets as tfds

        self.builder_dir = str(builder.data_path)
        self.split = split
        self.image_key, self.label_key = image_key, label_key
        self.records = builder.as_data_source(
            split, decoders={image_key: tfds.decode.SkipDecoding()}
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        record = self.records[index]
        return {"image": record[self.image_key], "label": int(record[self.label_key])}

    def describe(self, index: int) -> str:
        record = self.records[index]
        for key in ("file_name", "image/filename", "filename", "id"):
            if isinstance(record.get(key), bytes):
                return record[key].decode(errors="replace")
        return ""


def tfds_source(dataset: str, split: str, *, data_dir: str | None = None) -> Source:
    """Opens a split of a TFDS dataset, preparing it first where that is possible.

    Raises:
        DataError: no such dataset, version or split; it is not prepared and cannot be; it is
            prepared in a format that needs TensorFlow; it has no image and class label.
    """
    import tensorflow_datasets as tfds

    match = _NAME.fullmatch(dataset)
    if not match:
        raise DataError(
            f"dataset {dataset!r}: write NAME, NAME:VERSION, NAME/CONFIG or folder:PATH"
        )
    with _quiet():
        directory = _prepared(match, data_dir) or _prepare(match, data_dir)
        builder = tfds.builder_from_directory(directory)
        return _source(builder, dataset, split)


def _source(builder, dataset: str, split: str) -> Source:
    import tensorflow_datasets as tfds

    name, features = builder.info.name, builder.info.features
    file_format = builder.info.file_format.value
    if file_format != "array_record":
        raise DataError(
            f"{dataset} at {builder.data_path} is prepared as {file_format}, which only TensorFlow "
            f"reads: prepare it again into another directory with `tfds build {dataset} "
            "--file_format=array_record --data_dir=DIR` and pass --data_dir=DIR"
        )
    image_key = _only(features, tfds.features.Image, "image", dataset)
    label_key = _only(features, tfds.features.ClassLabel, "label", dataset)
    try:
        records = TFDSRecords(builder, split, image_key, label_key)
    except ValueError as error:
        existing = ", ".join(map(repr, builder.info.splits))
        raise DataError(f"{dataset}, split {split!r}: {error}; it has {existing}") from error
    shape = features[image_key].shape
    return Source(
        name=name,
        split=split,
        records=records,
        class_names=tuple(features[label_key].names),
        image_shape=(shape[0], shape[1], shape[2] or 3),
    )


def _only(features, kind: type, favourite: str, dataset: str) -> str:
    """The name of the feature of a kind: the favourite one, or the only one."""
    found = [key for key, feature in features.items() if isinstance(feature, kind)]
    if favourite in found:
        return favourite
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{dataset} has {len(found)} features of kind {kind.__name__} and none is called "
        f"{favourite!r}: it does not look like an image classification set ({', '.join(features)})"
    )


def data_dirs(data_dir: str | None) -> list[Path]:
    """Where to look: the given directory, then TFDS's own default."""
    import tensorflow_datasets as tfds

    default = Path(tfds.core.constants.DATA_DIR).expanduser()
    return [*([Path(data_dir).expanduser()] if data_dir else []), default]


def _prepared(wanted: re.Match, data_dir: str | None) -> Path | None:
    """The newest fitting version on disk, in the first directory that has one."""
    for root in data_dirs(data_dir):
        home = root / wanted["name"]
        found: dict[str, list[Path]] = {}  # by configuration; '' where the dataset has none
        for features in [*home.glob("*/features.json"), *home.glob("*/*/features.json")]:
            directory = features.parent
            config = "" if directory.parent == home else directory.parent.name
            if _VERSION.fullmatch(directory.name) and _fits(directory.name, wanted["version"]):
                found.setdefault(config, []).append(directory)
        if wanted["config"]:
            found = {wanted["config"]: found.get(wanted["config"], [])}
        if len(found) > 1:
            names = ", ".join(f"{wanted['name']}/{config}" for config in sorted(found))
            raise DataError(f"{wanted['name']} is prepared in several configurations: say {names}")
        for directories in found.values():
            if directories:
                return max(directories, key=lambda d: [int(n) for n in d.name.split(".")])
    return None


def _fits(version: str, wanted: str | None) -> bool:
    if not wanted:
        return True
    pairs = zip(version.split("."), wanted.split("."), strict=False)
    return all(w in ("*", v) for v, w in pairs)


def _prepare(wanted: re.Match, data_dir: str | None) -> Path:
    import tensorflow_datasets as tfds

    name = wanted["name"]
    if name in BUILT_IN:
        return _prepare_built_in(name, data_dir)
    known = known_names()
    looked = " and ".join(map(str, data_dirs(data_dir)))
    if name not in known:
        local = {p.name for d in data_dirs(data_dir) if d.is_dir() for p in d.iterdir()}
        near = difflib.get_close_matches(name, sorted(known | local), n=3, cutoff=0.5)
        nearest = f"; the nearest names are {', '.join(near)}" if near else ""
        raise DataError(f"unknown dataset {name!r} (looked in {looked}){nearest}")
    if not importlib.util.find_spec("tensorflow"):
        raise DataError(
            f"{wanted[0]} is not in {looked}; to download and prepare it TFDS needs TensorFlow: "
            "pip install 'cnn-jax[prepare]', and run this again"
        )
    logging.info("preparing %s in %s", wanted[0], data_dirs(data_dir)[0])
    builder = tfds.builder(wanted[0], data_dir=data_dirs(data_dir)[0])
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:
        raise DataError(f"{wanted[0]} could not be prepared: {error}") from error
    return Path(builder.data_path)


def _prepare_built_in(name: str, data_dir: str | None) -> Path:
    module, _, cls = BUILT_IN[name].partition(":")
    builder_cls = getattr(importlib.import_module(module), cls)
    roots = data_dirs(data_dir)
    for root in roots:
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            if os.access(root, os.W_OK):
                break
    else:
        raise DataError(
            f"{name} is prepared on first use, but neither of {', '.join(map(str, roots))} can be "
            "written: pass --data_dir=DIR"
        )
    builder = builder_cls(data_dir=root)
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_path)


def known_names() -> set[str]:
    """Names of the datasets that the installed TFDS can prepare, read from its files.

    `tfds.list_builders()` would import TensorFlow.
    """
    import tensorflow_datasets as tfds

    package = Path(tfds.__file__).parent
    names = {p.name for p in (package / "datasets").iterdir() if p.is_dir()} | set(BUILT_IN)
    for file in package.glob("*/**/*.py"):
        if not file.name.endswith("_test.py"):
            classes = re.findall(r"^class (\w+)\([^)]*Builder\)", file.read_text(), re.MULTILINE)
            names |= {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", c).lower() for c in classes}
    return {name for name in names if not name.startswith("_")}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS without its progress bars and INFO lines; warnings and errors stay."""
    import tensorflow_datasets as tfds

    verbosity = logging.get_verbosity()
    logging.set_verbosity(min(verbosity, logging.WARNING))
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
