"""The text of files, whatever program wrote them.

The encoding is the one that a byte-order mark or an XML declaration says; without, UTF-8, which no
other text of more than a few letters happens to be (a Chinese one of a letter may). What is in none
of these may be read in several ways, of which all but one are wrong: the error shows them. A list
of files says it by itself: its encoding is the one in which they are there (`text_that_fits`).
"""

import codecs
import logging
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from cnn_jax.data.errors import DataError

_log = logging.getLogger(__name__)

_MARKS = (  # UTF-32's in little-endian order begins as UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What programs write that do not write UTF-8: Chinese, Japanese, Korean, and western Windows.
LIKELY = ("gb18030", "cp1252", "shift_jis", "euc_kr", "latin-1")
_SHOWN = 2  # readings that an error shows
# Names of subsets, in which programs write more than the name says: as browsers read them.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932",
          "iso8859-1": "cp1252", "ascii": "cp1252"}  # fmt: skip
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.:-]{1,40})["']""")
_DECLARATION = re.compile(r"\s*<\?xml[^>]*>")


def text_of(content: bytes, path: Path) -> str:
    """Text without byte-order marks.

    Args:
        content: of the file.
        path: its name, for the error.

    Raises:
        DataError: it is in another encoding than a mark says, or has no mark and is not UTF-8; the
            message has the line, and how it would read in other encodings.
    """
    marked = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), None)
    mark, name = marked or (b"", _utf_16(content) or "utf-8")
    try:
        return _unmarked(content[len(mark) :].decode(name))
    except UnicodeDecodeError as error:
        if name != "utf-8":
            raise DataError(
                f"{path} begins as text in {name.upper()}, and its byte {error.start + len(mark)} "
                "is not: it is damaged, or no text; save it again as UTF-8"
            ) from error
        raise _unknown(content[len(mark) :], path, error) from error


def text_that_fits(content: bytes, path: Path, fits: Callable[[str], bool]) -> str:
    """The text of a list of files, in the encoding in which `fits` says that they are there.

    Names of files are bytes: where the list has the same, its encoding does not matter, and they
    come as Python represents them (`surrogateescape`).

    Raises:
        DataError: it is in no encoding by which `text_of` reads it, and fits in no other.
    """
    plain: str | DataError
    try:
        plain = text_of(content, path)
        if plain.isascii() or fits(plain):
            return plain
    except DataError as error:
        plain = error
    for name in ("utf-8", *LIKELY):
        try:
            text = content.decode(name, "surrogateescape" if name == "utf-8" else "strict")
        except UnicodeDecodeError:
            continue
        if fits(text):
            if name != "utf-8":
                _log.warning("%s is read as %s, in which its files are there", path, name)
            return text
    if isinstance(plain, DataError):
        raise plain
    return plain


def parse_xml(content: bytes, path: Path) -> ElementTree.Element:
    """The root of an XML file, in any encoding that it declares and Python has.

    Python's parser alone knows neither GB2312 nor other encodings of several bytes. A declaration
    that the bytes contradict, as text that was converted without changing it, is not believed.

    Raises:
        DataError: it is no XML.
    """
    declared = _DECLARED.match(content)
    try:
        if declared is None:  # or one after a mark, which says more
            text = text_of(content, path)
        else:
            text = _declared_text(content, declared[1].decode(), path)
        # the parser refuses a text whose declaration names another encoding than its own
        return ElementTree.fromstring(_DECLARATION.sub("", text, count=1).lstrip())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as XML: {error}") from error


def _declared_text(content: bytes, said: str, path: Path) -> str:
    """Raises LookupError for a name of no encoding."""
    name = codecs.lookup(said).name
    if name.startswith(("utf-16", "utf-32")):  # its declaration could not be found in bytes
        name = "utf-8"
    if name in ("utf-8", "utf-8-sig"):
        return text_of(content, path)
    try:
        return content.decode(_WIDER.get(name, name))
    except UnicodeDecodeError as error:
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise DataError(
                f"{path}, line {_line(content, error.start)}: it declares the encoding {said}, and "
                "its bytes are of another; save it again as UTF-8, and declare that"
            ) from error


def _unmarked(text: str) -> str:
    """Without marks at the beginning, and at those of lines, where files were joined."""
    return re.sub(r"(?m)^\ufeff+", "", text) if "\ufeff" in text else text


def _utf_16(content: bytes) -> str | None:
    """UTF-16 without a mark, of which every second byte is null in text of western letters."""
    start = content[:1000]
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if len(start) < 4 or max(even, odd) < 0.4 * len(start) or min(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _unknown(content: bytes, path: Path, error: UnicodeDecodeError) -> DataError:
    """The error for a text that is not UTF-8, with what its line would be in others."""
    line = re.split(rb"[\r\n]", content[: error.start])[-1]
    rest = re.split(rb"[\r\n]", content[error.start :])[0]
    readings: dict[str, str] = {}
    for name in LIKELY:
        try:
            shown = (line + rest).decode(name).strip()[:60]
            content.decode(name)
        except UnicodeDecodeError:
            continue
        if shown.isprintable() and shown not in readings.values():
            readings[name] = shown
    hint = "it is no text, or damaged"
    if readings:
        several = " or ".join(f"{shown!r} in {n}" for n, shown in list(readings.items())[:_SHOWN])
        name = next(iter(readings))
        hint = (
            f"this line may be {several}; save it as UTF-8, by iconv -f {name.upper()} -t UTF-8 if "
            "that is the right one"
        )
    return DataError(
        f"{path} is not text in UTF-8: line {_line(content, error.start)} has the byte "
        f"0x{content[error.start]:02x}, and no mark says the encoding; {hint}"
    )


def _line(content: bytes, offset: int) -> int:
    return len(re.findall(rb"\r\n|\r|\n", content[:offset])) + 1
