"""TFDS's split expressions, for other sources: 'train', 'train[:90%]', 'train+test'."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from cnn_jax.data.errors import DataError, NoSplitError

T = TypeVar("T")

_TERM = re.compile(r"(?P<name>[\w-]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


class Term(NamedTuple):
    """One term of an expression; start and stop are '10', '-5', '90%' or None."""

    name: str
    start: str | None
    stop: str | None


def parse(expression: str, *, dataset: str) -> list[Term]:
    """The terms of a split expression.

    Raises:
        DataError: it is not one.
    """
    terms = [_TERM.fullmatch(term.strip()) for term in expression.split("+")]
    if not all(terms):
        raise DataError(
            f"{expression!r} is not a split of {dataset}: "
            "write 'train', 'train[:90%]', 'train[1000:]' or 'train+test'"
        )
    found = [Term(term["name"], term["start"], term["stop"]) for term in terms if term]
    for term in found:
        units = {end.endswith("%") for end in (term.start, term.stop) if end is not None}
        if len(units) > 1:  # TFDS would take the plain number for a percentage
            raise DataError(
                f"{expression!r} of {dataset}: give both ends of a slice in percent, or neither"
            )
    return found


def select(splits: Mapping[str, Sequence[T]], expression: str, *, dataset: str) -> list[T]:
    """The elements that a split expression names.

    Percentages round to the nearest element, as TFDS rounds them.

    Raises:
        DataError: not an expression, or there is no such split; the message lists the splits.
    """
    chosen: list[T] = []
    for term in parse(expression, dataset=dataset):
        if term.name not in splits:
            raise no_such_split(expression, dataset, splits)
        elements = splits[term.name]
        start, stop = (_offset(end, len(elements)) for end in (term.start, term.stop))
        chosen += elements[start:stop]
    return chosen


def no_such_split(expression: str, dataset: str, existing: Iterable[str]) -> DataError:
    """The error for a split that does not exist."""
    names = tuple(existing)
    return NoSplitError(
        f"{dataset} has no split {expression!r}: it has {', '.join(map(repr, names))}", names
    )


def _offset(text: str | None, length: int) -> int | None:
    if text is None:
        return None
    if not text.endswith("%"):
        return int(text)
    percent = int(text[:-1])
    if not -100 <= percent <= 100:
        raise DataError(f"split offset {text}: a percentage lies between -100% and 100%")
    return round(percent * length / 100)
