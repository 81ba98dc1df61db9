"""The files of a set in Pascal VOC's form: images, their annotations, and the splits.

PATH/JPEGImages/, PATH/Annotations/, PATH/ImageSets/Main/train.txt     VOC, CVAT
PATH/images/, PATH/annotations/                                        with folders in them too
PATH/1.jpg, PATH/1.xml                                                 LabelImg
PATH/train/1.jpg, PATH/train/1.xml, PATH/valid/...                     Roboflow
"""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cnn_jax.data import reading
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import split_names
from cnn_jax.data.readers.image_files import (
    SUFFIXES,
    is_hidden,
    is_image_name,
    some,
    subfolders,
)
from cnn_jax.data.readers.named_files import NamedFiles, plain_name

_log = logging.getLogger(__name__)

_IMAGES = ("jpegimages", "images", "image", "imgs", "img")
_ANNOTATIONS = ("annotations", "annotation", "annots", "xmls", "xml")
_MEMBERSHIP = re.compile(r"(?P<name>\S.*?)\s+(-1|0|1)")  # whether an image has a class
_SPLITS = ("train", "val", "trainval", "test")  # lists that are not of a class


class Pair(NamedTuple):
    """The files of an example."""

    image: Path
    annotation: Path


class Found(NamedTuple):
    """What is there.

    Attributes:
        pairs: name of an image within its folder, without suffix -> its files.
        splits: split -> names.
    """

    pairs: dict[str, Pair]
    splits: dict[str, list[str]]


def find(root: Path, dataset: str) -> Found:
    """The files of a set.

    Raises:
        DataError: the folders have other names; there is no image; two images would have the same
            annotations; an image has none, except beside others that have; a list names an image
            twice, or one that is not there.
    """
    pairs: dict[str, Pair]
    if folders := _folders(root):
        pairs = _pairs(*folders, dataset)
        return Found(pairs, _splits(root, pairs, dataset))
    parts = {name: root / name for name in subfolders(root) if split_names.canonical(name)}
    inner = {name: _folders(part) or _beside(part) for name, part in parts.items()}
    if any(inner.values()):
        pairs = {}
        splits: dict[str, list[str]] = {}
        for name, held in inner.items():
            if held:
                own = _pairs(*held, dataset)
                pairs |= {f"{name}/{stem}": pair for stem, pair in own.items()}
                _add(splits, name, [f"{name}/{stem}" for stem in own], dataset)
        return Found(pairs, splits)
    below = [name for name in subfolders(root) if _folders(root / name)]
    below += [f"{a}/{b}" for a in subfolders(root) for b in subfolders(root / a)
              if a not in below and _folders(root / a / b)]  # fmt: skip
    if not below and (beside := _beside(root)):
        pairs = _pairs(*beside, dataset)
        return Found(pairs, _splits(root, pairs, dataset))
    lacking = next((n for n in ("JPEGImages", "Annotations") if not (root / n).is_dir()), "")
    raise DataError(
        f"{dataset}: wanted the folders JPEGImages and Annotations, or XML files beside the images;"
        + (f" write voc:{root / below[0]}" if below else f" no {root / lacking}")
    )


def _add(splits: dict[str, list[str]], folder: str, stems: list[str], dataset: str) -> None:
    split = split_names.canonical(folder) or folder
    if split in splits:
        raise DataError(f"{dataset}: {folder} is the second folder of {split!r}: keep one")
    splits[split] = stems


def _folders(root: Path) -> tuple[Path, Path] | None:
    """The folders of the images and of the annotations."""
    by_name = {name.lower(): root / name for name in subfolders(root)}
    images = next((by_name[name] for name in _IMAGES if name in by_name), None)
    annotations = next((by_name[name] for name in _ANNOTATIONS if name in by_name), None)
    if images is None or annotations is None:
        return None
    deeper = annotations / "xmls"
    return images, deeper if deeper.is_dir() else annotations


def _beside(root: Path) -> tuple[Path, Path] | None:
    """The folder itself, if there is an XML file in it or below."""
    for _, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_hidden(name)]
        if any(_is_xml(name) for name in names):
            return root, root
    return None


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml") and not is_hidden(name)


