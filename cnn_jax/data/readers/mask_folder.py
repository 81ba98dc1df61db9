"""A folder of images with a folder of masks (`masks:PATH`)."""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.data import fingerprint, orientation, reading, remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.image_header import open_image
from cnn_jax.data.loaders.mask import IGNORE, MaskSource
from cnn_jax.data.readers.image_files import SUFFIXES, images_in, some, subfolders
from cnn_jax.data.readers.split_names import TEST_SHARE
from cnn_jax.data.survey import masks as mask_survey
from cnn_jax.data.types import Record

_log = logging.getLogger(__name__)

CLASS_LIST = "classes.txt"  # in PATH, one name per line, in the order of the masks' values
TWO = ("background", "foreground")  # classes of masks of 0 and 255
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
MASK_SUFFIX = "annot"  # SegNet's CamVid: train/ and trainannot/


class Pair(NamedTuple):
    """The files of an example."""

    image: Path
    mask: Path


class PairRecords:
    """Images and masks on disk, in folders of `root`."""

    def __init__(
        self, root: Path, pairs: Sequence[Pair], frames: Sequence[orientation.Frame | None]
    ):
        self.root = root
        self.pairs = list(pairs)
        self.turned = {  # index -> what to do with an image that is not upright, and its mask
            i: {"upright": True, "turn": frame.annotation}
            for i, frame in enumerate(frames)
            if frame is not None and frame.orientation != orientation.UPRIGHT
        }

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: Sequence[int]) -> list[Record]:
        return [{**self.pairs[i]._asdict(), **self.turned.get(i, {})} for i in indices]

    def describe(self, index: int) -> str:
        return reading.text_of_name(str(self.pairs[index].image))

    def identities(self) -> Iterable[str | bytes]:
        yield from fingerprint.files(self.root, [pair.image for pair in self.pairs])
        yield from fingerprint.files(self.root, [pair.mask for pair in self.pairs])
        for index, turned in self.turned.items():
            yield f"{index} turned {turned['turn']}"


def open_mask_folder(
    path: str, split: str, *, class_names: Sequence[str] = (), ignored: Sequence[int] = ()
) -> MaskSource:
    """Opens a folder of images and masks, which are paired by their names without suffix.

    The splits of PATH/train/, PATH/trainannot/ (and val, test, ...) have the names of the folders.
    PATH/images/, PATH/masks/ have 'all', and a fixed division of it into 'train' and 'test'.

    Args:
        path: PATH.
        split: a split expression.
        class_names: names in the order of the masks' values; if empty, the lines of
            PATH/classes.txt; without that file, all masks are read once to count the classes.
            Masks of 0 and 255 alone have two, of which the second has the value 255.
        ignored: mask values to ignore.

    Raises:
        DataError: there is no such folder or split; the folders are named otherwise; an image has
            no mask, or one of another size; two images have one mask; masks are JPEGs.
    """
    root = remote.here(f"masks:{path}", path)
    dataset = f"masks:{path}"
    if not path or not root.is_dir():
        raise DataError(f"{dataset}: there is no folder {root}; write masks:PATH")
    splits = _splits(root, dataset)
    pairs = split_lib.select(splits, split, dataset=dataset)
    frames = _frames(pairs, dataset)
    masks = sorted({pair.mask for some in splits.values() for pair in some})
    _refuse_jpeg(masks, dataset)
    names = tuple(class_names) or _class_list(root)
    black_and_white = False
    if len(names) in (0, 2):  # one look at the masks of all splits, for all are read alike
        values = _values(masks, sample=bool(names), ignored=ignored, dataset=dataset)
        black_and_white = mask_survey.is_black_and_white(values, ignored)
        names = names or (TWO if black_and_white else _counted(values, ignored, dataset))
    if black_and_white:
        _log.warning(
            "%s: the masks have the values 0 and 255 alone: 255 is the class %s, and not ignored",
            dataset, names[1],
        )  # fmt: skip
    return MaskSource(
        name=root.resolve().name,
        split=split,
        records=PairRecords(root, pairs, frames),
        class_names=names,
        image_shape=(*_common_size(frames), 3),
        values=((0,), (IGNORE,)) if black_and_white else (),
        ignored=tuple(ignored),
    )


def _splits(root: Path, dataset: str) -> dict[str, list[Pair]]:
    folders = {name: root / name for name in subfolders(root)}
    divided = [name for name in folders if f"{name}{MASK_SUFFIX}" in folders]
    if divided:
        return {
            name: _pairs(folders[name], folders[f"{name}{MASK_SUFFIX}"], dataset)
            for name in divided
        }
    if {"images", "masks"} <= set(folders):
        pairs = _pairs(folders["images"], folders["masks"], dataset)
        pairs.sort(key=lambda pair: hashlib.blake2b(os.fsencode(pair.image.stem)).digest())
        test = round(TEST_SHARE * len(pairs))
        return {"all": pairs, "train": pairs[test:], "test": pairs[:test]}
    raise DataError(
        f"{dataset}: wanted the folders train/ and trainannot/ (val/, valannot/, ...) or images/ "
        f"and masks/; found {', '.join(folders) or 'no folder'} in {root}"
    )


