"""Tables of named things that others may add to: readers, augmentations, losses, optimisers.

LOSSES: Registry[Loss] = Registry("loss")
LOSSES.register("cross_entropy", cross_entropy)
LOSSES["crossentropy"]  # ValueError: there is no loss 'crossentropy'; the nearest are ...
"""

import difflib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Values by name, in the order of their registration, each with the module that added it."""

    def __init__(self, what: str, plural: str = ""):
        """
        Args:
            what: what one of them is called in messages: 'loss'.
            plural: what several are called, unless it is `what` with an s.
        """
        self.what, self.plural = what, plural or f"{what}s"
        self._values: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str, value: T, *, origin: str = "") -> T:
        """Adds a value under a name, and returns it.

        Args:
            origin: module that the value comes from; by default the one that called this.

        Raises:
            ValueError: the name is taken; the message says by which module.
        """
        origin = origin or sys._getframe(1).f_globals.get("__name__", "")
        if name in self._values:
            raise ValueError(
                f"The {self.what} {name!r} is registered twice: by {self._origins[name]} and by "
                f"{origin}. Choose another name."
            )
        self._values[name], self._origins[name] = value, origin
        return value

    def origin(self, name: str) -> str:
        """The module that added a name."""
        self[name]
        return self._origins[name]

    def __getitem__(self, name: str) -> T:
        """
        Raises:
            ValueError: nothing is registered under this name; the message has the nearest names.
        """
        try:
            return self._values[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._values, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ValueError(
                f"There is no {self.what} {name!r}; {hint}Known {self.plural}: {', '.join(self)}."
            ) from None

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