def _pairs(images: Path, annotations: Path, dataset: str) -> dict[str, Pair]:
    files: dict[str, str] = {}
    for name in _walked(images, is_image_name):
        stem = os.path.splitext(name)[0]
        if (other := files.setdefault(stem, name)) is not name:
            raise DataError(
                f"{dataset}: {images / other} and {images / name} would have the same annotations: "
                "keep one"
            )
    if not files:
        raise DataError(f"{dataset}: {images} holds no images ({', '.join(sorted(SUFFIXES))})")
    there, pairs = NamedFiles(), {}
    without = []
    for stem, name in files.items():
        tried = (f"{stem}.xml", f"{name}.xml", f"{stem}.XML")
        found = next((file for one in tried if (file := there.find(annotations, one))), None)
        if found is None:
            without.append(name)
        else:
            pairs[stem] = Pair(images / name, found)
    if without and (images != annotations or not pairs):
        wanted = annotations / f"{os.path.splitext(without[0])[0]}.xml"
        raise DataError(
            f"{dataset}: {images / without[0]} has no annotations: wanted {wanted}"
            + (f"; {len(without) - 1:,} others have none either" if len(without) > 1 else "")
        )
    if without:  # LabelImg writes none for an image that was not looked at
        _log.warning(
            "%s: left out %d images without an XML file: %s", dataset, len(without), some(without)
        )
    taken = {pair.annotation for pair in pairs.values()}
    spare = [name for name in _walked(annotations, _is_xml) if annotations / name not in taken]
    if spare:
        _log.warning(
            "%s: left out %d XML files that have no image: %s", dataset, len(spare), some(spare)
        )
    return pairs


def _walked(folder: Path, wanted: Callable[[str], bool]) -> list[str]:
    """The names of files in a folder and below, sorted."""
    found = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        within = os.path.relpath(top, folder)
        found += [os.path.normpath(os.path.join(within, n)) for n in names if wanted(n)]
    return sorted(name.replace(os.sep, "/") for name in found)


def _splits(root: Path, pairs: Mapping[str, Pair], dataset: str) -> dict[str, list[str]]:
    lists = root / "ImageSets" / "Main"
    if not lists.is_dir():
        return _divided(pairs, dataset)
    splits = {}
    plain = {plain_name(stem): stem for stem in pairs}
    for file in sorted(file for file in lists.glob("*.txt") if not is_hidden(file.name)):
        lines = reading.lines_of(reading.read_list(file, lambda text: _all_there(text, plain)))
        matched = {line: _stem(line, plain) for line in lines}
        members = {line: _MEMBERSHIP.fullmatch(line) for line in lines}
        if None in matched.values() and all(members.values()):
            if file.stem not in _SPLITS:
                continue  # 'cat_train.txt' says for each image whether it has a cat
            matched = {line: _stem(one["name"], plain) for line, one in members.items() if one}
        if lacking := [line for line, stem in matched.items() if stem is None]:
            raise DataError(
                f"{dataset}: {file} lists {some(lacking)[:300]}, which {root} has no image of"
            )
        stems = [stem for line in lines if (stem := matched[line])]
        if len({*stems}) < len(stems):
            twice = [stem for stem, n in Counter(stems).items() if n > 1]
            raise DataError(f"{dataset}: {file} lists {some(twice)[:300]} twice: keep one line")
        splits[file.stem] = stems
    if not splits:
        raise DataError(f"{dataset}: {lists} holds no list of images, such as train.txt")
    only = next(iter(splits))
    if len(splits) == 1 and only != "trainval" and not split_names.canonical(only):
        # CVAT's 'default'
        listed = {stem: pairs[stem] for stem in splits[only]}
        splits |= _divided(listed, dataset)
    return splits


def _divided(pairs: Mapping[str, Pair], dataset: str) -> dict[str, list[str]]:
    """By the folders within the images' that have the names of splits; else a fixed division."""
    folders = {stem: stem.partition("/")[0] if "/" in stem else "" for stem in pairs}
    if all(split_names.canonical(folder) for folder in folders.values()):
        splits: dict[str, list[str]] = {}
        for folder in sorted({*folders.values()}):
            _add(splits, folder, [s for s, one in folders.items() if one == folder], dataset)
        return splits
    stems = sorted(pairs, key=lambda stem: hashlib.blake2b(os.fsencode(stem)).digest())
    test = round(split_names.TEST_SHARE * len(stems))
    return {"all": stems, "train": stems[test:], "test": stems[:test]}


def _all_there(text: str, plain: Mapping[str, str]) -> bool:
    lines = reading.lines_of(text)
    names = [m["name"] if (m := _MEMBERSHIP.fullmatch(line)) else line for line in lines]
    return all(_stem(line, plain) or _stem(n, plain) for line, n in zip(lines, names, strict=True))


def _stem(line: str, plain: Mapping[str, str]) -> str | None:
    """The name of the image in a line of a list, which may have a suffix and folders before it;
    None if there is no such image."""
    name = plain_name(line.replace("\\", "/"))
    while name:
        if name in plain:
            return plain[name]
        stem, suffix = os.path.splitext(name)
        if stem in plain and suffix.lower() in SUFFIXES:
            return plain[stem]
        name = name.partition("/")[2]
    return None
