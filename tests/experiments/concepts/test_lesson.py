"""The sections of the lesson, told without measuring anything, in both languages."""

import re

from experiments.concepts.frame import explained, syllabus


def test_every_section_is_told_in_both_languages():
    concepts = syllabus.concepts()
    assert [concept.name for concept in concepts] == list(syllabus.NAMES)
    for concept in concepts:
        texts = [concept.title, concept.guess, explained.both(concept.explain)]
        for text in texts:
            assert re.search(r"[\u4e00-\u9fff]", text.zh)
            assert not re.search(r"[\u4e00-\u9fff]", text.en)
