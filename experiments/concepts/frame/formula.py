"""Formulae in MathML, which browsers show without a script, and the same as a line of text.

    formula(sub("y", "i"), "=", total("k=0", "K-1", sub("w", "k"), sub("x", "i+k")))

A string is split into names (x, ReLU), numbers and operators. `words` are in both languages.
"""

import html
import re
from typing import NamedTuple

from experiments.concepts.frame.lesson import LANGUAGES, Formula, Text

_TOKEN = re.compile(r"\s+|[<>]=|[^\W\d_]+|\d+(?:[.,]\d+)*|.")
_AS = {"*": "·", "-": "\u2212", "<=": "≤", ">=": "≥"}
_TIGHT = "()[]|,·⌊⌋"


class Part(NamedTuple):
    """A part of a formula: MathML and text, in both languages, and whether it is one sign."""

    mathml: Text
    plain: Text
    single: bool = False


Piece = Part | str


def formula(*pieces: Piece, caption: Text | None = None) -> Formula:
    """A formula of these pieces, one after the other."""
    inner = group(*pieces)

    def markup(language: str) -> str:
        label = html.escape(inner.plain.in_(language))
        return f'<math display="block" aria-label="{label}">{inner.mathml.in_(language)}</math>'

    return Formula(Text(markup("en"), markup("zh")), inner.plain, caption)


def group(*pieces: Piece) -> Part:
    """Pieces beside each other."""
    parts = [part for piece in pieces for part in _parts(piece)]
    if len(parts) == 1:
        return parts[0]
    return Part(
        _joined([part.mathml for part in parts], "<mrow>{}</mrow>"),
        _joined([part.plain for part in parts], "{}"),
    )


def _joined(texts: list[Text], around: str) -> Text:
    return Text(
        *(around.replace("{}", "".join(each.in_(of) for each in texts)) for of in LANGUAGES)
    )


def words(text: Text | str) -> Part:
    """Words within a formula."""
    both = text if isinstance(text, Text) else Text(text, text)
    markup = Text(*(f"<mtext>&#8239;{html.escape(each)}&#8239;</mtext>" for each in both))
    return Part(markup, Text(*(f" {each} " for each in both)), True)


def sub(base: Piece, below: Piece) -> Part:
    """x_i."""
    return _built("msub", (base, below), lambda a, b: f"{a}_{_braced(b)}")


def sup(base: Piece, above: Piece) -> Part:
    """x^n."""
    return _built("msup", (base, above), lambda a, b: f"{a}^{_braced(b)}")


def subsup(base: Piece, below: Piece, above: Piece) -> Part:
    """x_i^n."""
    return _built("msubsup", (base, below, above), lambda a, b, c: f"{a}_{_braced(b)}^{_braced(c)}")


def frac(over: Piece, under: Piece) -> Part:
    """A fraction."""
    return _built("mfrac", (over, under), lambda a, b: f"{_closed(a)} / {_closed(b)}")


def root(of: Piece) -> Part:
    """A square root."""
    return _built("msqrt", (of,), lambda a: f"√{_closed(a)}")


def mean(of: Piece) -> Part:
    """A bar over a name."""
    return _built("mover", (of, "¯"), lambda a, _: f"mean({a})")


def floor(*of: Piece) -> Part:
    """The whole number below."""
    return group("⌊", *of, "⌋")


def total(under: Piece, over: Piece, *body: Piece) -> Part:
    """A sum."""
    return group(_large("∑", under, over), *body)


def product(under: Piece, over: Piece, *body: Piece) -> Part:
    """A product."""
    return group(_large("∏", under, over), *body)


def _large(sign: str, under: Piece, over: Piece) -> Part:
    def line(_: str, low: str, high: str) -> str:
        ends = f"_{_braced(low)}" + (f"^{_braced(high)}" if high else "")
        return f"{sign}{ends} "

    operator = Part(Text(*(f"<mo>{sign}</mo>",) * 2), Text(sign, sign), True)
    if over == "":
        return _built("munder", (operator, under), lambda a, b: line(a, b, ""))
    return _built("munderover", (operator, under, over), line)


def _built(tag: str, pieces: tuple[Piece, ...], line) -> Part:
    parts = [group(piece) for piece in pieces]
    markup, plain = [], []
    for language in LANGUAGES:
        inner = "".join(part.mathml.in_(language) for part in parts)
        markup.append(f"<{tag}>{inner}</{tag}>")
        plain.append(line(*(part.plain.in_(language) for part in parts)))
    return Part(Text(*markup), Text(*plain), True)


def _parts(piece: Piece) -> list[Part]:
    if isinstance(piece, Part):
        return [piece]
    return [_sign(token) for token in _TOKEN.findall(piece) if not token.isspace()]


def _sign(token: str) -> Part:
    shown = _AS.get(token, token)
    if token[0].isdigit():
        markup, plain = f"<mn>{token}</mn>", token
    elif token[0].isalpha():
        markup, plain = f"<mi>{token}</mi>", token
    else:
        markup = f"<mo>{html.escape(shown)}</mo>"
        plain = shown if shown in _TIGHT else f" {shown} "
        plain = ", " if shown == "," else plain
    return Part(Text(markup, markup), Text(plain, plain), True)


def _braced(text: str) -> str:
    text = text.replace(" ", "")
    return text if len(text) == 1 or text.isdigit() else "{" + text + "}"


def _closed(text: str) -> str:
    return text if re.fullmatch(r"[\w.]+", text) else f"({text.strip()})"
