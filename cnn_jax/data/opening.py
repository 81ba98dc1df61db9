"""Opens a data set by its name: a reader's `kind:...`, or else a set of TFDS.

source = open_source("folder:PATH", "train")
source = open_source("coco:PATH", "train2017", holds="boxes")

def open_noise(path, split): ...  # -> Source
register_reader("noise", "label", open_noise)  # from now on 'noise:...' is a data set

The readers of this package are named here and imported when a set of theirs is asked for: TFDS
takes a second to import, and nothing that reads a data set has to be known to what asks for one.
"""

import dataclasses
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from typing import Any

from cnn_jax.data.errors import DataError
from cnn_jax.data.pixel_rule import PixelRule
from cnn_jax.data.survey import depth
from cnn_jax.data.survey import labels as label_survey
from cnn_jax.data.survey import masks as mask_survey
from cnn_jax.data.types import HOLDS, Holds, Source
from cnn_jax.registry import Registry

# (path, split, **options) -> a split of the data set; path is what follows 'kind:'.
Opener = Callable[..., Source]


_NOUNS: dict[Holds, str] = {"label": "a label", "mask": "a mask", "boxes": "boxes"}

# What the examples hold -> kind -> its opener, or 'module:function' to be imported when needed.
READERS: dict[Holds, Registry[Opener | str]] = {
    holds: Registry(f"reader of images with {noun}", f"readers of images with {noun}")
    for holds, noun in _NOUNS.items()
}

_TFDS = {
    "label": "cnn_jax.data.readers.tfds_classes:open_tfds_classes",
    "mask": "cnn_jax.data.readers.tfds_masks:open_tfds_masks",
    "boxes": "cnn_jax.data.readers.tfds_boxes:open_tfds_boxes",
}

# Options that a reader may do without: where the sets of TFDS are is no matter to a folder.
_OPTIONAL = ("data_dir",)


def register_reader(kind: str, holds: Holds, opener: Opener | str, *, origin: str = "") -> None:
    """Makes the data sets `kind:...` known to `open_source`; `kind` alone is one with the path ''.

    Args:
        kind: word before the colon: letters, digits, '_' and '-'.
        holds: what the examples have besides their image: 'label', 'mask' or 'boxes'. A kind may
            be registered once for each.
        opener: (path, split) -> Source, where path is what follows the colon; or the name of this
            function, 'module:function'. The options of `open_source` that it names as keyword
            arguments are passed to it.
        origin: module that the reader comes from; by default the one that calls this.

    Raises:
        ValueError: the kind is registered already, or is not a word; `holds` is something else.
    """
    if not re.fullmatch(r"[\w-]+", kind):
        raise ValueError(f"{kind!r} is no kind of data set: it must be one word, without a colon")
    origin = origin or sys._getframe(1).f_globals.get("__name__", "")
    _readers(holds).register(kind, opener, origin=origin)


