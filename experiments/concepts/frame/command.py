"""The command line of the lesson: of one section, of the list, and of all on one page."""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from cnn_jax.stores import local_path
from experiments import entry
from experiments.concepts.frame import measured, page, syllabus, told
from experiments.concepts.frame.lesson import LANGUAGES, Concept, Effort

QUICK = flags.DEFINE_bool("quick", False, "Use fewer steps and seeds: minutes instead of hours.")
FRESH = flags.DEFINE_bool(
    "fresh", False, "Measure again what was measured already with the same code."
)
LANGUAGE = flags.DEFINE_enum(
    "language", "en", list(LANGUAGES), "Language of the text: en for English, zh for Chinese."
)
WORKDIR = flags.DEFINE_string(
    "workdir", "runs/concepts", "Directory for findings.json, figures and pages."
)


def measure(concepts: Sequence[Concept]) -> list[Path]:
    """Measures sections or takes what is measured already, tells each, and writes the pages.

    The page of all sections is written after every one, so that a run that is stopped has its page.

    Returns:
        the pages.
    """
    entry.set_up_jax(
        cpu_devices=0, cpu_convolutions=True, compilation_cache="~/.cache/cnn_jax/compiled"
    )
    directory, effort, language = local_path(WORKDIR.value), Effort(QUICK.value), LANGUAGE.value
    sections = measured.redrawn(measured.load(directory))
    pages: list[Path] = []
    for concept in concepts:
        number = syllabus.number(concept.name)
        told.explanation(concept, number, language)
        sys.stdout.flush()
        kept = sections.get(concept.name)
        if kept is None or FRESH.value or not measured.serves(kept, concept, effort):
            keep = functools.partial(_keep, directory, dict(sections))
            sections[concept.name] = measured.measure(concept, number, effort, keep=keep)
            measured.save(directory, sections)
        told.results(sections[concept.name], language)
        pages = write(sections, directory)
        if len(concepts) == 1:
            own = [sections[concept.name]]
            pages = page.write(own, directory, concept.name, whole="lesson")
        sys.stdout.flush()
    return pages


def _keep(directory: Path, others: dict[str, measured.Section], taken: measured.Section) -> None:
    measured.save(directory, {**others, taken["name"]: taken})


def write(sections: dict[str, measured.Section], directory: Path) -> list[Path]:
    """Writes the pages of all sections, with those that are not measured yet."""
    every = {
        concept.name: measured.told(concept, number)
        for number, concept in enumerate(syllabus.concepts(), syllabus.FIRST)
    }
    every.update(sections)
    return page.write(sorted(every.values(), key=lambda each: each["number"]), directory)


def launch(name: str) -> None:
    """Runs a section as a command."""
    entry.launch(lambda: show(measure([syllabus.concept(name)])))


def show(pages: Sequence[Path]) -> None:
    """Says where the page is."""
    own = next(path for path in pages if path.stem.endswith(LANGUAGE.value))
    entry.say(f"The page is {own}")
