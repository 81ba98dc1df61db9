"""Tells a section in the terminal."""

import rich.table
import rich.text

from experiments import entry
from experiments.concepts.frame import explained
from experiments.concepts.frame.lesson import Concept, in_language
from experiments.concepts.frame.marked import as_text
from experiments.concepts.frame.measured import Section
from experiments.concepts.frame.page_text import WORDS, effort


def explanation(concept: Concept, number: int, language: str) -> None:
    """Prints the heading, the explanation and the question, before the measurement."""
    _heading(f"\n{number}. {concept.title.in_(language)}\n")
    for line in explained.lines(concept.explain, language):
        entry.CONSOLE.print(line + "\n")
    _heading(WORDS["guess"].in_(language))
    entry.CONSOLE.print(as_text(concept.guess.in_(language), language))
    for claim in concept.claims:
        says = as_text(in_language(claim.says, language), language)
        entry.CONSOLE.print(f"  - {says} ({in_language(claim.expected, language)})")


def results(section: Section, language: str) -> None:
    """Prints the tables, the expectations and what they say."""

    def say(words) -> str:
        return as_text(in_language(words, language), language)

    for each in section["tables"]:
        table = _table([say(heading) for heading in each["headings"]])
        for row in each["rows"]:
            table.add_row(*(say(cell) for cell in row))
        entry.CONSOLE.print()
        if each["caption"]:
            entry.CONSOLE.print(say(each["caption"]))
        entry.CONSOLE.print(table)
    names = ("claim", "expected", "value", "holds")
    table = _table([WORDS[name].in_(language) for name in names])
    for each in section["expectations"]:
        holds = WORDS["yes" if each["holds"] else "no"].in_(language)
        table.add_row(say(each["claim"]), say(each["expected"]), say(each["measured"]), holds)
    entry.CONSOLE.print(table)
    for each in section["expectations"]:
        if not each["holds"]:
            why = say(each["why_not"] or WORDS["unexplained"])
            lead = WORDS["why"].in_(language) if each["why_not"] else ""
            entry.CONSOLE.print(f"✗ {say(each['claim'])}\n  {lead}{why}\n")
    for text in section["reading"]:
        entry.CONSOLE.print(say(text) + "\n")
    for each in section["exercises"]:
        word, number = WORDS["exercise"].in_(language), each["number"]
        entry.CONSOLE.print(f"{word} {number}: {say(each['title'])}")
        entry.CONSOLE.print(f"  python -m experiments.concepts.exercises {number}")
    entry.CONSOLE.print(effort(section).in_(language))


def _table(headings: list[str]) -> rich.table.Table:
    """A table whose long cells go on in the next line: Chinese has no spaces to break at."""
    columns = [rich.table.Column(heading, overflow="fold") for heading in headings]
    return rich.table.Table(*columns)


def _heading(text: str) -> None:
    entry.CONSOLE.print(rich.text.Text(text, style="bold"))