def _pairs(images: Path, masks: Path, dataset: str) -> list[Pair]:
    """The images of a folder in the order of their names, each with its mask."""
    by_stem: dict[str, Path] = {}
    for file in images_in(masks):
        if (other := by_stem.setdefault(file.stem, file)) is not file:
            raise DataError(f"{dataset}: {other} and {file} are masks of one image: keep one")
    found = images_in(images)
    if not found:
        raise DataError(f"{dataset}: {images} holds no images ({', '.join(sorted(SUFFIXES))})")
    of_mask: dict[str, Path] = {}
    for file in found:
        if (other := of_mask.setdefault(file.stem, file)) is not file:
            raise DataError(f"{dataset}: {other} and {file} would have the same mask: keep one")
    if spare := sorted({*by_stem} - {*of_mask}):
        _log.warning(
            "%s: left out %d masks in %s that have no image: %s",
            dataset, len(spare), masks, some([by_stem[stem].name for stem in spare]),
        )  # fmt: skip
    without = [f for f in found if f.stem not in by_stem]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise DataError(
            f"{dataset}: {without[0]}{more} has no mask: wanted {without[0].stem}.png in {masks}"
        )
    return [Pair(f, by_stem[f.stem]) for f in found]


def _class_list(root: Path) -> tuple[str, ...]:
    file = root / CLASS_LIST
    if not file.exists():
        return ()
    names = tuple(reading.read_lines(file))
    if not names or len({*names}) < len(names) or len(names) > IGNORE:
        raise DataError(f"{file} must have one class per line, each once, and at most {IGNORE}")
    return names


def _refuse_jpeg(masks: Sequence[Path], dataset: str) -> None:
    """Refuses masks with lossy compression: at every edge it makes values that are no classes."""
    lossy = [str(file) for file in masks if file.suffix.lower() in LOSSY]
    if not lossy:
        lossy = [str(masks[i]) for i in mask_survey.evenly(len(masks), 32) if _is_jpeg(masks[i])]
    if lossy:
        raise DataError(
            f"{dataset}: {some(lossy)} are JPEGs, whose values differ from those that were drawn: "
            "save masks as PNG, from what they were made of"
        )


def _is_jpeg(file: Path) -> bool:
    try:
        with open_image(file) as image:
            return image.format == "JPEG"
    except (ValueError, OSError):  # damaged: decoding it raises an error with its name
        return False


def _values(
    masks: Sequence[Path], *, sample: bool, ignored: Sequence[int], dataset: str
) -> set[int]:
    """The values of all masks; of a sample it is enough to know that they are not 0 and 255."""
    chosen = masks
    if sample:
        chosen = [masks[index] for index in mask_survey.evenly(len(masks), mask_survey.MOST)]
    found: set[int] = set()
    for mask in chosen:
        try:
            found |= mask_survey.values_of([mask])
        except (ValueError, OSError) as error:
            if sample and not isinstance(error, DataError):
                return set()  # loading it raises an error with its name, or skips it
            raise DataError(f"{dataset}: {mask} cannot be read as a mask: {error}") from error
        if sample and found - {0, IGNORE, *ignored}:
            break
    return found


def _counted(values: set[int], ignored: Sequence[int], dataset: str) -> tuple[str, ...]:
    """As many classes as the largest value in any mask, ignored values aside."""
    classes = values - {IGNORE, *ignored}
    if not classes:
        raise DataError(f"{dataset}: every pixel of every mask is ignored; there are no classes")
    mask_survey.check_values(values, ignored, dataset)
    return tuple(f"class {i}" for i in range(max(classes) + 1))


def _frames(pairs: Sequence[Pair], dataset: str) -> list[orientation.Frame | None]:
    """The frame of each mask; None for an image that cannot be read."""
    images = [pair.image for pair in pairs]
    headers = orientation.headers(images)
    turned = [i for i, one in enumerate(headers) if one and one.orientation != orientation.UPRIGHT]
    stated: list[orientation.Size | None] = [None] * len(pairs)
    for i, mask in zip(turned, orientation.headers([pairs[i].mask for i in turned]), strict=True):
        stated[i] = mask.stored if mask else None
    frames = orientation.frames(images, headers, stated, dataset)
    return [frame if header else None for frame, header in zip(frames, headers, strict=True)]


def _common_size(frames: Sequence[orientation.Frame | None]) -> tuple[int | None, int | None]:
    """(height, width) of the upright images if all have the same, else (None, None)."""
    sizes = {
        frame.size[::-1] if frame.annotation >= 5 else frame.size
        for frame in frames
        if frame is not None
    }
    if len(sizes) != 1:
        return None, None
    width, height = sizes.pop()
    return int(height), int(width)
