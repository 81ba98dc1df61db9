"""The exceptions of `cnn_jax.data`."""

import os
import re
from collections.abc import Iterable


class DataError(ValueError):
    """The data are missing, unreadable or not what was requested; the message is one line.

    It says what came, what was wanted and what to do, so a program may print it unchanged: what
    Python has in the place of a name's bytes that are no UTF-8 becomes characters, see
    `cnn_jax.data.reading.text_of_name`.
    """

    def __init__(self, message: str):
        super().__init__(re.sub("[\ud800-\udfff]+", _characters, " ".join(message.split())))


class NoSplitError(DataError):
    """There is no such split.

    Attributes:
        existing: the names of those that there are.
    """

    def __init__(self, message: str, existing: Iterable[str] = ()):
        super().__init__(message)
        self.existing = tuple(existing)


class UnlabelledError(DataError):
    """The examples of a split have no labels, as those of many test splits."""


def _characters(surrogates: re.Match[str]) -> str:
    try:
        stored = os.fsencode(surrogates[0])
    except UnicodeEncodeError:  # a half of a pair, as JSON may hold
        return surrogates[0].encode("ascii", "backslashreplace").decode()
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode("latin-1")
