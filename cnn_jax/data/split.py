"""TFDS's split expressions, for sources that are not TFDS: 'train', 'train[:90%]', 'train+test'."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from cnn_jax.data.errors import DataError

T = TypeVar("T")

_TERM = re.compile(r"(?P<name>[\w-]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def select(splits: Mapping[str, Sequence[T]], expression: str, *, dataset: str) -> list[T]:
    """The elements that a split expression names.

    Percentages round to the nearest element, as TFDS rounds them.

    Raises:
        DataError: not an expression, or no such split; the message lists those that exist.
    """
    chosen: list[T] = []
    for term in expression.split("+"):
        match = _TERM.fullmatch(term.strip())
        if not match:
            raise DataError(
                f"split {expression!r} of {dataset} is not a split expression: "
                "write 'train', 'train[:90%]' or 'train+test'"
            )
        if match["name"] not in splits:
            raise no_such_split(expression, dataset, splits)
        elements = splits[match["name"]]
        start, stop = (_offset(match[end], len(elements)) for end in ("start", "stop"))
        chosen += elements[start:stop]
    return chosen


def no_such_split(expression: str, dataset: str, existing) -> DataError:
    """The error of a split that does not exist."""
    return DataError(
        f"{dataset} has no split {expression!r}: it has {', '.join(map(repr, existing))}"
    )


def _offset(text: str | None, length: int) -> int | None:
    if text is None or not text.endswith("%"):
        return text and int(text)
    percent = int(text[:-1])
    if not -100 <= percent <= 100:
        raise DataError(f"split offset {text}: a percentage lies between -100% and 100%")
    return round(percent * length / 100)
