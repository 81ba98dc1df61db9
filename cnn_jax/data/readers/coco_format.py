"""The content of COCO's JSON files, checked before it is used.

The format is described at https://cocodataset.org/#format-data.
"""

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

_KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false",
          int: "a number", float: "a number", type(None): "null"}  # fmt: skip
LONGEST_SIDE = 2**31  # pixels


class Box(NamedTuple):
    """One annotation.

    Attributes:
        corner_and_size: x, y, width, height in pixels; any numbers, even nonsensical ones.
        label: index of the category; -1 if the file does not list it.
        crowd: whether it is a region of many objects.
    """

    corner_and_size: list[float]
    label: int
    crowd: bool


class Listed(NamedTuple):
    """One image of the file.

    Attributes:
        name: file_name.
        size: (width, height) in pixels, according to the file; None if it gives none.
        boxes: its annotations.
    """

    name: str
    size: tuple[float, float] | None
    boxes: list[Box]


class Content(NamedTuple):
    """A whole file.

    Attributes:
        class_names: names of the categories, in the order of their ids.
        images: id -> image, in the order of the file.
        strays: number of annotations of images that are not listed.
        without: number of annotations that have neither a box nor a polygon, and are left out.
        polygons: number of boxes that were derived from polygons, for want of a bbox.
        repeated: number of annotations that are as another of their image.
    """

    class_names: tuple[str, ...]
    images: dict[Hashable, Listed]
    strays: int = 0
    without: int = 0
    polygons: int = 0
    repeated: int = 0


