"""Names of files and classes as a terminal, a table and a figure may show them: as they are.

A name is data, and may hold anything: an ANSI escape that clears the screen, a newline that begins
a line of its own, a mark that turns the text around, Rich's markup, TeX. What could do something is
shown escaped (`\\x1b`); all else is shown as it is, in any script.
"""

import logging
import sys
import unicodedata
from typing import Any

import rich.console
import rich.text

LONGEST = 40  # characters of a line in a figure
WIDTH = 80  # columns, where the terminal says that it has none
_JOINERS = "\u200c\u200d"  # of Persian and Indic scripts, and of emoji


def printable(text: object, *, lines: bool = False) -> str:
    """Text without control characters: they are written as Python writes them in a string.

    Args:
        text: of any origin; bytes that were no UTF-8 in a file's name come as \\xNN.
        lines: keep newlines and tabs, for text that is meant to have several lines.

    >>> print(printable("a name\\x1b[2J"))
    a name\\x1b[2J
    """
    kept = "\n\t" if lines else ""
    return "".join(
        char if char in kept or not _acts(char) else _escaped(char) for char in str(text)
    )


def _acts(char: str) -> bool:
    if char.isascii():
        return not char.isprintable()
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _JOINERS


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a name that is no UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def in_figure(text: object) -> str:
    """The same for a text of Matplotlib, for which '$' would begin a formula; lines that would
    leave no room for the figure are cut."""
    lines = printable(text, lines=True).split("\n")
    cut = [line if len(line) <= LONGEST else line[: LONGEST - 1] + "\u2026" for line in lines]
    return "\n".join(cut).replace("$", r"\$")


class PlainConsole(rich.console.Console):
    """A Rich console that prints strings as they are: no markup, no :emoji:, no control characters.

    This holds for the cells and titles of tables too. What is meant to be bold is a
    `rich.text.Text`.
    """

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)
        if self.width < 1:  # COLUMNS=0, in some containers: nothing at all would be shown
            self.width = WIDTH

    def render_str(self, text: str, **options: Any) -> rich.text.Text:
        return super().render_str(printable(text, lines=True), **options)


class PlainFormatter(logging.Formatter):
    """The message of a log record, without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), lines=True)


def never_fail_to_print() -> None:
    """Lets the standard streams write \\N in the place of what their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
