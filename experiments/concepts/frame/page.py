"""The page of the lesson: one self-contained file a language, without scripts or addresses."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_jax.run import workdir
from experiments.concepts.frame import charts
from experiments.concepts.frame.glossary import TERMS
from experiments.concepts.frame.lesson import LANGUAGES, in_language
from experiments.concepts.frame.marked import anchor, as_html, as_text
from experiments.concepts.frame.page_text import (
    INTRODUCTION,
    SETS,
    STYLE,
    TITLE,
    WORDS,
    effort,
    score,
)

Section = Mapping[str, Any]


def write(
    sections: Sequence[Section], directory: Path, name: str = "lesson", *, whole: str = ""
) -> list[Path]:
    """Writes <name>_en.html and <name>_zh.html of these sections.

    Args:
        sections: as `findings.json` has them; those without 'values' are not measured.
        directory: of the pages; figures go into a directory for each section.
        name: of the pages.
        whole: name of the page with all sections, if this is not it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for language in LANGUAGES:
        path = directory / f"{name}_{language}.html"
        path.write_text(_page(sections, directory, name, language, whole), encoding="utf-8")
        paths.append(path)
    return paths


def _page(
    sections: Sequence[Section], directory: Path, name: str, language: str, whole: str
) -> str:
    say = _Words(language)
    alone = bool(whole) and len(sections) == 1
    title = in_language(sections[0]["title"], language) if alone else TITLE.in_(language)
    other = next(each for each in LANGUAGES if each != language)
    top = f'<a href="{name}_{other}.html" lang="{other}">{say("other")}</a>'
    if whole:
        top += f' · <a href="{whole}_{language}.html">{say("whole")}</a>'
    parts = [f'<p class="switch">{top}</p>', f"<h1>{html.escape(title)}</h1>"]
    if not alone:
        parts += [say.paragraph(INTRODUCTION), say.paragraph(SETS), _score(sections, language)]
        parts.append(_contents(sections, language))
    parts += [_section(each, directory, language, headed=not alone) for each in sections]
    parts.append(_glossary(language))
    facts = html.escape(json.dumps(workdir.environment(), ensure_ascii=False))
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="{"zh-CN" if language == "zh" else language}"><head>'
        '<meta charset="utf-8">'
        '<link rel="icon" href="data:,">'  # so that browsers ask for no favicon
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n{body}\n"
        f"<footer>{facts}</footer></body></html>\n"
    )


class _Words:
    """Words of the page in a language."""

    def __init__(self, language: str):
        self.language = language

    def __call__(self, name: str) -> str:
        return html.escape(WORDS[name].in_(self.language))

    def named(self, name: str) -> str:
        """An attribute that says on a phone what a cell is, where the heading is not shown."""
        return f' data-name="{self(name)}{self("colon")}"'

    def text(self, words: Any) -> str:
        return as_html(in_language(words, self.language), self.language)

    def paragraph(self, words: Any) -> str:
        return f"<p>{self.text(words)}</p>"


def _score(sections: Sequence[Section], language: str) -> str:
    measured = [each for each in sections if "values" in each]
    found = [claim["holds"] for each in measured for claim in each["expectations"]]
    said = score(sum(found), len(found), len(sections) - len(measured))
    return f"<p><b>{html.escape(said.in_(language))}</b></p>"


def _contents(sections: Sequence[Section], language: str) -> str:
    items = "".join(
        f'<li><a href="#{each["name"]}">{_title(each, language)}</a></li>' for each in sections
    )
    return f"<nav><h2>{WORDS['contents'].in_(language)}</h2><ol>{items}</ol></nav>"


def _title(section: Section, language: str) -> str:
    return f"{section['number']}. {html.escape(in_language(section['title'], language))}"


def _section(section: Section, directory: Path, language: str, *, headed: bool) -> str:
    say = _Words(language)
    name = section["name"]
    parts = [f'<h2 id="{name}">{_title(section, language)}</h2>'] if headed else []
    parts += [in_language(section["explain"], language), _guess(section, say)]
    if "values" in section:
        parts.append(f"<h3>{say('measured')}</h3>")
        parts += [_table(table, say) for table in section["tables"]]
        parts.append(_charts(section, directory, language))
        parts.append(f"<h3>{say('claims')}</h3>{_claims(section, say)}")
        reading = "".join(say.paragraph(each) for each in section["reading"])
        if reading:
            parts.append(f'<div class="reading"><h3>{say("reading")}</h3>{reading}</div>')
    parts.append(_exercises(section, say))
    how = effort(dict(section)) if "values" in section else WORDS["missing"]
    parts.append(
        f'<p class="how">{say.text(how)} {say("again")} '
        f"<code>python -m experiments.concepts.{name}</code></p>"
    )
    return f"<section>{''.join(parts)}</section>"


