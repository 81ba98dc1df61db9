"""Images and label files in YOLO's form (`yolo:PATH`).

PATH/data.yaml, or PATH = such a file       see `yolo_format`
PATH/images/train/1.jpg                     without one; or PATH/train/images/1.jpg, or
PATH/labels/train/1.txt                     PATH/images/1.jpg, which has no splits
PATH/classes.txt                            one class per line
"""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cnn_jax.data import remote
from cnn_jax.data import split as split_lib
from cnn_jax.data.errors import DataError
from cnn_jax.data.readers import image_files, split_names, yolo_format
from cnn_jax.data.readers.box_records import BoxRecords
from cnn_jax.data.readers.image_files import SUFFIXES
from cnn_jax.data.types import Source

_log = logging.getLogger(__name__)

YAML = (".yaml", ".yml")


def open_yolo(path: str, split: str) -> Source:
    """Opens images and label files.

    An image without a label file has no objects. Polygons become the boxes around them. Images are
    upright, as the tools show them in which the boxes are drawn. Without splits there is 'all', and
    a fixed division of it into 'train' and 'test'.

    Raises:
        DataError: there is no such folder or split; a file is not in the format; no image has
            labels; no classes are named.
    """
    place = remote.here(f"yolo:{path}", path)
    dataset = f"yolo:{path}"
    if not path or not os.path.exists(place):
        raise DataError(f"{dataset}: there is no {place}; write yolo:FOLDER or yolo:FILE.yaml")
    root = place if os.path.isdir(place) else place.parent
    file = _description(place, dataset)
    keypoints = False
    terms = [term.name for term in split_lib.parse(split, dataset=dataset)]
    wanted = {split_names.canonical(name) or name for name in terms}
    if file is None:
        names, folders = _class_list(root, dataset), _folders(root, dataset)
    else:
        described = yolo_format.describe(file)
        names, keypoints = described.class_names, described.keypoints
        folders = _located(described, file, wanted, dataset)
        if keypoints:
            _log.warning(
                "%s: the key points of its objects are left out, their boxes are read", file
            )
    splits: dict[str, list[Path]] = {name: [] for name in folders}
    for name, places in folders.items():
        if name == "all" or name in wanted:
            splits[name] = _images(places, dataset)
    _check_shared(splits, dataset)
    if "all" in splits:
        divided = split_names.stratified([(image, 0) for image in splits["all"]])
        splits = {name: [image for image, _ in some] for name, some in divided.items()}
    images = split_names.select(splits, split, dataset=dataset)
    return Source(
        name=root.resolve().name,
        split=split,
        records=BoxRecords(root, images, _annotations(images, len(names), keypoints, dataset)),
        class_names=names,
        image_shape=(None, None, 3),
        upright=True,
    )


def _description(place: Path, dataset: str) -> Path | None:
    """The YAML file of a set; None if it has none."""
    if not os.path.isdir(place):
        if place.suffix.lower() not in YAML:
            raise DataError(f"{dataset}: {place} is no YAML file; write yolo:FOLDER")
        return place
    found = sorted(file for file in place.iterdir() if file.suffix.lower() in YAML)
    usual = [file for file in found if file.stem in ("data", "dataset")]
    found = usual or found
    if len(found) > 1:
        several = " and ".join(file.name for file in found[:5])
        raise DataError(f"{dataset}: {several} may each describe it; write yolo:{found[0]}")
    return found[0] if found else None


def _located(
    described: yolo_format.Described, file: Path, wanted: Collection[str], dataset: str
) -> dict[str, list[Path]]:
    """Split -> the folders, or lists, of its images; splits that are not wanted may be missing."""
    base = file.parent / os.path.expanduser(described.base)
    if not os.path.isdir(base):  # of the machine on which it was written
        _log.warning("%s: there is no folder %s; paths are taken from %s", file, base, file.parent)
        base = file.parent
    located: dict[str, list[Path]] = {}
    for name, places in described.splits.items():
        for written in (place.replace("\\", "/") for place in places):
            # '../train/images' is how Roboflow writes 'train/images'
            tried = [base / written, *([base / written[3:]] if written[:3] == "../" else [])]
            there = [one for one in tried if os.path.exists(one)]
            if there:
                located.setdefault(name, []).append(Path(os.path.normpath(there[0])))
            elif name in wanted:
                raise DataError(
                    f"{dataset}: {file} names {written[:200]!r}, and there is no {tried[-1]}; "
                    "correct the path in it, or put the images there"
                )
    return located


