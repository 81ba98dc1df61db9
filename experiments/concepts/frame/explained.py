"""The explanation of a section, as HTML and as lines for a terminal."""

import html
from collections.abc import Iterator, Sequence

from experiments.concepts.frame import diagram
from experiments.concepts.frame.lesson import LANGUAGES, Code, Diagram, Paragraph, Text, in_language
from experiments.concepts.frame.marked import as_html, as_text


def both(parts: Sequence[Paragraph]) -> Text:
    """HTML in both languages."""
    return Text(*("\n".join(_html(part, each) for part in parts) for each in LANGUAGES))


def _html(part: Paragraph, language: str) -> str:
    if isinstance(part, Text):
        return f"<p>{as_html(part.in_(language), language)}</p>"
    if isinstance(part, Diagram):
        return diagram.svg(part, language)
    if isinstance(part, Code):
        return f"<pre><code>{html.escape(in_language(part.text, language))}</code></pre>"
    caption = ""
    if part.caption is not None:
        caption = f"<figcaption>{as_html(part.caption.in_(language), language)}</figcaption>"
    return f'<figure class="formula">{part.mathml.in_(language)}{caption}</figure>'


def lines(parts: Sequence[Paragraph], language: str) -> Iterator[str]:
    """Paragraphs for a terminal; of a diagram only what it shows."""
    for part in parts:
        if isinstance(part, Text):
            yield as_text(part.in_(language), language)
        elif isinstance(part, Diagram):
            yield f"[{part.title.in_(language)}]"
        elif isinstance(part, Code):
            yield in_language(part.text, language)
        else:
            yield "    " + part.plain.in_(language).strip()
            if part.caption is not None:
                yield as_text(part.caption.in_(language), language)
