"""The content of COCO's JSON files, checked before it is used.

The format is described at https://cocodataset.org/#format-data.
"""

import math
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
        width, height: size in pixels, according to the file.
        boxes: its annotations.
    """

    name: str
    width: float
    height: float
    boxes: list[Box]


class Content(NamedTuple):
    """A whole file.

    Attributes:
        class_names: names of the categories, in the order of their ids.
        images: id -> image, in the order of the file.
        strays: number of annotations of images that are not listed.
    """

    class_names: tuple[str, ...]
    images: dict[Hashable, Listed]
    strays: int


def parse(content: Any) -> Content:
    """Checks the content of a JSON file.

    Raises:
        ValueError: it is not in COCO's format; the message says which entry is not, and how.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it holds {_kind(content)}, not an object with images in it")
    categories = {}
    for place, category in _entries(content, "categories"):
        key = _id(category, "id", place)
        if key in categories:
            raise ValueError(f"two categories have the id {_shown(key)}")
        categories[key] = _name(category, place)
    if not categories:
        raise ValueError("it names no categories")
    try:
        label_of = {key: label for label, key in enumerate(sorted(categories))}  # type: ignore[type-var]
    except TypeError as error:
        raise ValueError("some ids of its categories are numbers and some are texts") from error
    images: dict[Hashable, Listed] = {}
    for place, image in _entries(content, "images"):
        key = _id(image, "id", place)
        if key in images:
            raise ValueError(f"two images have the id {_shown(key)}")
        name = _get(image, "file_name", place)
        if not isinstance(name, str) or not name:
            raise ValueError(f"{place} has the file_name {_shown(name)}, wanted a path")
        width, height = (_number(_get(image, s, place), s, place) for s in ("width", "height"))
        if not (1 <= width < LONGEST_SIDE and 1 <= height < LONGEST_SIDE):
            raise ValueError(
                f"{place} gives {name[:200]} {width:g}x{height:g} pixels; it needs its size"
            )
        images[key] = Listed(name, width, height, [])
    if not images:
        raise ValueError("it lists no images")
    strays = count = 0
    for place, one in _entries(content, "annotations"):
        count += 1
        listed = images.get(_id(one, "image_id", place))
        if listed is None:
            strays += 1
            continue
        label = label_of.get(_id(one, "category_id", place), -1)
        listed.boxes.append(Box(_bbox(one, place), label, _crowd(one, place)))
    if strays == count > 0:
        raise ValueError(
            f"none of its {count} annotations is of an image that it lists: the image_ids are "
            "other numbers, or texts, than the ids"
        )
    names = tuple(categories[key] for key in label_of)
    return Content(names, images, strays)


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
    value = _get(entry, key, place)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or value != value:
        raise ValueError(f"{place} has the {key} {_shown(value)}, wanted a number")
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


def _bbox(annotation: dict, place: str) -> list[float]:
    bbox = _get(annotation, "bbox", place)
    if not isinstance(bbox, list) or len(bbox) != 4:
        came = f"a bbox of {len(bbox)} numbers" if isinstance(bbox, list) else _kind(bbox)
        raise ValueError(f"{place} has {came}, not 4 for its bbox: x, y, width and height")
    numbers = [_number(value, "bbox", place) for value in bbox]
    # a sum beyond the largest float is no more a box than an infinite one
    return [number if abs(number) < 1e300 else math.nan for number in numbers]


def _crowd(annotation: dict, place: str) -> bool:
    crowd = annotation.get("iscrowd") or 0
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
