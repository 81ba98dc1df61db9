"""The classes of a data set as those of a network: by their names, never by their numbers alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn_jax.weights import imagenet

SHOWN = 3  # names in a message


class ClassMap(NamedTuple):
    """Which class of the network each class of the data is.

    Attributes:
        indices: int [K of the data], classes of the network.
        said: how they were found, for the user; '' where both have the same classes.
        among: bool [K of the network], those that a prediction is chosen among; None for all.
    """

    indices: np.ndarray
    said: str = ""
    among: np.ndarray | None = None


class Known:
    """The classes of a network by all names that they go by."""

    def __init__(self, class_names: Sequence[str]):
        self.names = tuple(class_names)
        self.is_imagenet = self.names in (imagenet.class_names(), imagenet.wordnet_ids())
        self._index: dict[str, int] = {}
        self._twice: set[str] = set()
        for i, name in enumerate(self.names):
            self._add(name, i)
        if self.is_imagenet:
            for other in (imagenet.class_names(), imagenet.wordnet_ids()):
                if other != self.names:
                    for i, name in enumerate(other):
                        self._add(name, i)

    def _add(self, name: str, index: int) -> None:
        if self._index.setdefault(_plain(name), index) != index:
            self._twice.add(_plain(name))

    def find(self, name: str) -> int | None:
        """The class of this name; None for none, or for several."""
        plain = _plain(name)
        return None if plain in self._twice else self._index.get(plain)


def match(data: Sequence[str], network: Sequence[str], *, what: str) -> ClassMap:
    """Finds each class of a data set among those of a network, by name.

    Case, and '_' for a space, are no difference. ImageNet's classes also go by the ids of WordNet
    ('n01440764'), as its folders do; and by their numbers where folders of all 1000 are named so,
    as in ImageNet-V2.

    Args:
        data: names of the data set's classes.
        network: names of the network's classes.
        what: the data set, for the message.

    Raises:
        ValueError: a class of the data is none of the network's, or two are the same one.
    """
    data = tuple(data)
    if data == tuple(network):
        return ClassMap(np.arange(len(data)))
    known = Known(network)
    found = [known.find(name) for name in data]
    if known.is_imagenet and set(data) == {str(i) for i in range(len(network))}:
        number = np.array([int(name) for name in data])
        return ClassMap(number, f"The classes of {what} are the numbers of ImageNet's classes.")
    unknown = [name for name, index in zip(data, found, strict=True) if index is None]
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise ValueError(
            f"{what} has {len(data)} classes, {_some(data)}, and the network {len(network)}, "
            f"{_some(network)}: {', '.join(unknown[:SHOWN])}{more} "
            f"{'is' if len(unknown) == 1 else 'are'} none of them by name. Wanted the same ones, "
            "or `labels`, a file that says which they are."
        )
    index = np.array(found)
    check_once(index, data, network, what)
    said = f"The classes of {what} were found by name among the network's {len(network)}"
    missing = len(network) - len(index)
    return ClassMap(index, f"{said}; {missing} have no examples." if missing else f"{said}.")


def check_once(index: np.ndarray, data: Sequence[str], network: Sequence[str], what: str) -> None:
    """Raises ValueError if two classes of the data are the same one of the network."""
    values, counts = np.unique(index, return_counts=True)
    if (counts > 1).any():
        twice = int(values[counts > 1][0])
        both = [data[int(i)] for i in np.flatnonzero(index == twice)]
        raise ValueError(
            f"{what}: {' and '.join(both[:SHOWN])} are both the network's {network[twice]}: give "
            "`labels`, a file that says which they are."
        )


def choose(among: str, index: np.ndarray, classes: int) -> np.ndarray | None:
    """bool [K], the classes that a prediction is chosen among: 'all', or those of the 'data'."""
    if among == "data" and len(np.unique(index)) < classes:
        return np.isin(np.arange(classes), index)
    return None


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