def parse(content: Any) -> Content:
    """Checks the content of a JSON file.

    Raises:
        ValueError: it is not in COCO's format; the message says which entry is not, and how.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it holds {_kind(content)}, not an object with images in it")
    used = {
        _id(one, "category_id", place)
        for place, one in _entries(content, "annotations")
        if "category_id" in one
    }
    class_names, label_of = _categories(content, used)
    images = _images(content)
    counts: Counter[str] = Counter()
    seen: set[tuple] = set()
    for place, one in _entries(content, "annotations"):
        counts["all"] += 1
        key = _id(one, "image_id", place)
        listed = images.get(key)
        if listed is None:
            counts["strays"] += 1
            continue
        label = label_of.get(_id(one, "category_id", place), -1)
        corner_and_size = _bbox(one, place)
        if corner_and_size is None:
            corner_and_size = _around(one)
            counts["without" if corner_and_size is None else "polygons"] += 1
            if corner_and_size is None:
                continue
        box = Box(corner_and_size, label, _crowd(one, place))
        same = (key, *corner_and_size, label, box.crowd)
        counts["repeated"] += same in seen  # they stay, as in every other program's AP
        seen.add(same)
        listed.boxes.append(box)
    if counts["strays"] == counts["all"] > 0:
        raise ValueError(
            f"none of its {counts['all']} annotations is of an image that it lists: the image_ids "
            "are other numbers, or texts, than the ids"
        )
    return Content(
        class_names,
        images,
        counts["strays"],
        counts["without"],
        counts["polygons"],
        counts["repeated"],
    )


def _categories(content: dict, used: set[Hashable]) -> tuple[tuple[str, ...], dict[Hashable, int]]:
    """The names of the categories, in the order of their ids, and id -> label.

    Roboflow lists a set itself as a category of supercategory 'none', without annotations; where it
    has the name of a class, it is left out.
    """
    found: dict[Hashable, tuple[Any, str, bool]] = {}
    for place, category in _entries(content, "categories"):
        key = _id(category, "id", place)
        if key in found:
            raise ValueError(f"two categories have the id {_shown(key)}")
        root = category.get("supercategory") == "none" and key not in used
        found[key] = category["id"], _name(category, place), root
    if not found:
        raise ValueError("it names no categories")
    names = Counter(name for _, name, _ in found.values())
    kept = {key: one for key, one in found.items() if not (one[2] and names[one[1]] > 1)}
    ids_of: dict[str, Any] = {}
    for written, name, _ in kept.values():
        if name in ids_of:
            raise ValueError(
                f"two categories have the name {_shown(name)}, with the ids "
                f"{_shown(ids_of[name])} and {_shown(written)}: rename one, or give both one id"
            )
        ids_of[name] = written
    try:
        order = sorted(kept, key=lambda key: kept[key][0])
    except TypeError as error:
        raise ValueError("some ids of its categories are numbers and some are texts") from error
    return tuple(kept[key][1] for key in order), {key: label for label, key in enumerate(order)}


def _images(content: dict) -> dict[Hashable, Listed]:
    images: dict[Hashable, Listed] = {}
    id_of: dict[str, Any] = {}
    for place, image in _entries(content, "images"):
        key = _id(image, "id", place)
        name = _get(image, "file_name", place)
        if not isinstance(name, str) or not name:
            raise ValueError(f"{place} has the file_name {_shown(name)}, wanted a path")
        if key in images:
            raise ValueError(
                f"two images have the id {_shown(image['id'])}: {images[key].name[:200]} and "
                f"{name[:200]}; give each its own"
            )
        if name in id_of:
            raise ValueError(
                f"two images have the file_name {_shown(name)}, with the ids "
                f"{_shown(id_of[name])} and {_shown(image['id'])}: list it once"
            )
        id_of[name] = image["id"]
        size = _size(image, name, place)
        images[key] = Listed(name, size, [])
    if not images:
        raise ValueError("it lists no images")
    return images


def _size(image: dict, name: str, place: str) -> tuple[float, float] | None:
    """What is given; some programs give none, and the image then says it."""
    if image.get("width") is None and image.get("height") is None:
        return None
    width, height = (_number(_get(image, s, place), s, place) for s in ("width", "height"))
    if not (1 <= width < LONGEST_SIDE and 1 <= height < LONGEST_SIDE):
        raise ValueError(
            f"{place} gives {name[:200]} {width:g}x{height:g} pixels; it needs its size, or none"
        )
    return width, height


def _entries(content: dict, part: str) -> Iterator[tuple[str, dict]]:
    if part not in content:
        raise ValueError(f"no {part!r} in it")
    entries = content[part]
    if not isinstance(entries, list):
        raise ValueError(f"its {part!r} are {_kind(entries)}, wanted a list")
    for number, entry in enumerate(entries):
        place = f"{part}[{number}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{place} is {_kind(entry)}, wanted an object")
        yield place, entry


def _get(entry: dict, key: str, place: str) -> Any:
    if key not in entry:
        raise ValueError(f"no {key!r} in {place}")
    return entry[key]


def _id(entry: dict, key: str, place: str) -> Hashable:
    """An id; that of a text is the number that it writes, for some files have both."""
    value = _get(entry, key, place)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or value != value:
        raise ValueError(f"{place} has the {key} {_shown(value)}, wanted a number")
    if isinstance(value, str) and re.fullmatch(r"-?[1-9][0-9]{0,18}|0", value):
        return int(value)
    return value


def _name(category: dict, place: str) -> str:
    name = _get(category, "name", place)
    if isinstance(name, bool) or not isinstance(name, (str, int)) or not str(name).strip():
        raise ValueError(f"{place} has the name {_shown(name)}, wanted a text")
    return str(name)


def _number(value: Any, key: str, place: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{place} has {_shown(value)} in its {key}, wanted a number") from error


def _bbox(annotation: dict, place: str) -> list[float] | None:
    """The four numbers; None for an annotation without a box."""
    bbox = annotation.get("bbox")
    if bbox is None or bbox == []:
        return None
    if not isinstance(bbox, list) or len(bbox) != 4:
        came = f"a bbox of {len(bbox)} numbers" if isinstance(bbox, list) else _kind(bbox)
        raise ValueError(f"{place} has {came}, not 4 for its bbox: x, y, width and height")
    numbers = [_number(value, "bbox", place) for value in bbox]
    # a sum beyond the largest float is no more a box than an infinite one
    return [number if abs(number) < 1e300 else math.nan for number in numbers]


def _around(annotation: dict) -> list[float] | None:
    """The box around the polygons of an annotation, [[x, y, x, y, x, y, ...], ...]; None if it has
    none."""
    polygons = annotation.get("segmentation")
    if not isinstance(polygons, list) or not polygons:
        return None
    points: list[float] = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return None
        points += [x for x in polygon if type(x) in (int, float) and abs(x) < 1e300]
    if len(points) != sum(map(len, polygons)):
        return None
    left, top = min(points[0::2]), min(points[1::2])
    return [float(left), float(top), max(points[0::2]) - left, max(points[1::2]) - top]


def _crowd(annotation: dict, place: str) -> bool:
    crowd = annotation.get("iscrowd") or 0
    if crowd in ("0", "1"):
        crowd = int(crowd)
    if crowd not in (0, 1):
        raise ValueError(f"{place} has the iscrowd {_shown(crowd)}, wanted 0 or 1")
    return bool(crowd)


def _kind(value: Any) -> str:
    return _KINDS[type(value)]


def _shown(value: Any) -> str:
    """A value for a message, shortened."""
    if isinstance(value, str):
        return repr(value[:100])
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**64:
        return "a number without end"
    return _kind(value) if isinstance(value, (dict, list, bool, type(None))) else str(value)
