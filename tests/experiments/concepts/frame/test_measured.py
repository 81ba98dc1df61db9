"""What is measured is kept, and measured again only when its code or the effort changes."""

import json

import pytest
from matplotlib.text import Text as Drawn

from experiments.concepts import __main__ as main
from experiments.concepts.frame import charts, command, measured, syllabus
from experiments.concepts.frame.lesson import Effort, in_language
from tests.experiments.concepts.frame.fake import CONCEPT


@pytest.fixture
def alone(monkeypatch):
    """The fake section is the whole lesson, and says how often it was measured."""
    counted = []

    def measure(effort):
        counted.append(effort)
        return CONCEPT.measure(effort)

    concept = CONCEPT._replace(measure=measure)
    monkeypatch.setattr(syllabus, "NAMES", ("example",))
    monkeypatch.setattr(syllabus, "concepts", lambda: [concept])
    monkeypatch.setattr(command, "told", type("", (), {
        "explanation": staticmethod(lambda *_: None), "results": staticmethod(lambda *_: None)
    }))  # fmt: skip
    monkeypatch.setattr(command.entry, "set_up_jax", lambda **_: None)
    return concept, counted


class Flag:
    def __init__(self, value):
        self.value = value


def run(monkeypatch, concept, directory, *, quick, fresh=False):
    for name, value in (("QUICK", quick), ("FRESH", fresh), ("LANGUAGE", "en"),
                        ("WORKDIR", str(directory))):  # fmt: skip
        monkeypatch.setattr(command, name, Flag(value))
    return command.measure([concept])


def test_a_measurement_is_used_again_and_the_full_one_is_kept(alone, monkeypatch, tmp_path):
    concept, counted = alone
    pages = run(monkeypatch, concept, tmp_path, quick=True)
    assert [page.name for page in pages] == ["example_en.html", "example_zh.html"]
    assert (tmp_path / "lesson_zh.html").exists()
    run(monkeypatch, concept, tmp_path, quick=True)
    assert len(counted) == 1
    run(monkeypatch, concept, tmp_path, quick=False)
    run(monkeypatch, concept, tmp_path, quick=True)
    assert [effort.quick for effort in counted] == [True, False]
    run(monkeypatch, concept, tmp_path, quick=True, fresh=True)
    assert len(counted) == 3


def test_numbers_outlive_an_error_in_reading_them(alone, monkeypatch, tmp_path):
    concept, counted = alone

    def fails(values):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, concept._replace(read=fails), tmp_path, quick=True)
    run(monkeypatch, concept, tmp_path, quick=True)  # mended
    assert len(counted) == 1


def test_pages_are_written_again_from_the_file(alone, monkeypatch, tmp_path):
    concept, counted = alone
    run(monkeypatch, concept, tmp_path / "a", quick=True)
    (tmp_path / "a" / "lesson_en.html").unlink()
    changed = concept._replace(guess=concept.guess._replace(en="Another question?"))
    monkeypatch.setattr(syllabus, "concepts", lambda: [changed])
    monkeypatch.setattr(main.flags, "FLAGS", {"workdir": type("", (), {"present": False})()})
    main._redraw(str(tmp_path / "a"))
    assert "Another question?" in (tmp_path / "a" / "lesson_en.html").read_text("utf-8")
    assert len(counted) == 1
    with pytest.raises(ValueError, match=r"--from=.*: there is no findings.json in it"):
        main._redraw(str(tmp_path / "b"))
    (tmp_path / "a" / "findings.json").write_text("{}")
    with pytest.raises(ValueError, match="is no file of this lesson"):
        main._redraw(str(tmp_path / "a"))


def test_another_code_leaves_the_section_as_it_was_written(alone, tmp_path, monkeypatch):
    concept, _ = alone
    section = measured.measure(concept, 0, Effort(quick=True))
    other = {**section, "key": "0-jax0", "reading": [{"en": "Of then.", "zh": "当时。"}]}
    assert measured.redrawn({"example": other})["example"]["reading"][0]["en"] == "Of then."
    assert measured.redrawn({"example": section})["example"]["reading"][0]["en"] == "It is true."
    assert not measured.serves(other, concept, Effort(quick=True))


def test_figures_speak_the_language_and_are_drawn_once(tmp_path):
    section = json.loads(json.dumps(measured.measure(CONCEPT, 0, Effort(quick=True))))
    for chart in section["charts"]:
        for language in ("en", "zh"):
            texts = {each.get_text() for each in charts.draw(chart, language).findobj(Drawn)}
            assert in_language(chart["title"], language) in texts
            rest = [words for words in _words(chart) if words["en"] != words["zh"]]
            assert all(words[language] in texts for words in rest)
    chart = section["charts"][0]
    first = charts.file(chart, tmp_path, 1, "en")
    written = first.stat().st_mtime_ns
    assert charts.file(chart, tmp_path, 1, "en") == first
    assert first.stat().st_mtime_ns == written
    assert charts.file({**chart, "y": "other"}, tmp_path, 1, "en") != first
    assert not first.exists()  # no figures pile up


def _words(value):
    """Every text of a chart."""
    if isinstance(value, dict):
        if set(value) == {"en", "zh"}:
            yield value
        else:
            for each in value.values():
                yield from _words(each)
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)
