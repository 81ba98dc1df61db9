"""The light markup of the lesson's texts: [[terms]] and `code`, as HTML and as plain text."""

import html
import re

from cnn_jax.printable import printable
from experiments.concepts.frame.glossary import TERMS

_MARK = re.compile(r"\[\[([^\]|]+)(?:\|([^\]]+))?\]\]|`([^`]+)`")


def as_html(text: str, language: str, *, glossary: str = "") -> str:
    """A text as HTML, whose terms are links to their definitions.

    Args:
        text: in one language.
        language: that language, for the name of a term and the meaning shown on hovering.
        glossary: page that holds the definitions; '' for the page itself.

    Raises:
        KeyError: there is no such term.
    """

    def replaced(match: re.Match[str]) -> str:
        term, label, code = match.groups()
        if code is not None:
            return f"<code>{code}</code>"
        return (
            f'<a class="term" href="{glossary}#{anchor(html.unescape(term))}" '
            f'title="{html.escape(meaning(term, language))}">'
            f"{label or TERMS[term].name.in_(language)}</a>"
        )

    return _MARK.sub(replaced, html.escape(printable(text), quote=False))


def as_text(text: str, language: str) -> str:
    """The same for a terminal."""

    def replaced(match: re.Match[str]) -> str:
        term, label, code = match.groups()
        return code if code is not None else label or TERMS[term].name.in_(language)

    return _MARK.sub(replaced, text)


def meaning(term: str, language: str) -> str:
    """The definition of a term as plain text."""
    return as_text(TERMS[term].meaning.in_(language), language)


def anchor(term: str) -> str:
    """The id of a term's definition in the page."""
    return "term-" + term.replace(" ", "-")
