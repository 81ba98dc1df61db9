"""Tables of named things that others may add to: readers, augmentations, losses, optimisers.

LOSSES: Registry[Loss] = Registry("loss")
LOSSES.register("cross_entropy", cross_entropy)
LOSSES["crossentropy"]  # ValueError: there is no loss 'crossentropy'; the nearest are ...
"""

import difflib
import inspect
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_TABLES: "list[weakref.ref[Registry]]" = []


class Registry(Mapping[str, T]):
    """Values by name, in the order of their registration, each with the module that added it."""

    def __init__(
        self,
        what: str,
        plural: str = "",
        *,
        wanted: str = "",
        check: Callable[[Any], bool] = lambda value: True,
    ):
        """
        Args:
            what: what one of them is called in messages: 'loss'.
            plural: what several are called, unless it is `what` with an s.
            wanted: what a value must be, in words: 'a function'.
            check: whether a value is that.
        """
        self.what, self.plural = what, plural or f"{what}s"
        self._wanted, self._check = wanted, check
        self._values: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        _TABLES.append(weakref.ref(self))

    def register(self, name: str, value: T, *, origin: str = "") -> T:
        """Adds a value under a name, and returns it.

        Args:
            origin: module that the value comes from; by default the one that called this. What a
                notebook or a script registers, as `__main__`, it may register again.

        Raises:
            ValueError: the name is taken (the message says by which module) or no word, or the
                value is not what it must be.
        """
        origin = origin or sys._getframe(1).f_globals.get("__name__", "")
        self.check_free(name, origin=origin)
        if not self._check(value):
            raise ValueError(
                f"The {self.what} {name!r} is {_kind(value)}; it must be {self._wanted}."
            )
        self._values[name], self._origins[name] = value, origin
        return value

    def check_free(self, name: str, *, origin: str) -> None:
        """
        Raises:
            ValueError: the name is taken (the message says by which module), or no word.
        """
        if not isinstance(name, str) or not re.fullmatch(r"[\w.\-]+", name):
            raise ValueError(
                f"{name!r} cannot be the name of a {self.what}: it must be one word, of letters, "
                "digits and _.-"
            )
        if name in self._values and not (origin == self._origins[name] == "__main__"):
            raise ValueError(
                f"The {self.what} {name!r} is registered twice: by {self._origins[name]} and by "
                f"{origin}. Choose another name."
            )

    def forget(self, name: str) -> None:
        """Removes a name: that of a plug-in which then failed, or of a test.

        Raises:
            ValueError: nothing is registered under it.
        """
        self[name]
        del self._values[name], self._origins[name]

    def origin(self, name: str) -> str:
        """The module that added a name."""
        self[name]
        return self._origins[name]

    def check_call(self, name: str, positional: int, *keywords: str) -> None:
        """Checks how a registered function can be called.

        Args:
            positional: number of arguments that it will be given by position.
            keywords: names of those that it will be given by name.

        Raises:
            ValueError: it does not take them; the message has its origin.
        """
        try:
            signature = inspect.signature(self[name])  # type: ignore[arg-type]
        except (TypeError, ValueError):  # not callable, or compiled code
            signature = None
        try:
            if signature is not None:
                signature.bind(*[None] * positional, **dict.fromkeys(keywords))
            elif not callable(self[name]):
                raise TypeError("it cannot be called")
        except TypeError as error:
            wanted = ", ".join([f"{positional} by position", *keywords])
            raise ValueError(
                f"The {self.what} {name!r} ({self.origin(name)}) must take the arguments {wanted}: "
                f"{error}."
            ) from None

    def __getitem__(self, name: str) -> T:
        """
        Raises:
            ValueError: nothing is registered under this name; the message has the nearest names.
        """
        try:
            return self._values[name]
        except (KeyError, TypeError):
            near = difflib.get_close_matches(str(name), self._values, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? Known {self.plural}:"
            raise ValueError(
                f"There is no {self.what} {name!r}; {hint if near else 'choose one of'} "
                f"{', '.join(self)}."
            ) from None

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def tables() -> "list[Registry]":
    """Every table there is now, in the order in which they were made."""
    return [table for each in _TABLES if (table := each()) is not None]
