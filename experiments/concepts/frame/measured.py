"""findings.json: what was measured, in both languages, enough to draw every page again."""

import datetime
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from cnn_jax import strict_json
from cnn_jax.run import workdir
from experiments.concepts.exercises import EXERCISES
from experiments.concepts.frame import explained, syllabus
from experiments.concepts.frame.code_key import key
from experiments.concepts.frame.lesson import Chart, Concept, Effort, Images, Text

FILE = "findings.json"
VERSION = 1

Section = dict[str, Any]


def told(concept: Concept, number: int) -> Section:
    """A section before its measurement."""
    return {
        "number": number,
        "name": concept.name,
        "title": plain(concept.title),
        "explain": plain(explained.both(concept.explain)),
        "guess": plain(concept.guess),
        "expectations": [_expectation(claim) for claim in concept.claims],
        "exercises": [
            {"number": each.number, "title": plain(each.title)}
            for each in EXERCISES
            if each.section == concept.name
        ],
    }


def measure(
    concept: Concept,
    number: int,
    effort: Effort,
    *,
    keep: Callable[[Section], object] = lambda section: None,
) -> Section:
    """Measures, and reads the measurement.

    Args:
        concept: the section.
        number: its number.
        effort: how much is measured.
        keep: called with the numbers before they are read, so that an error there loses none.
    """
    began = time.monotonic()
    values = concept.measure(effort)
    facts = {
        "key": _key(concept),
        "quick": effort.quick and concept.seeded,
        "seeds": len(effort.seeds) if concept.seeded else 0,
        "seconds": round(time.monotonic() - began, 1),
        "measured_on": datetime.date.today().isoformat(),
        "values": values,
    }
    taken = json.loads(strict_json.dumps(facts))
    keep({**told(concept, number), **taken, "tables": [], "charts": [], "reading": []})
    return read(concept, number, taken)


def read(concept: Concept, number: int, kept: Mapping[str, Any]) -> Section:
    """The section that a measurement makes, with today's texts.

    Raises:
        ValueError: a claim has no outcome, or an outcome no claim.
    """
    findings = concept.read(kept["values"])
    claims = concept.claims
    if {claim.name for claim in claims} != set(findings.outcomes):
        raise ValueError(
            f"{concept.name}: the outcomes are of {', '.join(findings.outcomes)}; wanted one of "
            f"each claim: {', '.join(claim.name for claim in claims)}."
        )
    facts = ("key", "quick", "seeds", "seconds", "measured_on", "values")
    return {
        **told(concept, number),
        **{name: kept[name] for name in facts},
        "expectations": [_expectation(claim, findings.outcomes[claim.name]) for claim in claims],
        "tables": plain(findings.tables),
        "charts": plain(findings.charts),
        "reading": plain(findings.reading),
    }


def _expectation(claim, outcome=None) -> Section:
    before = {"name": claim.name, "claim": plain(claim.says), "expected": plain(claim.expected)}
    if outcome is None:
        return before
    return {
        **before,
        "measured": plain(outcome.measured),
        "holds": bool(outcome.holds),
        "why_not": None if outcome.holds else plain(outcome.why_not),
        "values": [
            {"label": plain(label), "seeds": plain(seeds)}
            for label, seeds in outcome.values.items()
        ],
        "unit": outcome.unit,
    }


def plain(value: Any) -> Any:
    """Texts, tables and charts as JSON has them."""
    if isinstance(value, Text):
        return {"en": value.en, "zh": value.zh}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        kind = {Chart: {"type": "chart"}, Images: {"type": "images"}}.get(type(value), {})
        return {**kind, **{name: plain(each) for name, each in value._asdict().items()}}
    if isinstance(value, (list, tuple, range)):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    return strict_json.plain(value)


def serves(kept: Mapping[str, Any] | None, concept: Concept, effort: Effort) -> bool:
    """Whether a measurement need not be made again: same code, and no less effort."""
    return kept is not None and is_current(kept, concept) and (not kept["quick"] or effort.quick)


def is_current(kept: Mapping[str, Any], concept: Concept) -> bool:
    """Whether the code that measured is that of today."""
    return kept["key"] == _key(concept)


def _key(concept: Concept) -> str:
    return f"{key(concept.measure)}-jax{jax.__version__}"


def redrawn(kept: Mapping[str, Section]) -> dict[str, Section]:
    """Sections with the texts of today; those of other code stay as they were written."""
    sections = {}
    concepts = {concept.name: concept for concept in syllabus.concepts()}
    for name, section in kept.items():
        concept = concepts.get(name)
        if concept is None:
            sections[name] = section
            continue
        number = syllabus.number(name)
        if key(concept.measure) == section["key"].split("-")[0]:
            sections[name] = read(concept, number, section)
        else:
            exercises = told(concept, number)["exercises"]
            sections[name] = {**section, "number": number, "exercises": exercises}
    return sections


def load(directory: Path) -> dict[str, Section]:
    """The sections measured in a directory; {} if there are none.

    Raises:
        ValueError: the file is none of ours.
    """
    path = directory / FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["version"] == VERSION:
            return dict(found["sections"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        pass
    raise ValueError(
        f"{path} is no file of this lesson (version {VERSION}): move it away, or give another "
        "directory."
    )


def save(directory: Path, sections: Mapping[str, Section]) -> Path:
    """Writes the file, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    ordered = dict(sorted(sections.items(), key=lambda each: each[1]["number"]))
    found = {"version": VERSION, "environment": workdir.environment(), "sections": ordered}
    path = directory / FILE
    new = path.with_suffix(".new")
    new.write_text(strict_json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")
    new.replace(path)
    return path