def _folders(root: Path, dataset: str) -> dict[str, list[Path]]:
    """Split -> the folders of its images, for a set without a description."""
    found: dict[str, list[Path]] = {}
    images = root / "images"
    for folder, below in ((images, ""), (root, "images")):
        for each in sorted(folder.iterdir()) if os.path.isdir(folder) else []:
            name = split_names.canonical(each.name)
            if name is None or not os.path.isdir(each / below):
                continue
            if name in found:
                raise DataError(
                    f"{dataset}: {found[name][0]} and {each / below} are both {name!r}: keep one"
                )
            found[name] = [each / below]
    if not found and os.path.isdir(images):
        found = {"all": [images]}
    if not found:
        raise DataError(
            f"{dataset}: wanted data.yaml, or the folders images/train and labels/train, or "
            f"images and labels, in {root}"
        )
    return found


def _class_list(root: Path, dataset: str) -> tuple[str, ...]:
    for folder in (root, root / "labels"):  # labelImg writes it beside the labels
        for name in yolo_format.CLASS_LISTS:
            if os.path.isfile(folder / name):
                return yolo_format.read_class_list(folder / name)
    raise DataError(
        f"{dataset}: wanted the names of the classes, one a line in {root / 'classes.txt'}, or in "
        "data.yaml"
    )


def _images(places: Sequence[Path], dataset: str) -> list[Path]:
    """The images of folders and lists, in an order that mixes them."""
    found: dict[Path, None] = {}
    for place in places:
        listed = _listed(place) if os.path.isfile(place) else _walked(place)
        if not listed:
            raise DataError(f"{dataset}: {place} holds no images ({', '.join(sorted(SUFFIXES))})")
        found |= dict.fromkeys(listed)
    labels: dict[Path, Path] = {}
    for image in found:
        if (other := labels.setdefault(label_file(image), image)) != image:
            raise DataError(f"{dataset}: {other} and {image} would have the same labels: keep one")
    common = os.path.commonpath(places)
    return sorted(found, key=lambda image: _digest(os.path.relpath(image, common)))


def _digest(name: str) -> bytes:
    return hashlib.blake2b(os.fsencode(name.replace(os.sep, "/")), digest_size=16).digest()


def _walked(folder: Path) -> list[Path]:
    found = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not image_files.is_hidden(name)]
        found += [Path(top, name) for name in names if image_files.is_image_name(name)]
    return found


def _listed(file: Path) -> list[Path]:
    """The images that a text file lists, from its own folder or absolute."""
    found = []
    for number, line in yolo_format.numbered_lines(file):
        image = Path(os.path.normpath(file.parent / line))
        if not os.path.isfile(image):
            raise DataError(
                f"{file}:{number}: there is no {image}; wanted paths from the folder of the list, "
                "or absolute ones"
            )
        found.append(image)
    return found


def label_file(image: Path) -> Path:
    """The label file of an image: its folder `images` is `labels`; else it is beside the image."""
    *folders, name = image.parts
    for i in reversed(range(len(folders))):
        if folders[i] == "images":
            folders[i] = "labels"
            break
    return Path(*folders, name).with_suffix(".txt")


def _check_shared(splits: Mapping[str, Sequence[Path]], dataset: str) -> None:
    """Says which splits have images of the training split in them: small examples come so."""
    trained = set(splits.get("train", ()))
    for name, images in splits.items():
        if name != "train" and (shared := trained.intersection(images)):
            _log.warning(
                "%s: %d images are in 'train' and in %r, such as %s: a test on what was trained on "
                "says nothing", dataset, len(shared), name, min(shared),
            )  # fmt: skip


def _annotations(
    images: Sequence[Path], num_classes: int, keypoints: bool, dataset: str
) -> list[dict]:
    """'boxes', 'labels' and 'crowd' of each image."""
    counts: Counter[str] = Counter()
    read = []
    for image in images:
        file = label_file(image)
        counts["without"] += not os.path.exists(file)
        objects = (
            yolo_format.parse(file, num_classes, keypoints=keypoints)
            if os.path.exists(file)
            else None
        )
        boxes, labels, polygons, repeated = objects or yolo_format.NOTHING
        counts.update(polygons=polygons, repeated=repeated)
        read.append({"boxes": boxes, "labels": labels, "crowd": labels < 0})
    if images and counts["without"] == len(images):
        raise DataError(
            f"{dataset}: none of {len(images)} images has a label file: wanted "
            f"{label_file(images[0])} for {images[0]}"
        )
    for key, what in (
        ("without", "%s: %d images have no label file, and so no objects"),
        ("polygons", "%s: %d polygons became the boxes around them"),
        ("repeated", "%s: left out %d lines that repeat another in their file"),
    ):
        if counts[key]:
            _log.warning(what, dataset, counts[key])
    return read