def open_source(
    dataset: str,
    split: str,
    *,
    holds: Holds = "label",
    channels: int | None = None,
    skip_corrupt: bool = False,
    **options: Any,
) -> Source:
    """Opens a split of a data set.

    Args:
        dataset: 'digits', 'digit_scenes', 'mnist1d' or 'mnist1d_shuffled' (built in); 'kind:...',
            with one of READERS, such as 'folder:PATH' (one sub-folder of images per class),
            'csv:PATH' (files and labels), 'npz:PATH' (arrays), 'yolo:PATH' (boxes) or 'ucr:NAME'
            (time series of the UCR and UEA archives); else a name of TFDS: 'cifar10',
            'cifar10:3.0.2', 'name/config'.
        split: a split expression: 'train', 'train[:90%]', 'train+test'. The splits of a folder are
            described by its reader.
        holds: what the examples must have besides their image: 'label', 'mask' or 'boxes'.
        channels: 1, 3 or 4, to override the data set's own; 3 by default for folders.
        skip_corrupt: see `Source`.
        options: keyword arguments of the reader; None, '' and () are as if not given. Most have
            `data_dir`, the directory of TFDS data, prepared as array_record, in addition to TFDS's
            own (~/tensorflow_datasets or $TFDS_DATA_DIR). Those with masks have `class_names` and
            `ignored`, and those of TFDS `image_feature` and `mask_feature`.

    Raises:
        DataError: there is no such data set or split, or it holds something else; it is not
            prepared and cannot be; the split is empty, has labels of no class, or is of training
            and holds one class alone; the reader does not know an option.
    """
    opener, path = _find(dataset, holds)
    source = opener(path, split, **_accepted(opener, dataset, options))
    if not len(source):
        raise DataError(
            f"split {split!r} of {dataset} is empty: no example was found; or ask for a larger part"
        )
    if holds == "mask":
        mask_survey.check_masks(source, dataset)
    if holds == "label":
        label_survey.check_labels(source, dataset)
    if channels is not None:
        if source.load is not None:
            raise DataError(f"channels={channels}: {dataset} holds no images; leave channels out")
        if channels not in (1, 3, 4):
            raise DataError(f"channels={channels}: images are read with 1, 3 or 4 channels")
        source = dataclasses.replace(source, image_shape=(*source.image_shape[:2], channels))
    pixels = PixelRule(bits=depth.bits_of_set(source, dataset))
    return dataclasses.replace(source, skip_corrupt=skip_corrupt, pixels=pixels)


def load_source(dataset: str, split: str, **options: Any) -> Source:
    """`open_source` for a label: `load_source("cifar10", "train[:90%]", data_dir="data")`."""
    return open_source(dataset, split, holds="label", **options)


def _readers(holds: Holds) -> Registry[Opener | str]:
    if holds not in READERS:
        raise ValueError(f"examples hold a {', '.join(HOLDS[:-1])} or {HOLDS[-1]}, not {holds!r}")
    return READERS[holds]


def _find(dataset: str, holds: Holds) -> tuple[Opener, str]:
    """The function that opens a data set, and its first argument."""
    readers = _readers(holds)
    kind, colon, path = dataset.partition(":")
    opener = readers.get(kind)
    if opener is None and colon and not re.fullmatch(r"[\d.*]+", path):  # not a version of TFDS
        others = [_NOUNS[other] for other in HOLDS if kind in READERS[other]]
        if others:
            raise DataError(
                f"{dataset} holds images with {' or '.join(others)}; wanted images with "
                f"{_NOUNS[holds]}"
            )
    if opener is None:
        opener, path = _TFDS[holds], dataset
    return (pkgutil.resolve_name(opener) if isinstance(opener, str) else opener), path


def _accepted(opener: Opener, dataset: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given and that the opener has."""
    parameters = inspect.signature(opener).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    accepted = {}
    for name, value in options.items():
        if value is None or value in ("", (), []):
            continue
        if takes_all or name in parameters:
            accepted[name] = value
        elif name not in _OPTIONAL:
            shown = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            raise DataError(f"{name}={shown}: {dataset} is not read with {name}; leave it out")
    return accepted


_BUILT_IN: tuple[tuple[str, Holds, str], ...] = (
    ("mnist1d", "label", "mnist1d:open_mnist1d"),
    ("mnist1d_shuffled", "label", "mnist1d:open_mnist1d_shuffled"),
    ("folder", "label", "folder:open_folder"),
    ("csv", "label", "csv_list:open_csv"),
    ("npz", "label", "npz:open_npz"),
    ("hf", "label", "hf:open_hf_classes"),
    ("ucr", "label", "ucr:open_ucr"),
    ("masks", "mask", "mask_folder:open_mask_folder"),
    ("hf", "mask", "hf_masks:open_hf_masks"),
    ("coco", "boxes", "coco:open_coco"),
    ("voc", "boxes", "voc:open_voc"),
    ("yolo", "boxes", "yolo:open_yolo"),
    ("hf", "boxes", "hf_boxes:open_hf_boxes"),
)
for _kind, _holds, _place in _BUILT_IN:
    _name = f"cnn_jax.data.readers.{_place}"
    register_reader(_kind, _holds, _name, origin=_name.partition(":")[0])
