"""The sections of the lesson, told without measuring anything, in both languages."""

import re

import pytest

from experiments.concepts.frame import code_key, explained, syllabus

pytestmark = pytest.mark.once  # these read our own text


def test_every_section_is_told_in_both_languages():
    concepts = syllabus.concepts()
    assert [concept.name for concept in concepts] == list(syllabus.NAMES)
    for concept in concepts:
        texts = [concept.title, concept.guess, explained.both(concept.explain)]
        for text in texts:
            assert re.search(r"[\u4e00-\u9fff]", text.zh)
            assert not re.search(r"[\u4e00-\u9fff]", text.en)


def test_every_section_has_the_same_modules_and_knows_no_other():
    for name in syllabus.NAMES:
        folder = code_key.LESSON / name
        modules = {path.stem: path.read_text("utf-8") for path in folder.glob("*.py")}
        assert {"__init__", "__main__", "claims", "measure", "read", "text"} <= set(modules), name
        assert f'command.launch("{name}")' in modules["__main__"]
        for module, source in modules.items():
            known = set(re.findall(r"(?m)^from experiments\.concepts\.(\w+)", source))
            assert known <= {name, "frame", "measuring"}, (name, module)
    for path in [*code_key.LESSON.glob("frame/*.py"), *code_key.LESSON.glob("measuring/*.py")]:
        known = set(re.findall(r"(?m)^from experiments\.concepts\.(\w+)", path.read_text("utf-8")))
        assert not known & set(syllabus.NAMES), path
