"""ImageNet as its kits unpack it: classes are synsets, and validation images lie in one folder.

    PATH/ILSVRC/Data/CLS-LOC/train/n01440764/*.JPEG    Kaggle's; PATH may be any of these folders
    PATH/ILSVRC/Data/CLS-LOC/val/*.JPEG
    PATH/LOC_synset_mapping.txt, PATH/LOC_val_solution.csv
    PATH/train/, PATH/val/*.JPEG, PATH/ILSVRC2012_devkit_t12/data/meta.mat and
        ILSVRC2012_validation_ground_truth.txt         the challenge's own
    PATH/train/n01443537/images/*.JPEG, PATH/val/images/*.JPEG, PATH/val/val_annotations.txt,
        PATH/words.txt                                 Tiny ImageNet

Russakovsky et al. 2015, arXiv:1409.0575. Classes are in the order of their synsets, as in every
published classifier; their names are the words for them, where a file says those.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cnn_jax.data import reading
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import image_files

_log = logging.getLogger(__name__)

_SYNSET = re.compile(r"n\d{8}")
_IMAGES = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
_NAMES = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")
_SOLUTION = "LOC_val_solution.csv"
_TINY = "val_annotations.txt"
_NUMBERS = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"


def folder_of_splits(root: Path) -> Path:
    """The folder of train/ and val/ in a kit; `root` itself for all other sets."""
    return next((root / name for name in _IMAGES if (root / name / "train").is_dir()), root)


def has_labels(root: Path, split: str) -> bool:
    """Whether a file says the labels of the images in the folder of a split."""
    if not any(_SYNSET.fullmatch(name) for name in image_files.subfolders(root / "train")):
        return False
    if (root / split / _TINY).is_file():
        return True
    return split == "val" and any(
        _file(root, name) for name in (_SOLUTION, _NUMBERS, "Annotations/CLS-LOC/val")
    )


def examples(root: Path, split: str, classes: Sequence[str], dataset: str) -> list[tuple[str, int]]:
    """(file from `root`, label) of every image of a split whose labels are in a file.

    Raises:
        DataError: an image has no label; the labels cannot be read.
    """
    synset_of = _labels(root, split)
    label_of = {synset: label for label, synset in enumerate(classes)}
    images = sorted(_walked(root / split))
    stems = {os.path.splitext(os.path.basename(image))[0]: image for image in images}
    if without := sorted(stems[stem] for stem in {*stems} - {*synset_of}):
        raise DataError(
            f"{dataset}: {len(without):,} images of {split!r} have no label in "
            f"{_source(root, split)}: {image_files.some(without)}"
        )
    found: list[tuple[str, int]] = []
    others: Counter[str] = Counter()
    for stem, image in stems.items():
        label = label_of.get(synset_of[stem])
        if label is None:
            others[synset_of[stem]] += 1
        else:
            found.append((os.path.relpath(image, root), label))
    if others:
        _log.warning(
            "%s: left out %d images of %r, of %d classes that train has no folder of, such as %s",
            dataset, others.total(), split, len(others), min(others),
        )  # fmt: skip
    return found


def class_names(root: Path, classes: Sequence[str]) -> tuple[str, ...] | None:
    """The words for synsets, each once; None if they are none, or no file says their words."""
    if not all(_SYNSET.fullmatch(name) for name in classes):
        return None
    words: dict[str, str] = {}
    if file := next(filter(None, (_file(root, name) for name in _NAMES)), None):
        for line in reading.read_lines(file):
            synset, _, text = line.replace("\t", " ").partition(" ")
            words[synset] = text.split(",")[0].strip()
    elif meta := _file(root, _META):
        words = {synset: text.split(",")[0].strip() for synset, text in _meta(meta).values()}
    else:
        return None
    names = [words.get(synset) or synset for synset in classes]
    several = Counter(names)  # two kinds of crane, and of maillot
    return tuple(
        f"{name} ({synset})" if several[name] > 1 else name
        for name, synset in zip(names, classes, strict=True)
    )


def _file(root: Path, name: str) -> Path | None:
    """A file of the kit: in the folder of the splits, or beside those around it, or in a devkit."""
    above = [root]
    if root.name == "CLS-LOC":
        above += [root.parents[0], root.parents[1], root.parents[2]][: len(root.parents)]
    places = [root / "val", *above]
    for folder in above:
        kits = ("ILSVRC2012_devkit_t12", "devkit", "ILSVRC2012_devkit_t12/data", "data")
        places += [folder / kit for kit in kits] + [folder / "devkit" / "data"]
    return next((place / name for place in places if (place / name).exists()), None)


def _source(root: Path, split: str) -> Path:
    """What says the labels of a split."""
    if (root / split / _TINY).is_file():
        return root / split / _TINY
    names = (_SOLUTION, _NUMBERS, "Annotations/CLS-LOC/val")
    return next(file for name in names if (file := _file(root, name)))


def _labels(root: Path, split: str) -> dict[str, str]:
    """Name of an image, without suffix -> its synset."""
    file = _source(root, split)
    if file.is_dir():
        return {
            one.stem: reading.read_xml(one).findtext("object/name") or ""
            for one in sorted(file.iterdir())
            if one.suffix == ".xml" and not image_files.is_hidden(one.name)
        }
    lines = reading.read_lines(file)
    if file.name == _NUMBERS:
        return _numbered(lines, file, root)
    found = {}
    for number, line in enumerate(lines, start=1):
        name, synset = [*re.split(r"[\t, ]+", line), ""][:2]
        if number == 1 and not _SYNSET.fullmatch(synset):
            continue  # ImageId,PredictionString
        if not _SYNSET.fullmatch(synset):
            raise DataError(
                f"{file}:{number}: wanted the name of an image and its synset, such as n01440764; "
                f"found {line[:100]!r}"
            )
        found[os.path.splitext(name)[0]] = synset
    return found


def _numbered(lines: Sequence[str], file: Path, root: Path) -> dict[str, str]:
    """The n-th line has the number of the n-th image's class, in an order of the kit's own."""
    meta = _file(root, _META)
    if meta is None:
        raise DataError(
            f"{file} numbers the classes in the order of {_META}, which is not that of their "
            f"synsets, and it is not there: put it beside, at {file.parent / _META}"
        )
    synsets = _meta(meta)
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.isdecimal() or int(line) not in synsets:
            raise DataError(
                f"{file}:{number}: {line[:100]!r} is the number of no class in {meta}: wanted one "
                "a line"
            )
        found[f"ILSVRC2012_val_{number:08d}"] = synsets[int(line)][0]
    return found


def _meta(file: Path) -> Mapping[int, tuple[str, str]]:
    """Number of a class -> its synset, and the words for it."""
    import scipy.io  # type: ignore[import-untyped]

    try:
        with open(file, "rb") as stream:
            table = scipy.io.loadmat(stream, squeeze_me=True)["synsets"]
        return {
            int(row["ILSVRC2012_ID"]): (str(row["WNID"]), str(row["words"]))
            for row in table.reshape(-1)
        }
    except Exception as error:  # of a parser of another's format, on any bytes
        raise DataError(f"{file} cannot be read: {error}; unpack the kit again") from error


def _walked(folder: Path) -> Iterable[str]:
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not image_files.is_hidden(name)]
        yield from (os.path.join(top, name) for name in names if image_files.is_image_name(name))