def _guess(section: Section, say: _Words) -> str:
    bets = "".join(
        f"<li>{say.text(each['claim'])}"
        f'<span class="how">{say("open")}{say("expected")}{say("colon")}'
        f"{say.text(each['expected'])}{say('close')}</span></li>"
        for each in section["expectations"]
    )
    more = f"<p>{say('bets')}</p><ul>{bets}</ul>" if bets else ""
    return (
        f'<div class="guess"><h3>{say("guess")}</h3>{say.paragraph(section["guess"])}{more}</div>'
    )


FEW = 3  # columns that fit a phone; a row of more is shown there as a list
EMPTY = ' class="none"'


def _table(table: Section, say: _Words) -> str:
    head = "".join(f'<th scope="col">{say.text(each)}</th>' for each in table["headings"])
    names = [
        html.escape(as_text(in_language(each, say.language), say.language))
        for each in table["headings"]
    ]
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td data-name="{name}{say("colon")}"{"" if cell else EMPTY}>{say.text(cell)}</td>'
            for name, cell in zip(names, row, strict=True)
        )
        + "</tr>"
        for row in table["rows"]
    )
    kind = "values many" if len(names) > FEW else "values"
    caption = f"<caption>{say.text(table['caption'])}</caption>" if table["caption"] else ""
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}">{caption}<tr class="head">'
        f"{head}</tr>{rows}"
        "</table></div>"
    )


def _charts(section: Section, directory: Path, language: str) -> str:
    figures = []
    for number, chart in enumerate(section["charts"], start=1):
        path = charts.file(chart, directory / section["name"], number, language)
        data = base64.b64encode(path.read_bytes()).decode()
        title = html.escape(in_language(chart["title"], language))
        width = _width(chart)  # on a phone a wide row of images is scrolled, so that it can be read
        style = f"max-width: {width}rem; --least: {0.6 * width:.0f}rem"
        wide = f' class="wide scroll" tabindex="0" style="{style}"' if width else ""
        figures.append(
            f'<figure{wide}><img alt="{title}" src="data:image/png;base64,{data}"></figure>'
        )
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""


def _width(chart: Section) -> int:
    """Width of a row of images, in the size of the text; 0 of a chart, which has its place."""
    if chart["type"] == "images":
        return 8 + 6 * max(len(row["images"]) for row in chart["rows"])
    return 0


def _claims(section: Section, say: _Words) -> str:
    rows = []
    for each in section["expectations"]:
        mark = f"✓ {say('yes')}" if each["holds"] else f"✗ {say('no')}"
        rows.append(
            f'<tr class="{"holds" if each["holds"] else "fails"}"><td>{say.text(each["claim"])}'
            f"</td><td{say.named('expected')}>{say.text(each['expected'])}</td>"
            f"<td{say.named('value')}>{say.text(each['measured'])}</td>"
            f'<td{say.named("holds")} class="mark">{mark}</td></tr>'
        )
        if not each["holds"]:
            why = each["why_not"] or WORDS["unexplained"]
            lead = f"<b>{say('why')}</b>" if each["why_not"] else ""
            rows.append(f'<tr class="why"><td colspan="4">{lead}{say.text(why)}</td></tr>')
    names = ("claim", "expected", "value", "holds")
    head = "".join(f'<th scope="col">{say(name)}</th>' for name in names)
    return f'<table class="claims"><tr class="head">{head}</tr>{"".join(rows)}</table>'


def _exercises(section: Section, say: _Words) -> str:
    items = "".join(
        f"<li>{each['number']}. {say.text(each['title'])}{say('colon')}"
        f"<code>python -m experiments.concepts.exercises {each['number']}</code></li>"
        for each in section["exercises"]
    )
    return f"<h3>{say('exercises')}</h3><ul>{items}</ul>" if items else ""


def _glossary(language: str) -> str:
    items = "".join(
        f'<div id="{anchor(key)}"><dt>{html.escape(term.name.in_(language))}</dt>'
        f"<dd>{as_html(term.meaning.in_(language), language)}</dd></div>"
        for key, term in TERMS.items()
    )
    heading = WORDS["glossary"].in_(language)
    return f'<h2 id="glossary">{heading}</h2><dl class="glossary">{items}</dl>'
